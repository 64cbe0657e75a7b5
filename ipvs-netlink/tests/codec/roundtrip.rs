//! Tests that every attribute is decoded as it was encoded, for any values.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipvs_netlink::{DestinationKey, EncodeError, Refusal, Unknown, uapi::*};
use netlink_batch::attribute::Writer;
use netlink_packet_core::{NLA_F_NESTED, NLA_F_NET_BYTEORDER};
use proptest::prelude::*;

use super::*;

fn read_back(command: &Command) -> Answer {
    Answer::decode(&command.encode().unwrap()).unwrap()
}

/// Returns the types of the attributes in a nest of a message.
fn kinds(payload: &[u8], path: &[u16]) -> BTreeSet<u16> {
    let mut attributes = Attributes::new(&payload[4..]);
    for kind in path {
        let nest = attributes.map(Result::unwrap).find(|attribute| attribute.kind == *kind);
        attributes = nest.unwrap().nested();
    }
    attributes.map(|attribute| attribute.unwrap().kind).collect()
}

#[test]
fn every_attribute_of_the_header_makes_the_round_trip() {
    let mut service = hashed(sip());
    service.stats.as_mut().unwrap().byte_rate_out = 7;
    service.stats64.as_mut().unwrap().packet_rate_in = u64::MAX;
    let by_mark = Command::NewService(Service::new(mark(), "wlc"));
    let command = Command::NewService(service.clone());
    // The kernel's own flag is read and never written, so a command may be made from an answer.
    let unhashed = {
        let mut unhashed = service;
        unhashed.flags = sip().flags;
        unhashed
    };
    let sent_back = Command::NewService(hashed(sip()));
    let Answer::Service(found) = read_back(&sent_back) else { panic!("{sent_back}") };
    assert_eq!(found.flags, sip().flags);
    assert_eq!(read_back(&command), Answer::Service(unhashed));
    let payload = command.encode().unwrap();
    let mut found = kinds(&payload, &[IPVS_CMD_ATTR_SERVICE]);
    found.extend(kinds(&by_mark.encode().unwrap(), &[IPVS_CMD_ATTR_SERVICE]));
    assert_eq!(found, BTreeSet::from_iter(IPVS_SVC_ATTR_AF..=IPVS_SVC_ATTR_STATS64));

    let counters = BTreeSet::from_iter(IPVS_STATS_ATTR_CONNS..=IPVS_STATS_ATTR_OUTBPS);
    for nest in [IPVS_SVC_ATTR_STATS, IPVS_SVC_ATTR_STATS64] {
        assert_eq!(kinds(&payload, &[IPVS_CMD_ATTR_SERVICE, nest]), counters);
    }

    let destination = counted(destination("192.0.2.11", 0, gue()));
    let command = Command::SetDestination(tcp(), destination.clone());
    let payload = command.encode().unwrap();
    let found = kinds(&payload, &[IPVS_CMD_ATTR_DEST]);
    assert_eq!(found, BTreeSet::from_iter(IPVS_DEST_ATTR_ADDR..=IPVS_DEST_ATTR_TUN_FLAGS));
    let command = Command::NewDestination(tcp(), destination.clone());
    assert_eq!(read_back(&command), Answer::Destination(destination));

    let mut over_ipv6 = daemon();
    over_ipv6.group = Some("ff02::5".parse().unwrap());
    let mut found = BTreeSet::new();
    for daemon in [daemon(), over_ipv6] {
        let command = Command::NewDaemon(daemon.clone());
        found.extend(kinds(&command.encode().unwrap(), &[IPVS_CMD_ATTR_DAEMON]));
        assert_eq!(read_back(&command), Answer::Daemon(daemon));
    }
    assert_eq!(found, BTreeSet::from_iter(IPVS_DAEMON_ATTR_STATE..=IPVS_DAEMON_ATTR_MCAST_TTL));

    let timeouts = Timeouts { tcp: 1, tcp_fin: 2, udp: 3 };
    let command = Command::SetTimeouts(timeouts);
    assert_eq!(read_back(&command), Answer::Timeouts(timeouts));
    let found = kinds(&command.encode().unwrap(), &[]);
    assert_eq!(found, BTreeSet::from_iter(IPVS_CMD_ATTR_TIMEOUT_TCP..=IPVS_CMD_ATTR_TIMEOUT_UDP));
    // Only the kernel sends IPVS_INFO_ATTR_*, so they are checked in the captured reply.
    let found = kinds(&bytes(REPLY_INFO), &[]);
    assert_eq!(found, BTreeSet::from_iter(IPVS_INFO_ATTR_VERSION..=IPVS_INFO_ATTR_CONN_TAB_SIZE));
}

