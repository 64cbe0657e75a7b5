//! Tests of the codec against bytes that the `conntrack` program and the kernel exchanged.

use netlink_batch::Reply;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(|pair| byte(pair).expect("hexadecimal")).collect()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn sctp() -> Flow {
    let original =
        Tuple { source: socket("[fd00::99]:1000"), destination: socket("[fd00::10]:2905") };
    let reply = Tuple { source: socket("[fd00::20]:9999"), destination: socket("[fd00::99]:1000") };
    Flow { id: Some(0x0102_0304), zone: 7, ..Flow::new(Protocol::SCTP, original, reply) }
}

/// Returns a reply as the kernel sends it: the deletion's attributes, the reply direction, and attributes
/// that this crate does not know.
fn reply(flow: &Flow) -> Reply {
    let mut payload = delete(flow).expect("fixed lengths").payload;
    let mut writer = Writer::new(&mut payload);
    let nat = |is: bool, bit| if is { bit } else { 0 };
    let translated = flow.translated;
    let nat = nat(translated.source, 1 << 4) | nat(translated.destination, 1 << 5);
    writer.be32(3, 0x18e | nat);
    if flow.mark != 0 {
        writer.be32(8, flow.mark);
    }
    writer
        .nested(CTA_TUPLE_REPLY, |tuple| write_tuple(tuple, flow.protocol, &flow.reply))
        .expect("fixed lengths");
    writer.u64(999, 1);
    Reply { kind: kind(IPCTNL_MSG_CT_NEW), payload }
}

#[test]
fn a_flow_is_read_as_it_was_written() {
    let mut wanted = sctp();
    assert_eq!(flow((&reply(&wanted)).into()).expect("decodes"), Some(wanted));
    (wanted.zone, wanted.id) = (0, None);
    assert_eq!(flow((&reply(&wanted)).into()).expect("decodes"), Some(wanted));
    for (source, destination, mark) in [(true, false, 7), (false, true, u32::MAX)] {
        wanted.translated = Translated { source, destination };
        wanted.mark = mark;
        assert_eq!(flow((&reply(&wanted)).into()).expect("decodes"), Some(wanted));
    }
}

/// The deletion that `strace -xx -s 4096 conntrack -D -p udp --orig-src 192.0.2.1` sends for the entry that
/// it has found, up to the tuple of the original direction.
#[test]
fn a_deletion_begins_as_that_of_the_conntrack_program() {
    let original = Tuple { source: socket("192.0.2.1:4321"), destination: socket("10.96.0.10:53") };
    let reply = Tuple { source: socket("10.244.1.2:53"), destination: socket("192.0.2.1:4321") };
    let flow = Flow::new(Protocol::UDP, original, reply);
    let request = delete(&flow).expect("fixed lengths");
    assert_eq!(request.kind, 0x0102);
    let wanted = bytes(
        "02000000 3400 0180 1400 0180 0800 0100 c0000201 0800 0200 0a60000a \
         1c00 0280 0500 0100 11000000 0600 0200 10e10000 0600 0300 00350000",
    );
    assert_eq!(request.payload, wanted);
}

#[test]
fn only_protocol_and_mark_are_left_to_the_kernel_to_filter() {
    let six = Selection::new(Family::Inet6, Protocol::UDP);
    let request = list(&six, Filter::ByProtocol).expect("fixed lengths");
    assert_eq!(request.kind, 0x0101);
    let wanted =
        bytes("0a000000 1000 0180 0c00 0280 0500 0100 11000000 0c00 1980 0800 0100 08000000");
    assert_eq!(request.payload, wanted);
    let four = Selection::new(Family::Inet, Protocol::UDP);
    assert_eq!(list(&four, Filter::None).expect("fixed lengths").payload, bytes("02000000"));
    // The command is `conntrack -L -m 0x4000/0x4000`. Bits outside the mask can never match.
    let marked = list(&four.with_mark(0x4001, 0x4000), Filter::None).expect("fixed lengths");
    assert_eq!(marked.payload, bytes("02000000 0800 0800 00004000 0800 1500 00004000"));
}

#[test]
fn what_the_kernel_did_not_filter_is_looked_at_again() {
    let (udp, sctp_of_six) = (Protocol::UDP, Selection::new(Family::Inet6, Protocol::SCTP));
    let flow = Flow { mark: 0x4003, ..sctp() };
    assert!(sctp_of_six.contains(&flow));
    assert!(!Selection::new(Family::Inet, Protocol::SCTP).contains(&flow));
    assert!(!Selection::new(Family::Inet6, udp).contains(&flow));
    assert!(sctp_of_six.with_mark(0x4000, 0x4000).contains(&flow));
    assert!(!sctp_of_six.with_mark(0x4000, 0x4001).contains(&flow));
}

#[test]
fn a_flow_without_ports_and_a_cut_message_are_no_flows_and_no_panic() {
    let whole = reply(&sctp());
    for length in 0..whole.payload.len() {
        let cut = whole.payload.get(..length).expect("shorter").to_vec();
        let _ = flow(ReplyRef { kind: whole.kind, payload: &cut });
    }
    let icmp = bytes("02000000 0c00 0180 0800 0280 0400 0100");
    assert_eq!(flow(ReplyRef { kind: whole.kind, payload: &icmp }).ok().flatten(), None);
    let other = Reply { kind: 0x0600, payload: whole.payload };
    assert_eq!(flow((&other).into()).expect("passed over"), None);
}
