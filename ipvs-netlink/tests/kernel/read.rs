//! What `ipvsadm` writes, we read.

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
fn a_local_destination_is_local() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        client.new_service(Service::new(key, "rr")).unwrap();
        client.new_destination(key, Destination::new(ip("127.0.0.1"), 80)).unwrap();
        let found = client.destinations(key).unwrap();
        assert_eq!(found[0].forward, ForwardMethod::Local);
    });
}
