//! Tests that this crate reads what `ipvsadm` writes.

use ipvs_netlink::proc::ListedForward;

use super::*;

#[test]
fn we_read_every_attribute_that_ipvsadm_writes() {
    in_namespace(|mut client| {
        let (table, lines) = everything();
        for line in lines.lines() {
            shell(&format!("ipvsadm {line}"));
        }
        assert_eq!(client.services().unwrap().len(), table.len());
        for (expected, destinations) in table {
            let found = client.service(expected.key).unwrap().unwrap();
            assert_eq!(without_counters(found), expected);
            let mut found: Vec<_> = client.destinations(expected.key).unwrap();
            found.sort_by_key(Destination::key);
            let found: Vec<_> = found.into_iter().map(without_connections).collect();
            assert_eq!(found, destinations);
        }
    });
}

#[test]
fn we_read_the_thresholds_that_ipvsadm_writes() {
    in_namespace(|mut client| {
        shell("ipvsadm -A -t 10.96.0.1:80 -s rr");
        shell("ipvsadm -a -t 10.96.0.1:80 -r 192.0.2.10:8080 -m -x 100 -y 50");
        let found = &client.destinations(tcp("10.96.0.1", 80)).unwrap()[0];
        assert_eq!((found.upper_threshold, found.lower_threshold), (100, 50));
    });
}

#[test]
fn a_dump_and_a_question_agree() {
    in_namespace(|mut client| {
        apply(&mut client, &commands(&everything().0));
        for service in client.services().unwrap() {
            assert_eq!(client.service(service.key).unwrap(), Some(service));
        }
    });
}

#[test]
fn what_is_not_there_is_none() {
    in_namespace(|mut client| {
        assert_eq!(client.service(tcp("10.96.0.1", 80)).unwrap(), None);
        assert_eq!(client.destinations(tcp("10.96.0.1", 80)).unwrap(), []);
        assert_eq!(client.services().unwrap(), []);
        assert_eq!(client.daemons().unwrap(), []);
    });
}

#[test]
fn the_kernel_tells_its_version() {
    in_namespace(|mut client| {
        let info = client.info().unwrap();
        let (major, minor, patch) = info.version;
        let size = info.connection_table_size;
        let expected = format!("IP Virtual Server version {major}.{minor}.{patch} (size={size})");
        assert_eq!(shell("ipvsadm -Ln").lines().next().unwrap(), expected);
    });
}

#[test]
fn methods_that_ipvsadm_does_not_write_are_read_back() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        client.new_service(Service::new(key, "rr")).unwrap();
        for (port, forward, listed, word) in [
            (1, ForwardMethod::Local, ListedForward::Local, Some("Local")),
            (2, ForwardMethod::Bypass, ListedForward::Masquerade, None),
        ] {
            let place = destination("192.0.2.1", port, forward, 1);
            client.new_destination(key, place.clone()).unwrap();
            let found = client.destinations(key).unwrap();
            let found = found.into_iter().find(|found| found.port == port).unwrap();
            assert_eq!(without_connections(found), place);
            let table = client.table().unwrap();
            let shown = table[0].destinations.iter().find(|found| found.port == port).unwrap();
            assert_eq!(shown.forward, listed);
            // ipvsadm has no name for bypass.
            let shown = shell("ipvsadm -Ln");
            let line = shown.lines().find(|line| line.contains(&format!("192.0.2.1:{port} ")));
            assert!(word.is_none_or(|word| line.unwrap().contains(word)), "{shown}");
        }
    });
}
