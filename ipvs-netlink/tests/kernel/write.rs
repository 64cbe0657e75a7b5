//! Tests that `ipvsadm` shows what this crate writes.

use super::*;

#[test]
fn ipvsadm_shows_every_attribute_that_we_write() {
    in_namespace(|mut client| {
        let (table, expected) = everything();
        apply(&mut client, &commands(&table));
        assert_eq!(saved(), sorted(expected));
    });
}

#[test]
fn ipvsadm_shows_thresholds() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        client.new_service(Service::new(key, "rr")).unwrap();
        let mut limited = Destination::new(ip("192.0.2.10"), 8080);
        (limited.upper_threshold, limited.lower_threshold) = (100, 50);
        client.new_destination(key, limited.clone()).unwrap();
        let shown = shell("ipvsadm -Ln --thresholds");
        let line = shown.lines().find(|line| line.contains("192.0.2.10")).unwrap();
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        assert_eq!(words[1..4], ["192.0.2.10:8080", "100", "50"]);
        let found = client.destinations(key).unwrap();
        assert_eq!(without_connections(found[0].clone()), limited);
    });
}

#[test]
fn changes_arrive() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        client.new_service(persistent(key, "sh", ServiceFlags::SH_PORT, 100)).unwrap();
        let place = destination("192.0.2.10", 8080, ForwardMethod::Masquerade, 1);
        client.new_destination(key, place.clone()).unwrap();

        // Only the bits in the mask change: sh-port stays, persistence is cleared, sh-fallback is set.
        let mut changed = Service::new(key, "sh");
        changed.flags = ServiceFlags::within(
            ServiceFlags::SH_FALLBACK,
            ServiceFlags::SH_FALLBACK | ServiceFlags::PERSISTENT,
        );
        client.set_service(changed).unwrap();
        client.set_destination(key, at(&place, 0)).unwrap();
        assert_eq!(
            saved(),
            [
                "-A -t 10.96.0.1:80 -s sh -b sh-fallback,sh-port",
                "-a -t 10.96.0.1:80 -r 192.0.2.10:8080 -m -w 0",
            ]
        );
        client.delete_destination(key, place.key()).unwrap();
        assert_eq!(saved(), ["-A -t 10.96.0.1:80 -s sh -b sh-fallback,sh-port"]);
        client.delete_service(key).unwrap();
        assert!(saved().is_empty());
    });
}

/// Commands that change, reset or delete find the right object with every kind of key.
#[test]
fn every_kind_of_key_finds_its_virtual_server() {
    in_namespace(|mut client| {
        for (key, place, name) in [
            (tcp("10.96.0.1", 80), "192.0.2.10", "-t 10.96.0.1:80"),
            (tcp("2001:db8::80", 80), "2001:db8::10", "-t [2001:db8::80]:80"),
            (mark(AddressFamily::Inet, 7), "192.0.2.10", "-f 7"),
            (mark(AddressFamily::Inet6, 7), "2001:db8::10", "-f 7 -6"),
        ] {
            let place = destination(place, 80, ForwardMethod::DirectRoute, 1);
            let place_name = place.key();
            client.new_service(Service::new(key, "rr")).unwrap();
            client.new_destination(key, place.clone()).unwrap();
            client.set_service(Service::new(key, "wlc")).unwrap();
            client.set_destination(key, at(&place, 5)).unwrap();
            client.zero_service(key).unwrap();
            assert_eq!(
                saved(),
                [format!("-A {name} -s wlc"), format!("-a {name} -r {place_name} -g -w 5")]
            );
            client.delete_destination(key, place.key()).unwrap();
            assert_eq!(saved(), [format!("-A {name} -s wlc")]);
            client.delete_service(key).unwrap();
            assert!(saved().is_empty());
            for gone in [Command::ZeroService(key), Command::DeleteService(key)] {
                assert_eq!(refusal(client.run(gone)), Refusal::NoSuchService);
            }
        }
    });
}

fn at(place: &Destination, weight: u32) -> Destination {
    let mut place = place.clone();
    place.weight = weight;
    place
}

#[test]
fn the_kernel_keeps_what_we_read_and_write_back() {
    in_namespace(|mut client| {
        let (table, expected) = everything();
        apply(&mut client, &commands(&table));
        let mut again = Vec::new();
        for service in client.services().unwrap() {
            for destination in client.destinations(service.key).unwrap() {
                again.push(Command::SetDestination(service.key, destination));
            }
            again.push(Command::SetService(service));
        }
        apply(&mut client, &again);
        assert_eq!(saved(), sorted(expected));
    });
}

#[test]
fn flush_leaves_nothing() {
    in_namespace(|mut client| {
        apply(&mut client, &commands(&everything().0));
        client.flush().unwrap();
        assert!(saved().is_empty());
        assert!(client.services().unwrap().is_empty());
        assert!(client.table().unwrap().is_empty());
    });
}

#[test]
fn timeouts_are_set_and_zero_leaves_them() {
    in_namespace(|mut client| {
        let set = |tcp, tcp_fin, udp| ipvs_netlink::Timeouts { tcp, tcp_fin, udp };
        client.set_timeouts(set(100, 20, 30)).unwrap();
        assert_eq!(shell("ipvsadm -Ln --timeout"), "Timeout (tcp tcpfin udp): 100 20 30\n");
        client.set_timeouts(set(0, 25, 0)).unwrap();
        assert_eq!(client.timeouts().unwrap(), set(100, 25, 30));
        shell("ipvsadm --set 900 120 300");
        assert_eq!(client.timeouts().unwrap(), set(900, 120, 300));
    });
}
