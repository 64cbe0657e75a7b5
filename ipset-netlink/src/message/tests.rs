//! Tests of requests against the bytes that the `ipset` tool sends.
//!
//! Captured with ipset 7.17 on Linux 6.18; the comment in each block is the command: `strace -e write=all -e
//! read=all ipset ...`, with the netlink headers removed. See the README.

use super::*;
use crate::{Family, reply};

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn name(text: &str) -> SetName {
    text.parse().unwrap()
}

fn entries(kind: SetType, texts: &[&str]) -> Vec<Entry> {
    texts.iter().map(|text| Entry::parse(kind, text).unwrap()).collect()
}

fn add(set: &str, kind: SetType, texts: &[&str], repeat: Repeat) -> Request {
    NEWEST.edit(Edit::Add, &name(set), &entries(kind, texts), repeat).unwrap()
}

/// Replaces the number at the start of a request: the tool writes its input line, this crate writes zero.
fn from_line_zero(mut payload: Vec<u8>) -> Vec<u8> {
    assert_eq!(payload[20..28], bytes("08 00 09 40 00 00 00 01"));
    payload[27] = 0;
    payload
}

/// Returns the element in a request of the tool for a single element, to which it gives the number zero.
fn with_line_one(mut element: Vec<u8>) -> Vec<u8> {
    *element.last_mut().unwrap() = 1;
    element
}

const NEWEST: Dialect = Dialect::NEWEST;
const EXCL: u16 = NLM_F_EXCL;
const CREATE: u16 = NLM_F_CREATE;

#[test]
fn questions_are_the_tools() {
    // ipset create a hash:ip,port
    let protocol = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00",
    );
    let request = NEWEST.ask_protocol().unwrap();
    assert_eq!(request, Request { kind: 0x601, flags: 0, payload: protocol });

    let kind = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 11 00 03 00 68 61 73 68 3a 69 70 2c
        70 6f 72 74 00 00 00 00 05 00 05 00 02 00 00 00",
    );
    let spec = SetSpec::new(name("a"), SetType::HashIpPort, Family::Inet);
    let request = NEWEST.ask_type(&spec).unwrap();
    assert_eq!(request, Request { kind: 0x60d, flags: 0, payload: kind });
}

#[test]
fn the_newest_protocol_both_sides_speak_is_spoken() {
    let answer = |newest: u8, rest: &str| {
        let payload = bytes(&format!("02 00 00 00 05 00 01 00 {newest:02x} 00 00 00 {rest}"));
        Dialect::shared(reply::protocols(&payload).unwrap())
    };
    assert_eq!(answer(7, "05 00 0a 00 06 00 00 00").unwrap(), Dialect(7));
    assert_eq!(answer(9, "05 00 0a 00 07 00 00 00").unwrap(), Dialect(7));
    for (newest, rest, versions) in [
        (9, "05 00 0a 00 08 00 00 00", "8 to 9"),
        (5, "05 00 0a 00 01 00 00 00", "1 to 5"),
        (5, "", "5 to 5"),
    ] {
        let error = answer(newest, rest).unwrap_err().to_string();
        assert!(error.contains(versions), "{error}");
    }

    // A kernel with protocol 6 does not send its oldest version.
    let old = answer(6, "").unwrap();
    assert_eq!(old, Dialect(6));
    let payload = bytes("02 00 00 00 05 00 01 00 06 00 00 00 06 00 02 00 70 00 00 00");
    assert_eq!(old.flush(&name("p")).unwrap(), Request { kind: 0x604, flags: 0, payload });
}

#[test]
fn creating_a_hash_is_the_tools() {
    // ipset create a hash:ip,port family inet hashsize 1024 maxelem 65536
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 11 00 03 00
        68 61 73 68 3a 69 70 2c 70 6f 72 74 00 00 00 00 05 00 04 00 07 00 00 00
        05 00 05 00 02 00 00 00 14 00 07 80 08 00 12 40 00 00 04 00 08 00 13 40
        00 01 00 00",
    );
    let spec = SetSpec::new(name("a"), SetType::HashIpPort, Family::Inet);
    let request = NEWEST.create(&spec, 7, Repeat::Refuse).unwrap();
    assert_eq!(request, Request { kind: 0x602, flags: CREATE | EXCL, payload });
}

#[test]
fn creating_a_bitmap_is_the_tools() {
    // ipset create p bitmap:port range 30000-32767 -exist
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00 10 00 03 00
        62 69 74 6d 61 70 3a 70 6f 72 74 00 05 00 04 00 03 00 00 00 05 00 05 00
        00 00 00 00 14 00 07 80 06 00 04 40 75 30 00 00 06 00 05 40 7f ff 00 00",
    );
    let spec = SetSpec::new(name("p"), SetType::BitmapPort, Family::Inet6);
    let spec = SetSpec { ports: 30000..=32767, ..spec };
    let request = NEWEST.create(&spec, 3, Repeat::Accept).unwrap();
    assert_eq!(request, Request { kind: 0x602, flags: CREATE, payload });
}

