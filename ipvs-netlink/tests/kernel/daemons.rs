//! Tests of sync daemons: written by this crate and by `ipvsadm`.

use std::time::{Duration, Instant};

use ipvs_netlink::{Daemon, DaemonState};

use super::*;

#[test]
fn daemons_start_show_and_stop() {
    in_namespace(|mut client| {
        let mut master = Daemon::new(DaemonState::Master, "d0", 5);
        master.max_length = 1400;
        master.group = Some(ip("239.1.2.3"));
        (master.port, master.ttl) = (9000, 3);
        let mut backup = Daemon::new(DaemonState::Backup, "d0", 6);
        backup.max_length = 1300;
        backup.group = Some(ip("ff02::5"));
        (backup.port, backup.ttl) = (9001, 1);
        client.new_daemon(master.clone()).unwrap();
        client.new_daemon(backup.clone()).unwrap();
        assert_eq!(
            shell("ipvsadm -Ln --daemon"),
            "master sync daemon (mcast=d0, syncid=5, maxlen=1400, group=239.1.2.3, port=9000, ttl=3)\n\
             backup sync daemon (mcast=d0, syncid=6, maxlen=1300, group=ff02::5, port=9001, ttl=1)\n"
        );
        assert_eq!(client.daemons().unwrap(), [master.clone(), backup]);

        assert_eq!(refusal(client.new_daemon(master)), Refusal::AlreadyExists);
        client.delete_daemon(DaemonState::Master).unwrap();
        assert_eq!(refusal(client.delete_daemon(DaemonState::Master)), Refusal::NoSuchDaemon);
        client.delete_daemon(DaemonState::Backup).unwrap();
        assert_eq!(client.daemons().unwrap(), []);
    });
}

#[test]
fn we_read_every_attribute_that_ipvsadm_writes() {
    in_namespace(|mut client| {
        let mut backup = Daemon::new(DaemonState::Backup, "d0", 6);
        backup.max_length = 1300;
        backup.group = Some(ip("ff02::5"));
        (backup.port, backup.ttl) = (9001, 4);
        let mut master = Daemon::new(DaemonState::Master, "d0", 5);
        master.max_length = 1400;
        master.group = Some(ip("239.1.2.3"));
        (master.port, master.ttl) = (9000, 3);
        for (daemon, group) in [(&master, "239.1.2.3"), (&backup, "ff02::5")] {
            shell(&format!(
                "ipvsadm --start-daemon {} --mcast-interface d0 --syncid {} --sync-maxlen {} \
                 --mcast-group {group} --mcast-port {} --mcast-ttl {}",
                daemon.state, daemon.sync_id, daemon.max_length, daemon.port, daemon.ttl
            ));
        }
        assert_eq!(client.daemons().unwrap(), [master, backup]);
    });
}

/// The kernel does not answer if a daemon is stopped before its thread has run; the daemon is stopped all the
/// same.
#[test]
fn a_daemon_stops_as_soon_as_it_has_started() {
    in_namespace(|mut client| {
        let daemon = || Daemon::new(DaemonState::Master, "d0", 1);
        let begun = Instant::now();
        for _ in 0..20 {
            client.new_daemon(daemon()).unwrap();
            client.delete_daemon(DaemonState::Master).unwrap();
            assert_eq!(client.daemons().unwrap(), []);
            let both = [Command::NewDaemon(daemon()), Command::DeleteDaemon(DaemonState::Master)];
            apply(&mut client, &both);
            assert_eq!(client.daemons().unwrap(), []);
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    });
}

#[test]
fn the_kernel_fills_in_its_defaults() {
    in_namespace(|mut client| {
        shell("ipvsadm --start-daemon master --mcast-interface d0 --syncid 9");
        let found = client.daemons().unwrap();
        let [daemon] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((daemon.state, daemon.sync_id), (DaemonState::Master, 9));
        assert_eq!(daemon.interface, "d0");
        assert_eq!(daemon.group, Some(Daemon::DEFAULT_GROUP));
        assert_eq!((daemon.port, daemon.ttl), (8848, 1));
        client.delete_daemon(DaemonState::Master).unwrap();
        client.new_daemon(Daemon::new(DaemonState::Master, "d0", 9)).unwrap();
        assert_eq!(client.daemons().unwrap(), found);
    });
}

#[test]
fn a_daemon_needs_an_interface_and_a_multicast_group() {
    in_namespace(|mut client| {
        let start = |interface: &str, id| Daemon::new(DaemonState::Backup, interface, id);
        let missing = client.new_daemon(start("nosuch0", 1));
        assert_eq!(refusal(missing), Refusal::NoSuchInterface);
        let mut no_multicast = start("d0", 1);
        no_multicast.group = Some(ip("10.0.0.1"));
        assert_eq!(refusal(client.new_daemon(no_multicast)), Refusal::InvalidArgument);
    });
}