#[test]
fn deletions_and_zeroing_name_the_key_alone() {
    let key = DestinationKey::new("2001:db8::10".parse().unwrap(), 53);
    for (command, number) in [
        (Command::DeleteService(tcp()), IPVS_CMD_DEL_SERVICE),
        (Command::ZeroService(tcp()), IPVS_CMD_ZERO),
        (Command::DeleteDestination(tcp(), key), IPVS_CMD_DEL_DEST),
    ] {
        let payload = command.encode().unwrap();
        assert_eq!(payload[0], number);
        let found = kinds(&payload, &[IPVS_CMD_ATTR_SERVICE]);
        assert_eq!(found, BTreeSet::from_iter(IPVS_SVC_ATTR_AF..=IPVS_SVC_ATTR_PORT));
    }
    let payload = Command::DeleteDestination(tcp(), key).encode().unwrap();
    let found = kinds(&payload, &[IPVS_CMD_ATTR_DEST]);
    let expected = [IPVS_DEST_ATTR_ADDR, IPVS_DEST_ATTR_PORT, IPVS_DEST_ATTR_ADDR_FAMILY];
    assert_eq!(found, BTreeSet::from(expected));
    let payload = Command::DeleteDaemon(DaemonState::Backup).encode().unwrap();
    assert_eq!(payload[4..], [12, 0, 3, 0x80, 8, 0, 1, 0, 2, 0, 0, 0]);
}

#[test]
fn kernels_that_do_not_tell_a_destinations_family_are_understood() {
    for address in ["192.0.2.10", "2001:db8::10"] {
        let expected = Destination::new(address.parse().unwrap(), 80);
        let whole = Command::NewDestination(tcp(), expected.clone()).encode().unwrap();
        let mut old = whole[..4].to_vec();
        let filled = Writer::new(&mut old).nested(IPVS_CMD_ATTR_DEST, |inner| {
            for (kind, value) in nest(&whole, IPVS_CMD_ATTR_DEST) {
                if kind != IPVS_DEST_ATTR_ADDR_FAMILY {
                    inner.bytes(kind, &value)?;
                }
            }
            Ok(())
        });
        filled.unwrap();
        assert_eq!(Answer::decode(&old).unwrap(), Answer::Destination(expected));
    }
}

#[test]
fn what_identifies_must_be_there() {
    let whole = Command::NewService(Service::new(tcp(), "rr")).encode().unwrap();
    for left_out in 1..=9 {
        let mut payload = whole[..4].to_vec();
        let filled = Writer::new(&mut payload).nested(IPVS_CMD_ATTR_SERVICE, |inner| {
            for (kind, value) in nest(&whole, IPVS_CMD_ATTR_SERVICE) {
                if kind != left_out {
                    inner.bytes(kind, &value)?;
                }
            }
            Ok(())
        });
        filled.unwrap();
        // A mark, a timeout and a netmask are optional.
        let optional = matches!(left_out, 5 | 8 | 9);
        assert_eq!(Answer::decode(&payload).is_ok(), optional, "without {left_out}");
    }
    assert!(Answer::decode(&[]).is_err());
    assert!(Answer::decode(&[IPVS_CMD_FLUSH, 1, 0, 0]).is_err());
    assert!(Answer::decode(&[IPVS_CMD_NEW_SERVICE, 1, 0, 0]).is_err());
}

#[test]
fn what_cannot_be_said_is_not_sent() {
    let mut service = Service::new(tcp(), "rr");
    service.netmask = Netmask::V6(64);
    assert_eq!(Command::NewService(service).encode(), Err(EncodeError::NetmaskFamily));
    let command = Command::NewService(Service::new(tcp(), "r\0r"));
    assert!(matches!(command.encode(), Err(EncodeError::Attribute(_))));
}

