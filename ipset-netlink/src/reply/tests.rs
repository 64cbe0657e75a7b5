//! Tests of decoding answers, as the kernel sent them and as it would not send them.
//!
//! Captured on Linux 6.18 with ipset 7.17; the comment in each block is the command: `strace -e write=all -e
//! read=all ipset ...`, with the netlink headers removed. See the README.

use proptest::prelude::*;

use super::*;
use crate::{
    Repeat,
    message::{Dialect, Edit, tests::bytes},
};

fn one(payload: &[u8]) -> Set {
    let mut sets = sets([payload]).unwrap();
    assert_eq!(sets.len(), 1);
    sets.remove(0)
}

fn printed(set: &Set) -> Vec<String> {
    set.entries.iter().map(Entry::to_string).collect()
}

#[test]
fn versions_are_read_as_ranges() {
    // ipset create a hash:ip,port
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 05 00 0a 00 06 00 00 00",
    );
    assert_eq!(protocols(&payload).unwrap(), 6..=7);
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 11 00 03 00 68 61 73 68 3a 69 70 2c
        70 6f 72 74 00 00 00 00 05 00 05 00 02 00 00 00 05 00 04 00 07 00 00 00
        05 00 0a 00 00 00 00 00",
    );
    assert_eq!(revisions(&payload).unwrap(), 0..=7);
    assert_eq!(protocols(&bytes("02 00 00 00 05 00 01 00 06 00 00 00")).unwrap(), 6..=6);
    assert!(revisions(&NFGENMSG).is_err());
}

#[test]
fn a_refused_element_is_known_by_its_number() {
    // printf 'add a 10.96.0.10,tcp:9153\nadd a 10.96.0.10,udp:53\n' | ipset restore
    let echo = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 08 00 09 40
        00 00 00 02 54 00 08 80 28 00 07 80 0c 00 01 80 08 00 01 40 0a 60 00 0a
        06 00 04 40 23 c1 00 00 05 00 07 00 06 00 00 00 08 00 09 40 00 00 00 01
        28 00 07 80 0c 00 01 80 08 00 01 40 0a 60 00 0a 06 00 04 40 00 35 00 00
        05 00 07 00 11 00 00 00 08 00 09 40 00 00 00 02",
    );
    assert_eq!(refused_line(&echo), Some(2));
    // ipset swap a f
    let echo = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 06 00 03 00
        66 00 00 00",
    );
    assert_eq!(refused_line(&echo), None);
    assert_eq!(refused_line(&[]), None);
}

#[test]
fn a_hash_is_listed() {
    // ipset create a hash:ip,port; ipset add a 10.96.0.10,udp:53; ipset list
    let set = one(&bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 11 00 03 00
        68 61 73 68 3a 69 70 2c 70 6f 72 74 00 00 00 00 05 00 05 00 02 00 00 00
        05 00 04 00 07 00 00 00 06 00 0b 40 00 00 00 00 3c 00 07 80 08 00 12 40
        00 00 04 00 08 00 13 40 00 01 00 00 05 00 15 00 0c 00 00 00 08 00 11 40
        53 4b f7 3b 08 00 19 40 00 00 00 00 08 00 1a 40 00 00 01 08 08 00 18 40
        00 00 00 01 24 00 08 80 20 00 07 80 0c 00 01 80 08 00 01 00 0a 60 00 0a
        06 00 04 40 00 35 00 00 05 00 07 00 11 00 00 00",
    ));
    assert_eq!(
        set.header,
        Header {
            name: "a".parse().unwrap(),
            kind: Kind::Known(SetType::HashIpPort),
            family: Some(Family::Inet),
            revision: 7,
            hash_size: Some(1024),
            max_elements: Some(65536),
            ports: None,
            timeout: None,
            netmask: None,
            bitmask: None,
            references: 0,
            elements: 1,
            memory: 264,
        }
    );
    assert_eq!(printed(&set), ["10.96.0.10,udp:53"]);
}

#[test]
fn a_bitmap_is_listed() {
    // ipset create p bitmap:port range 30000-32767; ipset add p 30000-30001; ipset list
    let set = one(&bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00 10 00 03 00
        62 69 74 6d 61 70 3a 70 6f 72 74 00 05 00 05 00 00 00 00 00 05 00 04 00
        03 00 00 00 06 00 0b 40 00 01 00 00 2c 00 07 80 06 00 04 40 75 30 00 00
        06 00 05 40 7f ff 00 00 08 00 19 40 00 00 00 00 08 00 1a 40 00 00 01 a8
        08 00 18 40 00 00 00 02 1c 00 08 80 0c 00 07 80 06 00 04 40 75 30 00 00
        0c 00 07 80 06 00 04 40 75 31 00 00",
    ));
    assert_eq!(set.header.kind, Kind::Known(SetType::BitmapPort));
    assert_eq!((set.header.family, set.header.ports.clone()), (None, Some(30000..=32767)));
    assert_eq!(printed(&set), ["30000", "30001"]);
}

