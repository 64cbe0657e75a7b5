//! Sync daemons, both ways.

use std::time::Duration;

use ipvs_netlink::{Daemon, DaemonState};

use super::*;

/// A daemon stopped before its thread ever ran is stopped without an answer (`kthread_stop` returns
/// `EINTR`, for which `netlink_rcv_skb` sends no acknowledgement).
fn let_it_run() {
    thread::sleep(Duration::from_millis(500));
}

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
        let_it_run();
        client.delete_daemon(DaemonState::Master).unwrap();
        assert_eq!(refusal(client.delete_daemon(DaemonState::Master)), Refusal::NoSuchDaemon);
        client.delete_daemon(DaemonState::Backup).unwrap();
        assert_eq!(client.daemons().unwrap(), []);
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
        let_it_run();
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