#[test]
fn an_error_number_means_what_its_command_makes_of_it() {
    let service = || Service::new(tcp(), "rr");
    let destination = || Destination::new("192.0.2.10".parse().unwrap(), 80);
    let key = destination().key();
    for (command, errno, refusal) in [
        (Command::NewService(service()), 17, Refusal::AlreadyExists),
        (Command::NewService(service()), 2, Refusal::UnknownScheduler),
        (Command::NewService(sip()), 2, Refusal::UnknownSchedulerOrEngine),
        (Command::NewService(service()), 3, Refusal::Other),
        (Command::SetService(service()), 2, Refusal::UnknownScheduler),
        (Command::SetService(service()), 3, Refusal::NoSuchService),
        (Command::DeleteService(tcp()), 3, Refusal::NoSuchService),
        (Command::NewDestination(tcp(), destination()), 3, Refusal::NoSuchService),
        (Command::NewDestination(tcp(), destination()), 17, Refusal::AlreadyExists),
        (Command::NewDestination(tcp(), destination()), 34, Refusal::InvalidArgument),
        (Command::SetDestination(tcp(), destination()), 2, Refusal::NoSuchDestination),
        (Command::DeleteDestination(tcp(), key), 2, Refusal::NoSuchDestination),
        (Command::DeleteDestination(tcp(), key), 3, Refusal::NoSuchService),
        (Command::ZeroService(tcp()), 3, Refusal::NoSuchService),
        (Command::Flush, 1, Refusal::NotPermitted),
        (Command::Flush, 2, Refusal::Other),
        (Command::NewDaemon(daemon()), 19, Refusal::NoSuchInterface),
        (Command::NewDaemon(daemon()), 17, Refusal::AlreadyExists),
        (Command::DeleteDaemon(DaemonState::Master), 3, Refusal::NoSuchDaemon),
        (Command::SetTimeouts(Timeouts::default()), 22, Refusal::InvalidArgument),
    ] {
        assert_eq!(command.refusal(errno), refusal, "{command}: {errno}");
    }
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
    ]
}

fn any_key() -> impl Strategy<Value = ServiceKey> {
    prop_oneof![
        (any::<u8>(), any_address(), any::<u16>()).prop_map(|(protocol, address, port)| {
            ServiceKey::address(Protocol(protocol), address, port)
        }),
        (any::<bool>(), 1..=u32::MAX).prop_map(|(v6, mark)| {
            let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
            ServiceKey::mark(family, NonZeroU32::new(mark).unwrap())
        }),
    ]
}

fn any_unknown() -> impl Strategy<Value = Vec<Unknown>> {
    let flags = prop_oneof![Just(0), Just(NLA_F_NESTED), Just(NLA_F_NET_BYTEORDER)];
    let one = (100..0x3fff_u16, flags, proptest::collection::vec(any::<u8>(), 0..9))
        .prop_map(|(kind, flags, value)| Unknown { kind: kind | flags, value });
    proptest::collection::vec(one, 0..3)
}

prop_compose! {
    fn any_service()(
        key in any_key(), scheduler in "[a-z]{0,15}", value: u32, mask: u32, timeout: u32,
        netmask: u32, engine in proptest::option::of("[a-z]{1,15}"), counters: [u64; 4],
        counted: bool, other in any_unknown(),
    ) -> Service {
        let mut service = Service::new(key, scheduler);
        service.flags = ServiceFlags::within(value & !ServiceFlags::HASHED, mask);
        service.timeout = timeout;
        service.netmask = match key.family() {
            AddressFamily::Inet => Netmask::V4(netmask.into()),
            AddressFamily::Inet6 => Netmask::V6(netmask as u8),
        };
        service.persistence_engine = engine;
        if counted {
            let mut stats = Stats::default();
            (stats.connections, stats.bytes_in) = (counters[0] as u32, counters[1]);
            let mut stats64 = Stats64::default();
            (stats64.packets_out, stats64.byte_rate_in) = (counters[2], counters[3]);
            service.stats = Some(Box::new(stats));
            service.stats64 = Some(Box::new(stats64));
        }
        service.other = other;
        service
    }
}

