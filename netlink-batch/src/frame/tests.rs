//! Tests of frames and of the error messages inside them.

use proptest::prelude::*;

use super::*;

fn message(flags: u16, payload: &[u8]) -> Message<'_> {
    Message { kind: 2, flags, sequence: 1, port: 1, payload }
}

fn error_payload(errno: i32, request: &Request, echoed: bool, attributes: &[u8]) -> Vec<u8> {
    let mut payload = (-errno).to_ne_bytes().to_vec();
    let mut framed = Vec::new();
    append(&mut framed, request, 0, 9);
    payload.extend_from_slice(if echoed { &framed } else { &framed[..HEADER] });
    payload.extend_from_slice(attributes);
    payload
}

#[test]
fn frames_are_padded_and_found_again() {
    let mut datagram = Vec::new();
    let odd = Request { kind: 20, flags: 0x400, payload: vec![1, 2, 3, 4, 5] };
    append(&mut datagram, &odd, 1, u32::MAX);
    append(&mut datagram, &Request { kind: 21, ..Request::default() }, 5, 0);
    assert_eq!(datagram.len(), framed_len(&odd) + HEADER);
    let read: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (20, 0x401, u32::MAX));
    assert_eq!(read[0].payload, [1, 2, 3, 4, 5]);
    assert_eq!((read[1].kind, read[1].flags, read[1].payload), (21, 5, &[][..]));
}

#[test]
fn a_lying_length_is_an_error_and_the_end() {
    let mut datagram = Vec::new();
    append(&mut datagram, &Request::default(), 0, 1);
    for length in [0_u32, 15, 17, u32::MAX] {
        datagram[..4].copy_from_slice(&length.to_ne_bytes());
        let mut read = messages(&datagram);
        assert!(read.next().unwrap().is_err(), "length {length}");
        assert!(read.next().is_none());
    }
}

#[test]
fn an_acknowledgement_is_no_error() {
    let payload = error_payload(0, &Request::default(), false, &[]);
    assert_eq!(message(NLM_F_CAPPED, &payload).error().unwrap(), None);
}

#[test]
fn a_capped_error_has_its_explanation_behind_the_header() {
    let mut attributes = Vec::new();
    let mut writer = crate::attribute::Writer::new(&mut attributes);
    writer.nul_string(NLMSGERR_ATTR_MSG, "Invalid prefix length").unwrap();
    writer.u32(NLMSGERR_ATTR_OFFS, 24);
    let request = Request { payload: vec![0; 24], ..Request::default() };
    let payload = error_payload(22, &request, false, &attributes);
    let error = message(NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload).error().unwrap().unwrap();
    assert_eq!(error.errno, 22);
    assert_eq!(error.message.as_deref(), Some("Invalid prefix length"));
    assert_eq!(error.offset, Some(24));
    assert!(error.echo.is_empty());
    assert_eq!(error.to_string(), "Invalid prefix length (errno 22)");
}

#[test]
fn an_echoed_request_stands_before_the_explanation() {
    let mut attributes = Vec::new();
    crate::attribute::Writer::new(&mut attributes).nul_string(NLMSGERR_ATTR_MSG, "no").unwrap();
    let request = Request { payload: vec![1, 2, 3, 4, 5], ..Request::default() };
    let payload = error_payload(4103, &request, true, &attributes);
    let error = message(NLM_F_ACK_TLVS, &payload).error().unwrap().unwrap();
    assert_eq!((error.errno, error.echo), (4103, vec![1, 2, 3, 4, 5]));
    assert_eq!(error.message.as_deref(), Some("no"));
    let cut = message(0, &payload[..4 + HEADER + 3]);
    assert!(cut.error().is_err());
}

#[test]
fn the_end_of_a_dump_may_carry_an_error() {
    assert_eq!(message(0, &[]).done().unwrap(), None);
    assert_eq!(message(0, &0_i32.to_ne_bytes()).done().unwrap(), None);
    let error = message(0, &(-4_i32).to_ne_bytes()).done().unwrap().unwrap();
    assert_eq!(error.errno, 4);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, flags: u16) {
        for read in messages(&bytes) {
            drop(read);
        }
        drop(message(flags, &bytes).error());
        drop(message(flags, &bytes).done());
    }
}