#[test]
fn packed_elements_are_the_tools() {
    // printf 'add a 10.96.0.10,udp:53\nadd a 10.96.0.10,tcp:53\n' | ipset restore
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 08 00 09 40
        00 00 00 01 54 00 08 80 28 00 07 80 0c 00 01 80 08 00 01 40 0a 60 00 0a
        06 00 04 40 00 35 00 00 05 00 07 00 11 00 00 00 08 00 09 40 00 00 00 01
        28 00 07 80 0c 00 01 80 08 00 01 40 0a 60 00 0a 06 00 04 40 00 35 00 00
        05 00 07 00 06 00 00 00 08 00 09 40 00 00 00 02",
    );
    let texts = ["10.96.0.10,udp:53", "10.96.0.10,tcp:53"];
    let request = add("a", SetType::HashIpPort, &texts, Repeat::Refuse);
    assert_eq!(request, Request { kind: 0x609, flags: EXCL, payload: from_line_zero(payload) });

    // printf 'add p 80\nadd p 443\n' | ipset restore
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00 08 00 09 40
        00 00 00 01 2c 00 08 80 14 00 07 80 06 00 04 40 00 50 00 00 08 00 09 40
        00 00 00 01 14 00 07 80 06 00 04 40 01 bb 00 00 08 00 09 40 00 00 00 02",
    );
    let request = add("p", SetType::BitmapPort, &["80", "443"], Repeat::Refuse);
    assert_eq!(request, Request { kind: 0x609, flags: EXCL, payload: from_line_zero(payload) });
}

#[test]
fn single_elements_are_the_tools() {
    let ends_with = |request: Request, flags: u16, element: Vec<u8>| {
        assert_eq!(request.flags, flags);
        let tail = request.payload.len() - element.len();
        assert_eq!(request.payload[tail..], with_line_one(element));
    };
    // ipset add h 10.0.0.1
    let element = bytes(
        "
        18 00 07 80 0c 00 01 80 08 00 01 40 0a 00 00 01 08 00 09 40 00 00 00 00",
    );
    ends_with(add("h", SetType::HashIp, &["10.0.0.1"], Repeat::Refuse), EXCL, element);

    // ipset add g 10.0.0.1,sctp:80,10.0.0.2 -exist
    let element = bytes(
        "
        34 00 07 80 0c 00 01 80 08 00 01 40 0a 00 00 01 06 00 04 40 00 50 00 00
        05 00 07 00 84 00 00 00 0c 00 14 80 08 00 01 40 0a 00 00 02 08 00 09 40
        00 00 00 00",
    );
    let texts = ["10.0.0.1,sctp:80,10.0.0.2"];
    ends_with(add("g", SetType::HashIpPortIp, &texts, Repeat::Accept), 0, element);

    // ipset add f fd00::1,tcp:80,fd00:1::/64
    let element = bytes(
        "
        54 00 07 80 18 00 01 80 14 00 02 40 fd 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 01 06 00 04 40 00 50 00 00 05 00 07 00 06 00 00 00 18 00 14 80
        14 00 02 40 fd 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 05 00 15 00
        40 00 00 00 08 00 09 40 00 00 00 00",
    );
    let texts = ["fd00::1,tcp:80,fd00:1::/64"];
    ends_with(add("f", SetType::HashIpPortNet, &texts, Repeat::Refuse), EXCL, element);
}

#[test]
fn listings_are_the_tools() {
    // ipset list p
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00",
    );
    let request = NEWEST.list(Some(&name("p")), Detail::Elements).unwrap();
    assert_eq!(request, Request { kind: 0x607, flags: 0, payload });

    // ipset list -t p
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00 08 00 06 40
        00 00 00 04",
    );
    let request = NEWEST.list(Some(&name("p")), Detail::Headers).unwrap();
    assert_eq!(request, Request { kind: 0x607, flags: 0, payload });

    // ipset list -n
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 08 00 06 40 00 00 00 02",
    );
    let request = NEWEST.list(None, Detail::Names).unwrap();
    assert_eq!(request, Request { kind: 0x607, flags: 0, payload });
}

#[test]
fn commands_on_whole_sets_are_the_tools() {
    // ipset swap a f
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 06 00 03 00
        66 00 00 00",
    );
    let request = NEWEST.swap(&name("a"), &name("f")).unwrap();
    assert_eq!(request, Request { kind: 0x606, flags: 0, payload });

    // ipset rename a b
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 61 00 00 00 06 00 03 00
        62 00 00 00",
    );
    let request = NEWEST.rename(&name("a"), &name("b")).unwrap();
    assert_eq!(request, Request { kind: 0x605, flags: 0, payload });

    // ipset destroy b
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 62 00 00 00",
    );
    let request = NEWEST.destroy(&name("b")).unwrap();
    assert_eq!(request, Request { kind: 0x603, flags: EXCL, payload });

    // ipset flush p
    let payload = bytes(
        "
        02 00 00 00 05 00 01 00 07 00 00 00 06 00 02 00 70 00 00 00",
    );
    let request = NEWEST.flush(&name("p")).unwrap();
    assert_eq!(request, Request { kind: 0x604, flags: 0, payload });
}

#[test]
fn a_full_message_of_the_longest_elements_fits() {
    let texts = ["fd00::1,tcp:80,fd00:1::/64 nomatch"; ENTRIES_PER_MESSAGE];
    let request = add("f", SetType::HashIpPortNet, &texts, Repeat::Accept);
    let payload = request.payload.len();
    assert!(payload <= 64 + ENTRIES_PER_MESSAGE * LONGEST_ENTRY, "{payload}");
    let too_many = entries(SetType::HashIpPortNet, &["fd00::1,tcp:80,fd00:1::/64"; 1000]);
    let error = NEWEST.edit(Edit::Add, &name("f"), &too_many, Repeat::Accept).unwrap_err();
    assert!(matches!(error, EncodeError::TooLong { kind: IPSET_ATTR_ADT, .. }));
}