// ipset create f hash:ip,port,net family inet6; ipset add f fd00::1,tcp:80,fd00:1::/64
// ipset add f fd00::2,sctp:80,fd00:1::5; ipset list
const NETWORKS: &str = "
    02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 66 00 00 00 15 00 03 00
    68 61 73 68 3a 69 70 2c 70 6f 72 74 2c 6e 65 74 00 00 00 00 05 00 05 00
    0a 00 00 00 05 00 04 00 08 00 00 00 06 00 0b 40 00 02 00 00 3c 00 07 80
    08 00 12 40 00 00 04 00 08 00 13 40 00 01 00 00 05 00 15 00 0c 00 00 00
    08 00 11 40 2e 91 c9 0f 08 00 19 40 00 00 00 00 08 00 1a 40 00 00 05 b8
    08 00 18 40 00 00 00 02 9c 00 08 80 4c 00 07 80 18 00 01 80 14 00 02 00
    fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 18 00 14 80 14 00 02 00
    fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 06 00 04 40 00 50 00 00
    05 00 15 00 40 00 00 00 05 00 07 00 06 00 00 00 4c 00 07 80 18 00 01 80
    14 00 02 00 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 18 00 14 80
    14 00 02 00 fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 05 06 00 04 40
    00 50 00 00 05 00 15 00 80 00 00 00 05 00 07 00 84 00 00 00";

#[test]
fn networks_are_listed_as_the_tool_prints_them() {
    let set = one(&bytes(NETWORKS));
    assert_eq!(set.header.family, Some(Family::Inet6));
    assert_eq!(printed(&set), ["fd00::1,tcp:80,fd00:1::/64", "fd00::2,sctp:80,fd00:1::5"]);
}

#[test]
fn a_set_without_a_name_is_left_out_with_all_its_parts() {
    let named = bytes(NETWORKS);
    let (before, after) = (bytes("06 00 02 00 66 00 00 00"), bytes("05 00 02 00 00 00 00 00"));
    let nameless = [&named[..12], &after, &named[20..]].concat();
    assert_eq!(named[12..20], before);
    assert_eq!(sets([nameless.as_slice()]).unwrap(), []);
    // The listing has a second message of the nameless set, then those of a set with a name.
    let second = [&named[..12], &after, &named[128..]].concat();
    let listing = [&nameless, &second, &named].map(Vec::as_slice);
    assert_eq!(sets(listing).unwrap(), [one(&named)]);
    assert_eq!(names(listing).unwrap(), ["f".parse().unwrap()]);
}

#[test]
fn two_addresses_and_one_are_listed() {
    // ipset create g hash:ip,port,ip; ipset add g 10.0.0.1,sctp:80,10.0.0.2; ipset list
    let set = one(&bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 67 00 00 00 14 00 03 00
        68 61 73 68 3a 69 70 2c 70 6f 72 74 2c 69 70 00 05 00 05 00 02 00 00 00
        05 00 04 00 06 00 00 00 06 00 0b 40 00 03 00 00 3c 00 07 80 08 00 12 40
        00 00 04 00 08 00 13 40 00 01 00 00 05 00 15 00 0c 00 00 00 08 00 11 40
        97 76 24 1e 08 00 19 40 00 00 00 00 08 00 1a 40 00 00 01 08 08 00 18 40
        00 00 00 01 30 00 08 80 2c 00 07 80 0c 00 01 80 08 00 01 00 0a 00 00 01
        0c 00 14 80 08 00 01 00 0a 00 00 02 06 00 04 40 00 50 00 00 05 00 07 00
        84 00 00 00",
    ));
    assert_eq!(printed(&set), ["10.0.0.1,sctp:80,10.0.0.2"]);
    // ipset create h hash:ip; ipset add h 10.0.0.1; ipset list
    let set = one(&bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 68 00 00 00 0c 00 03 00
        68 61 73 68 3a 69 70 00 05 00 05 00 02 00 00 00 05 00 04 00 06 00 00 00
        06 00 0b 40 00 04 00 00 3c 00 07 80 08 00 12 40 00 00 04 00 08 00 13 40
        00 01 00 00 05 00 15 00 0c 00 00 00 08 00 11 40 01 2a 3e 55 08 00 19 40
        00 00 00 00 08 00 1a 40 00 00 01 00 08 00 18 40 00 00 00 01 14 00 08 80
        10 00 07 80 0c 00 01 80 08 00 01 00 0a 00 00 01",
    ));
    assert_eq!(printed(&set), ["10.0.0.1"]);
}

