//! Tests of the transport against the running kernel, in a network namespace of their own.
//!
//! Every test runs itself again under `unshare` (util-linux). So no privileges are needed where user
//! namespaces are allowed, and nothing outside the namespace changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may panic

use std::{env, net::Ipv4Addr, process::Command, time::Instant};

use netlink_batch::{
    Echo, Error, Family, Notices, Options, Request, Socket,
    attribute::{Attributes, Writer},
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// The multicast group `RTNLGRP_IPV4_IFADDR`.
const IPV4_ADDRESSES: u32 = 5;
const IFA_LOCAL: u16 = 2;
const LOOPBACK: u32 = 1;
const COUNT: u32 = 5000;

/// The message type `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE_CONNECTION: u16 = 1 << 8 | 2;

const EPERM: i32 = 1;
const ENODEV: i32 = 19;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;

/// Runs `body` in a new network namespace.
fn in_namespace(test: &str, body: impl FnOnce()) {
    in_namespaces("-rn", test, body);
}

/// Runs `body` in the namespaces that these options of `unshare` create.
fn in_namespaces(options: &str, test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "NETLINK_BATCH_TEST_INSIDE";
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .arg(options)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .status()
        .expect("unshare (util-linux) is needed");
    assert!(status.success(), "{test} failed in its namespace");
}

/// Returns the request `ip address add ADDRESS/PREFIX dev INDEX`, which is refused the second time.
fn new_address(address: Ipv4Addr, prefix: u8, index: u32) -> Request {
    let mut payload = vec![2, prefix, 0, 0];
    payload.extend_from_slice(&index.to_ne_bytes());
    Writer::new(&mut payload).fixed(IFA_LOCAL, address.octets());
    Request { kind: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL, payload }
}

fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + index)
}

fn addresses(socket: &mut Socket) -> Vec<Ipv4Addr> {
    let request = Request { kind: RTM_GETADDR, flags: 0, payload: vec![2, 0, 0, 0, 0, 0, 0, 0] };
    let replies = socket.dump(&request).unwrap();
    let local = |payload: &[u8]| {
        Attributes::new(&payload[8..])
            .map(Result::unwrap)
            .find(|attribute| attribute.kind == IFA_LOCAL)
            .map(|attribute| Ipv4Addr::from(attribute.be32().unwrap()))
    };
    replies.iter().filter_map(|reply| local(&reply.payload)).collect()
}

