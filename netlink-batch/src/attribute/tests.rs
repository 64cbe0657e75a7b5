//! Tests of attributes: written and read back, and read from arbitrary bytes.

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NET_BYTEORDER};
use proptest::prelude::*;

use super::*;

fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut Writer::new(&mut bytes));
    bytes
}

fn only(bytes: &[u8]) -> Attribute<'_> {
    let mut all = Attributes::new(bytes);
    let first = all.next().unwrap().unwrap();
    assert!(all.next().is_none());
    first
}

#[test]
fn numbers_come_back_in_the_order_they_were_written_in() {
    assert_eq!(only(&written(|w| w.u8(1, 7))).u8().unwrap(), 7);
    assert_eq!(only(&written(|w| w.u16(1, 0x1234))).u16().unwrap(), 0x1234);
    assert_eq!(only(&written(|w| w.u32(1, 0x1234_5678))).u32().unwrap(), 0x1234_5678);
    assert_eq!(only(&written(|w| w.u64(1, u64::MAX - 1))).u64().unwrap(), u64::MAX - 1);
    assert_eq!(only(&written(|w| w.be16(1, 0x1234))).value, [0x12, 0x34]);
    assert_eq!(only(&written(|w| w.be16(1, 0x1234))).be16().unwrap(), 0x1234);
    assert_eq!(only(&written(|w| w.be32(1, 0x1234_5678))).be32().unwrap(), 0x1234_5678);
    assert_eq!(only(&written(|w| w.be64(1, 0x1234_5678_9abc))).be64().unwrap(), 0x1234_5678_9abc);
    assert_eq!(only(&written(|w| w.flag(9))), Attribute { kind: 9, flags: 0, value: &[] });
}

#[test]
fn a_number_of_another_size_is_an_error() {
    let bytes = written(|w| w.u16(1, 5));
    assert!(only(&bytes).u32().is_err());
    assert!(only(&bytes).u8().is_err());
}

#[test]
fn text_ends_at_its_nul() {
    let bytes = written(|w| w.nul_string(6, "wrr").unwrap());
    assert_eq!(only(&bytes).value, b"wrr\0");
    assert_eq!(only(&bytes).string().unwrap(), "wrr");
    let padded = written(|w| w.bytes(6, b"rr\0\0junk").unwrap());
    assert_eq!(only(&padded).string().unwrap(), "rr");
    let latin1 = written(|w| w.bytes(6, b"caf\xe9\0").unwrap());
    assert!(only(&latin1).string().is_err());
    assert_eq!(only(&latin1).string_lossy(), "caf\u{fffd}");
}

#[test]
fn flags_of_the_type_are_written_and_masked_when_read() {
    let bytes = written(|w| w.be32(3 | NLA_F_NET_BYTEORDER, 1));
    assert_eq!(bytes, [8, 0, 3, 0x40, 0, 0, 0, 1]);
    assert_eq!((only(&bytes).kind, only(&bytes).flags), (3, NLA_F_NET_BYTEORDER));
    let bytes = written(|w| w.nested(2, |inner| inner.bytes(1, &[1])).unwrap());
    assert_eq!(bytes, [12, 0, 2, 0x80, 5, 0, 1, 0, 1, 0, 0, 0]);
    assert_eq!(only(&bytes).kind, 2);
}

#[test]
fn what_cannot_be_written_leaves_the_buffer_alone() {
    let mut bytes = written(|w| w.u8(1, 1));
    let before = bytes.clone();
    let mut writer = Writer::new(&mut bytes);
    assert_eq!(writer.nul_string(6, "r\0r"), Err(EncodeError::InteriorNul { kind: 6 }));
    assert_eq!(
        writer.bytes(2, &[0; 65_532]),
        Err(EncodeError::TooLong { kind: 2, length: 65_532 })
    );
    let half = [0; 40_000];
    let overfull = writer.nested(7, |inner| {
        inner.bytes(1, &half)?;
        inner.bytes(2, &half)
    });
    assert_eq!(overfull, Err(EncodeError::TooLong { kind: 7, length: 80_008 }));
    let inside = writer.nested(7, |inner| {
        inner.u32(1, 1);
        inner.nul_string(2, "\0")
    });
    assert_eq!(inside, Err(EncodeError::InteriorNul { kind: 2 }));
    assert_eq!(bytes, before);
}

#[test]
fn a_truncated_attribute_is_an_error_and_the_last() {
    let bytes = written(|w| {
        w.u8(1, 1);
        w.u32(2, 2);
    });
    let mut cut = Attributes::new(&bytes[..bytes.len() - 1]);
    assert_eq!(cut.next().unwrap().unwrap().kind, 1);
    assert!(cut.next().unwrap().is_err());
    assert!(cut.next().is_none());
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_netlink_packet_core(kind in 0u16..0x4000, value: Vec<u8>) {
        let reference = DefaultNla::new(kind, value.clone());
        let mut expected = vec![0; reference.buffer_len()];
        reference.emit(&mut expected);
        let bytes = written(|w| w.bytes(kind, &value).unwrap());
        prop_assert_eq!(&bytes, &expected);
        prop_assert_eq!(only(&bytes), Attribute { kind, flags: 0, value: &value });
    }

    #[test]
    fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
        prop_assert!(Attributes::new(&bytes).take(bytes.len() + 1).count() <= bytes.len());
    }
}