#[test]
fn a_foreign_set_is_listed_with_its_elements_untouched() {
    // ipset create n hash:net timeout 600 counters comment
    // ipset add n 10.0.0.0/8 comment x; ipset list n
    let set = one(&bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 6e 00 00 00 0d 00 03 00
        68 61 73 68 3a 6e 65 74 00 00 00 00 05 00 05 00 02 00 00 00 05 00 04 00
        07 00 00 00 06 00 0b 40 00 00 00 00 4c 00 07 80 08 00 12 40 00 00 04 00
        08 00 13 40 00 01 00 00 05 00 15 00 0c 00 00 00 08 00 11 40 82 e4 08 5e
        08 00 19 40 00 00 00 00 08 00 1a 40 00 00 02 4a 08 00 18 40 00 00 00 01
        08 00 06 40 00 00 02 58 08 00 08 40 00 00 00 18 44 00 08 80 40 00 07 80
        0c 00 01 80 08 00 01 00 0a 00 00 00 05 00 03 00 08 00 00 00 08 00 06 40
        00 00 02 57 0c 00 18 40 00 00 00 00 00 00 00 00 0c 00 19 40 00 00 00 00
        00 00 00 00 06 00 1a 00 78 00 00 00",
    ));
    assert_eq!(set.header.kind, Kind::Other("hash:net".into()));
    assert_eq!((set.header.timeout, set.header.elements), (Some(600), 1));
    assert_eq!((set.entries.len(), set.opaque.len()), (0, 1));
    assert_eq!(set.opaque[0].len(), 60);
}

#[test]
fn names_are_listed() {
    // ipset list -n
    let payloads = [
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00",
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00",
    ];
    let payloads = payloads.map(bytes);
    let names = names(payloads.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(names, ["a", "p"].map(|name| name.parse().unwrap()));
}

#[test]
fn a_set_in_several_messages_is_one_set() {
    let name = "a".parse().unwrap();
    let ports: Vec<Entry> = (1..=600).map(Entry::Port).collect();
    // ipset create p bitmap:port; ipset list p
    let mut payloads = vec![bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00 10 00 03 00
        62 69 74 6d 61 70 3a 70 6f 72 74 00 05 00 05 00 00 00 00 00 05 00 04 00
        03 00 00 00 06 00 0b 40 00 01 00 00 2c 00 07 80 06 00 04 40 00 00 00 00
        06 00 05 40 ff ff 00 00 08 00 19 40 00 00 00 00 08 00 1a 40 00 00 20 48
        08 00 18 40 00 00 00 00 04 00 08 80",
    )];
    payloads[0][16] = b'a';
    for chunk in ports.chunks(250) {
        // The kernel's later messages have the layout of a request: name and elements.
        let request = Dialect::NEWEST.edit(Edit::Add, &name, chunk, Repeat::Accept).unwrap();
        payloads.push(request.payload);
    }
    let sets = sets(payloads.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].entries, ports);
}

prop_compose! {
    fn any_entry()(
        kind in proptest::sample::select(&SetType::ALL[..]),
        (ip, ip2) in prop_oneof![
            any::<[Ipv4Addr; 2]>().prop_map(|[ip, ip2]| (IpAddr::from(ip), IpAddr::from(ip2))),
            any::<[Ipv6Addr; 2]>().prop_map(|[ip, ip2]| (IpAddr::from(ip), IpAddr::from(ip2))),
        ],
        protocol in any::<u8>().prop_map(Protocol),
        port in any::<u16>(),
        prefix in 0..=32u8,
        is_exception in any::<bool>(),
    ) -> Entry {
        match kind {
            SetType::HashIp => Entry::Ip(ip),
            SetType::HashIpPort => Entry::IpPort { ip, protocol, port },
            SetType::HashIpPortIp => Entry::IpPortIp { ip, protocol, port, ip2 },
            SetType::HashIpPortNet => {
                let net = Network::new(ip2, prefix).unwrap();
                match is_exception {
                    true => Entry::IpPortNetNomatch { ip, protocol, port, net },
                    false => Entry::IpPortNet { ip, protocol, port, net },
                }
            }
            SetType::BitmapPort => Entry::Port(port),
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(element in any_entry()) {
        let name = "a".parse().unwrap();
        let request = Dialect::NEWEST.edit(Edit::Add, &name, &[element], Repeat::Accept).unwrap();
        let mut elements = Part::read(&request.payload).unwrap().unwrap().elements;
        prop_assert_eq!(entry(element.kind(), elements.next().unwrap().unwrap()), Some(element));
        prop_assert!(elements.next().is_none());
    }

    #[test]
    fn what_is_printed_is_read(element in any_entry()) {
        prop_assert_eq!(Entry::parse(element.kind(), &element.to_string()), Ok(element));
    }

    #[test]
    fn any_bytes_are_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (protocols(&payload), revisions(&payload), refused_line(&payload));
        let _ = (names([payload.as_slice()]), sets([payload.as_slice()]));
    }

    #[test]
    fn a_damaged_listing_is_read_or_refused(
        damage in proptest::collection::vec((0..300usize, any::<u8>()), 1..6),
        length in 0..=300usize,
    ) {
        // ipset list f, as above
        let mut payload = bytes(NETWORKS);
        for (place, byte) in damage {
            let place = place % payload.len();
            payload[place] = byte;
        }
        payload.truncate(length);
        let _ = sets([payload.as_slice(), payload.as_slice()]);
        let _ = names([payload.as_slice()]);
    }
}