#[test]
fn of_five_thousand_addresses_the_three_refused_are_named() {
    in_namespace("of_five_thousand_addresses_the_three_refused_are_named", || {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut requests: Vec<_> =
            (0..COUNT).map(|index| new_address(address(index), 32, LOOPBACK)).collect();
        requests[1234] = new_address(address(7), 32, LOOPBACK);
        requests[2345] = new_address(address(2345), 32, 4711);
        requests[4999] = new_address(address(4999), 33, LOOPBACK);

        let results = socket.batch(&requests).unwrap();
        assert_eq!(results.len(), requests.len());
        let refused: Vec<_> = results
            .iter()
            .enumerate()
            .filter_map(|(index, result)| Some((index, result.as_ref().err()?.errno)))
            .collect();
        assert_eq!(refused, [(1234, EEXIST), (2345, ENODEV), (4999, EINVAL)]);

        let mut expected: Vec<_> = (0..COUNT).map(address).collect();
        for gone in [4999, 2345, 1234] {
            expected.remove(gone);
        }
        let mut found = addresses(&mut socket);
        found.sort_unstable();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_batch_that_fails_everywhere_loses_no_error() {
    in_namespace("a_batch_that_fails_everywhere_loses_no_error", || {
        for echo in [Echo::HeaderOnly, Echo::WholeRequest] {
            let options = Options { echo, ..Options::default() };
            let mut socket = Socket::open_with(Family::Route, options).unwrap();
            let requests: Vec<_> =
                (0..COUNT).map(|index| new_address(address(index), 32, 4711)).collect();
            let results = socket.batch(&requests).unwrap();
            for (request, result) in requests.iter().zip(results) {
                let error = result.unwrap_err();
                assert_eq!(error.errno, ENODEV);
                match echo {
                    Echo::HeaderOnly => assert!(error.echo.is_empty()),
                    Echo::WholeRequest => assert_eq!(error.echo, request.payload),
                }
            }
        }
    });
}

#[test]
fn the_kernel_explains_a_refusal() {
    in_namespace("the_kernel_explains_a_refusal", || {
        let mut socket = Socket::open(Family::Route).unwrap();
        let mut short = new_address(address(1), 32, LOOPBACK);
        short.payload.truncate(8);
        Writer::new(&mut short.payload).u8(IFA_LOCAL, 10);
        match socket.ask(&short) {
            Err(Error::Kernel(error)) => {
                assert_eq!(error.errno, ERANGE);
                assert_eq!(error.message.as_deref(), Some("Attribute failed policy validation"));
                assert_eq!(error.offset, Some(16 + 8));
            }
            other => panic!("{other:?}"),
        }
        // The socket still works.
        assert_eq!(socket.batch(&[new_address(address(1), 32, LOOPBACK)]).unwrap(), [Ok(())]);
        assert_eq!(addresses(&mut socket), [address(1)]);
    });
}

/// An exchange that does not wait takes about five milliseconds; a wait for an answer takes ten seconds.
#[test]
fn without_rights_every_netfilter_request_is_refused_at_once() {
    // The test runs as root of a user namespace that does not own the network namespace.
    in_namespaces("-r", "without_rights_every_netfilter_request_is_refused_at_once", || {
        let mut socket = match Socket::open(Family::Netfilter) {
            Err(error) => return println!("SKIP: no netfilter sockets here: {error}"),
            Ok(socket) => socket,
        };
        let nothing = Request { kind: DELETE_CONNECTION, flags: 0, payload: vec![2, 0, 0, 0] };
        let begun = Instant::now();
        let results = socket.batch(&vec![nothing; 3]).unwrap();
        assert!(begun.elapsed().as_secs() < 5);
        let errnos: Vec<_> = results.into_iter().map(|result| result.unwrap_err().errno).collect();
        assert_eq!(errnos, [EPERM; 3]);
    });
}

/// The kernel accepts one reply beyond the limit of the receive buffer and drops the next.
#[test]
fn an_overflow_leaves_the_state_unknown_and_the_socket_usable() {
    in_namespace("an_overflow_leaves_the_state_unknown_and_the_socket_usable", || {
        let options = Options { receive_buffer: 0, ..Options::default() };
        let mut socket = Socket::open_with(Family::Route, options).unwrap();
        let mut payload = vec![0; 16];
        payload[4..8].copy_from_slice(&LOOPBACK.to_ne_bytes());
        // The kernel answers with the link, then with the acknowledgement.
        let link = Request { kind: RTM_GETLINK, flags: 0, payload };
        assert!(matches!(socket.ask(&link), Err(Error::StateUnknown)));
        assert!(matches!(socket.batch(std::slice::from_ref(&link)), Err(Error::StateUnknown)));
        for index in [1, 2] {
            let one = new_address(address(index), 32, LOOPBACK);
            assert_eq!(socket.batch(&[one]).unwrap(), [Ok(())]);
        }
        assert_eq!(addresses(&mut socket), [address(1), address(2)]);
    });
}

#[test]
fn listeners_hear_what_others_change_and_whether_they_missed_any() {
    in_namespace("listeners_hear_what_others_change_and_whether_they_missed_any", || {
        let small = Options { receive_buffer: 0, ..Options::default() };
        let [mut whole, mut small] = [Options::default(), small]
            .map(|options| Notices::open(Family::Route, &[IPV4_ADDRESSES], options).unwrap());
        whole.take(|notice| panic!("{notice:?}")).unwrap();

        let mut socket = Socket::open(Family::Route).unwrap();
        let requests: Vec<_> =
            (0..COUNT).map(|index| new_address(address(index), 32, LOOPBACK)).collect();
        assert!(socket.batch(&requests).unwrap().iter().all(Result::is_ok));

        let mut heard = 0;
        whole.take(|notice| heard += u32::from(notice.kind == RTM_NEWADDR)).unwrap();
        assert_eq!(heard, COUNT);
        let mut heard = 0;
        assert!(matches!(small.take(|_| heard += 1), Err(Error::StateUnknown)));
        assert!((1..COUNT).contains(&heard), "{heard}");

        let one = new_address(address(COUNT), 32, LOOPBACK);
        assert_eq!(socket.batch(&[one]).unwrap(), [Ok(())]);
        let mut heard = 0;
        small.take(|_| heard += 1).unwrap();
        assert_eq!(heard, 1);
    });
}
