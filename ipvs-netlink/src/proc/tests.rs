//! Tests of the text as Linux 6.1 prints it, and of texts that no kernel prints.

use proptest::prelude::*;

use super::*;

/// The text after the following and other commands:
/// `ipvsadm -A -u [2001:db8::53]:53 -s mh -b mh-port,mh-fallback -p 600 -M 64 -o`,
/// `ipvsadm -A --sctp-service 10.96.0.2:2905 -s sh -b sh-fallback`,
/// `ipvsadm -A -t 10.96.0.9:5060 -s rr --pe sip -p 300`,
/// `ipvsadm -a -f 7 -r 192.0.2.11:0 -i --tun-type gue --tun-port 6080 --tun-csum`.
const CAPTURED: &str = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
UDP  [2001:0db8:0000:0000:0000:0000:0000:0053]:0035 mh persistent 150000 40000000
  -> [2001:0db8:0000:0000:0000:0000:0000:0010]:0035      Route   1      0          0         \n\
SCTP  0A600002:0B59 sh  \n\
TCP  0A600009:13C4 rr  persistent 75000 FFFFFFFF
TCP  0A600001:0050 wrr  \n  -> C000020A:1F90      Masq    0      0          0         \n\
FWM  00000007 wlc \n  -> C000020D:0000      Tunnel  1      0          0         \n  \
-> C000020C:0000      Tunnel  1      3          4         \n";

fn address(protocol: Protocol, address: &str, port: u16) -> ListedKey {
    ListedKey::Address { protocol, address: address.parse().unwrap(), port }
}

fn line(line: &str) -> Result<Vec<Listing>, ParseError> {
    parse(&format!("1\n2\n3\n{line}\n"))
}

/// The text of `/proc/net/ip_vs_status` in Linux 7.2.
#[test]
fn the_count_is_read_where_there_is_one() {
    let text = "Conns:\t7\nConn buckets:\t4096 (12 bits, lfactor -4)\nServices:\t1000\n\
        Service buckets:\t2048 (11 bits, lfactor 3)\nStats thread slots:\t1 (max 17)\n";
    assert_eq!(parse_services(text), Some(1000));
    for other in ["", "Services\t1", "Services:", "Services:\t-1", "Services:\tmany", "Conns:\t1"] {
        assert_eq!(parse_services(other), None, "{other:?}");
    }
}

#[test]
fn every_kind_of_line_is_read() {
    let found = parse(CAPTURED).unwrap();
    let keys: Vec<_> = found.iter().map(|listing| listing.key).collect();
    assert_eq!(
        keys,
        [
            address(Protocol::UDP, "2001:db8::53", 53),
            address(Protocol::SCTP, "10.96.0.2", 2905),
            address(Protocol::TCP, "10.96.0.9", 5060),
            address(Protocol::TCP, "10.96.0.1", 80),
            ListedKey::Mark(NonZeroU32::new(7).unwrap()),
        ]
    );
    let schedulers: Vec<_> = found.iter().map(|listing| listing.scheduler.as_str()).collect();
    assert_eq!(schedulers, ["mh", "sh", "rr", "wrr", "wlc"]);
    let flags: Vec<_> = found.iter().map(|listing| listing.flags).collect();
    assert_eq!(flags, [1, 0, 1, 0, 0]);
    assert_eq!(
        found[0].destinations,
        [ListedDestination {
            address: "2001:db8::10".parse().unwrap(),
            port: 53,
            forward: ListedForward::DirectRoute,
            weight: 1,
            active_connections: 0,
            inactive_connections: 0,
        }]
    );
    assert_eq!(found[3].destinations[0].weight, 0);
    assert_eq!(found[3].destinations[0].forward, ListedForward::Masquerade);
    assert_eq!(found[4].destinations[1].key().to_string(), "192.0.2.12:0");
    assert_eq!(found[4].destinations[1].forward, ListedForward::Tunnel);
    let connections = &found[4].destinations[1];
    assert_eq!((connections.active_connections, connections.inactive_connections), (3, 4));
}

#[test]
fn one_packet_scheduling_and_no_scheduler_are_read() {
    let found = line("UDP  0A600001:0035 none ops persistent 75000 FFFFFFFF").unwrap();
    assert_eq!(found[0].flags, IP_VS_SVC_F_ONEPACKET | IP_VS_SVC_F_PERSISTENT);
    assert_eq!(found[0].scheduler, "none");
    let found = line("FWM  00000001 rr ops ").unwrap();
    assert_eq!(found[0].flags, IP_VS_SVC_F_ONEPACKET);
}

#[test]
fn protocols_without_a_name_are_numbers() {
    let found = line("IP_50  0A600001:0000 rr  ").unwrap();
    assert_eq!(found[0].key, address(Protocol(50), "10.96.0.1", 0));
}

#[test]
fn an_empty_table_is_empty() {
    assert_eq!(parse("").unwrap(), []);
    assert_eq!(parse("1\n2\n3\n").unwrap(), []);
}

#[test]
fn a_line_of_another_shape_is_named() {
    for (wrong, expected) in [
        ("-> C000020A:1F90 Masq 1 0 0", "a virtual server before its destinations"),
        ("TCP", "an address"),
        ("TCP 0A600001 rr", "an address and port"),
        ("TCP [0A600001:0050 rr", "an address and port"),
        ("XXX 0A600001:0050 rr", "a protocol"),
        ("TCP 0A600001:0050", "a scheduler"),
        ("TCP 0A600001:0050 rr new", "flags"),
        ("FWM 00000000 rr", "a firewall mark"),
        ("TCP 0A600001:0050 rr\n-> C000020A:1F90 Magic 1 0 0", "a forwarding method"),
        ("TCP 0A600001:0050 rr\n-> C000020A:1F90 Masq -1 0 0", "a weight"),
        ("TCP 0A600001:0050 rr\n-> C000020A:1F90 Masq 1 0", "a number of inactive connections"),
    ] {
        let error = line(wrong).unwrap_err();
        assert_eq!(error.expected, expected, "{wrong}");
        assert_eq!(error.line, 4 + wrong.matches('\n').count());
    }
}

#[test]
fn a_wrong_line_costs_its_virtual_server_alone() {
    let text = "1\n2\n3\n\
        TCP 0A600001:0050 rr\n-> C000020A:1F90 Masq 1 0 0\n-> C000020B:1F90 Magic 1 0 0\n\
        -> C000020C:1F90 Masq 1 0 0\n\
        XXX 0A600002:0050 rr\n-> C000020A:1F90 Masq 1 0 0\n\
        TCP 0A600003:0050 rr\n-> C000020A:1F90 Masq 1 0 0\n";
    let (found, errors) = parse_readable(text);
    let keys: Vec<_> = found.iter().map(|listing| listing.key).collect();
    assert_eq!(keys, [address(Protocol::TCP, "10.96.0.3", 80)]);
    assert_eq!(found[0].destinations.len(), 1);
    let lines: Vec<_> = errors.iter().map(|error| (error.line, error.expected)).collect();
    assert_eq!(lines, [(6, "a forwarding method"), (8, "a protocol")]);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text: String, tail in "(TCP|FWM|->|[0-9A-F:\\[\\] ]){0,40}") {
        drop(parse(&text));
        drop(line(&tail));
    }
}