fn any_forward() -> impl Strategy<Value = ForwardMethod> {
    prop_oneof![
        Just(ForwardMethod::Masquerade),
        Just(ForwardMethod::Local),
        Just(ForwardMethod::DirectRoute),
        Just(ForwardMethod::Bypass),
        Just(ipip()),
        (5..=7_u32).prop_map(ForwardMethod::Other),
        any::<u16>().prop_map(|flags| ForwardMethod::Tunnel(Tunnel::Gre { flags })),
        any::<(u16, u16)>()
            .prop_map(|(port, flags)| ForwardMethod::Tunnel(Tunnel::Gue { port, flags })),
        (3..=255_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, port, flags)| {
            ForwardMethod::Tunnel(Tunnel::Other { kind, port, flags })
        }),
    ]
}

prop_compose! {
    fn any_destination()(
        address in any_address(), port: u16, forward in any_forward(), numbers: [u32; 6],
        counted: bool, other in any_unknown(),
    ) -> Destination {
        let mut destination = Destination::new(address, port);
        destination.forward = forward;
        destination.weight = numbers[0];
        destination.upper_threshold = numbers[1];
        destination.lower_threshold = numbers[2];
        if counted {
            destination.connections = Some(Connections {
                active: numbers[3], inactive: numbers[4], persistent: numbers[5],
            });
        }
        destination.other = other;
        destination
    }
}

prop_compose! {
    fn any_daemon()(
        backup: bool, interface in "[a-z0-9]{0,15}", sync_id: u32, numbers: [u16; 2], ttl: u8,
        group in proptest::option::of(any_address()), other in any_unknown(),
    ) -> Daemon {
        let state = if backup { DaemonState::Backup } else { DaemonState::Master };
        let mut daemon = Daemon::new(state, interface, sync_id);
        (daemon.max_length, daemon.port) = (numbers[0], numbers[1]);
        (daemon.ttl, daemon.group, daemon.other) = (ttl, group, other);
        daemon
    }
}

proptest! {
    #[test]
    fn virtual_servers_read_back_as_written(service in any_service()) {
        let command = Command::NewService(service.clone());
        prop_assert_eq!(read_back(&command), Answer::Service(service));
    }

    #[test]
    fn destinations_read_back_as_written(key in any_key(), destination in any_destination()) {
        let command = Command::NewDestination(key, destination.clone());
        prop_assert_eq!(read_back(&command), Answer::Destination(destination));
    }

    #[test]
    fn daemons_read_back_as_written(daemon in any_daemon()) {
        let command = Command::NewDaemon(daemon.clone());
        prop_assert_eq!(read_back(&command), Answer::Daemon(daemon));
    }

    #[test]
    fn any_bytes_are_read_without_panic(command in 0..20_u8, noise: Vec<u8>) {
        let mut payload = vec![command, 1, 0, 0];
        payload.extend_from_slice(&noise);
        drop(Answer::decode(&payload));
        drop(Answer::decode(&noise));
    }

    /// Random attributes inside a well-formed nest reach more code than random bytes.
    #[test]
    fn any_attributes_are_read_without_panic(
        command in 1..20_u8,
        attributes in proptest::collection::vec((0..20_u16, any::<Vec<u8>>()), 0..20),
    ) {
        for nest in 1..=3 {
            let mut payload = vec![command, 1, 0, 0];
            let filled = Writer::new(&mut payload).nested(nest, |inner| {
                attributes.iter().try_for_each(|(kind, value)| inner.bytes(*kind, value))
            });
            filled.unwrap();
            drop(Answer::decode(&payload));
        }
    }

    /// A message may be cut or changed anywhere.
    #[test]
    fn a_damaged_answer_is_read_without_panic(at: usize, byte: u8, service in any_service()) {
        let mut payload = Command::NewService(service).encode().unwrap();
        let at = at % payload.len();
        drop(Answer::decode(&payload[..at]));
        payload[at] = byte;
        drop(Answer::decode(&payload));
    }
}
