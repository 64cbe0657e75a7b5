//! Tests of the codec against bytes of the kernel and `ipvsadm`, against itself, and against random input.
//!
//! This crate must write the captured request for the same command. Captured replies must decode to the state
//! that the commands made. Every attribute of the header must survive a round trip.
#![cfg(target_endian = "little")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may panic

mod captured;
mod roundtrip;

use std::num::NonZeroU32;

use captured::*;
use ipvs_netlink::{
    AddressFamily, Answer, Command, Connections, Daemon, DaemonState, Destination, ForwardMethod,
    Netmask, Protocol, Query, Service, ServiceFlags, ServiceKey, Stats, Stats64, Timeouts, Tunnel,
    uapi,
};
use netlink_batch::attribute::Attributes;

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hexadecimal.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn tcp() -> ServiceKey {
    ServiceKey::address(Protocol::TCP, "10.96.0.1".parse().unwrap(), 80)
}

fn mark() -> ServiceKey {
    ServiceKey::mark(AddressFamily::Inet, NonZeroU32::new(7).unwrap())
}

fn udp6() -> Service {
    let key = ServiceKey::address(Protocol::UDP, "2001:db8::53".parse().unwrap(), 53);
    let mut service = Service::new(key, "mh");
    service.flags = ServiceFlags::exactly(
        ServiceFlags::PERSISTENT
            | ServiceFlags::ONE_PACKET
            | ServiceFlags::MH_PORT
            | ServiceFlags::MH_FALLBACK,
    );
    service.timeout = 600;
    service.netmask = Netmask::V6(64);
    service
}

fn sip() -> Service {
    let key = ServiceKey::address(Protocol::TCP, "10.96.0.9".parse().unwrap(), 5060);
    let mut service = Service::new(key, "rr");
    service.flags = ServiceFlags::exactly(ServiceFlags::PERSISTENT);
    service.timeout = 300;
    service.persistence_engine = Some("sip".to_owned());
    service
}

fn sctp() -> Service {
    let key = ServiceKey::address(Protocol::SCTP, "10.96.0.2".parse().unwrap(), 2905);
    let mut service = Service::new(key, "sh");
    service.flags = ServiceFlags::exactly(ServiceFlags::SH_FALLBACK);
    service
}

fn destination(address: &str, port: u16, forward: ForwardMethod) -> Destination {
    let mut destination = Destination::new(address.parse().unwrap(), port);
    destination.forward = forward;
    destination
}

fn gue() -> ForwardMethod {
    ForwardMethod::Tunnel(Tunnel::Gue { port: 6080, flags: uapi::IP_VS_TUNNEL_ENCAP_FLAG_CSUM })
}

fn gre() -> ForwardMethod {
    ForwardMethod::Tunnel(Tunnel::Gre { flags: uapi::IP_VS_TUNNEL_ENCAP_FLAG_CSUM })
}

fn ipip() -> ForwardMethod {
    ForwardMethod::Tunnel(Tunnel::Ipip)
}

fn daemon() -> Daemon {
    let mut daemon = Daemon::new(DaemonState::Master, "d0", 5);
    daemon.max_length = 1400;
    daemon.group = Some("239.1.2.3".parse().unwrap());
    daemon.port = 9000;
    daemon.ttl = 3;
    daemon
}

/// Adds what the kernel adds to a virtual server: the flag and the counters.
fn hashed(mut service: Service) -> Service {
    service.flags.value |= ServiceFlags::HASHED;
    service.stats = Some(Box::new(Stats::default()));
    service.stats64 = Some(Box::new(Stats64::default()));
    service
}

/// Adds what the kernel adds to a destination: the connections and the counters.
fn counted(mut destination: Destination) -> Destination {
    destination.connections = Some(Connections::default());
    destination.stats = Some(Box::new(Stats::default()));
    destination.stats64 = Some(Box::new(Stats64::default()));
    destination
}

/// Returns the attributes of one nest, sorted by type.
fn nest(payload: &[u8], kind: u16) -> Vec<(u16, Vec<u8>)> {
    let outer = Attributes::new(&payload[4..]).map(Result::unwrap).find(|nest| nest.kind == kind);
    let mut inner: Vec<_> = outer
        .unwrap()
        .nested()
        .map(|attribute| attribute.map(|read| (read.kind, read.value.to_vec())).unwrap())
        .collect();
    inner.sort();
    inner
}

#[test]
fn virtual_servers_are_written_as_ipvsadm_writes_them() {
    for (captured, service) in [
        (NEW_TCP, Service::new(tcp(), "rr")),
        (NEW_UDP6, udp6()),
        (NEW_MARK, Service::new(mark(), "wlc")),
        (NEW_SCTP, sctp()),
    ] {
        assert_eq!(Command::NewService(service).encode().unwrap(), bytes(captured));
    }
    // The attributes are the same, but the persistence engine is in another place.
    let payload = Command::NewService(sip()).encode().unwrap();
    let nest = |payload: &[u8]| nest(payload, uapi::IPVS_CMD_ATTR_SERVICE);
    assert_eq!(nest(&payload), nest(&bytes(NEW_SIP)));
}

#[test]
fn destinations_are_written_as_ipvsadm_writes_them() {
    let mut masqueraded = Destination::new("192.0.2.10".parse().unwrap(), 8080);
    (masqueraded.weight, masqueraded.upper_threshold, masqueraded.lower_threshold) = (3, 100, 50);
    for (captured, key, destination) in [
        (NEW_MASQUERADED, tcp(), masqueraded),
        (NEW_GUE, mark(), destination("192.0.2.11", 0, gue())),
        (NEW_GRE, mark(), destination("192.0.2.12", 0, gre())),
        (NEW_IPIP, mark(), destination("192.0.2.13", 0, ipip())),
    ] {
        let tunnelled = matches!(destination.forward, ForwardMethod::Tunnel(_));
        let payload = Command::NewDestination(key, destination).encode().unwrap();
        let mut expected = nest(&bytes(captured), uapi::IPVS_CMD_ATTR_DEST);
        if !tunnelled {
            // For a masqueraded destination ipvsadm also writes tunnel attributes with zeros.
            expected.retain(|(kind, _)| *kind < uapi::IPVS_DEST_ATTR_TUN_TYPE);
        }
        assert_eq!(nest(&payload, uapi::IPVS_CMD_ATTR_DEST), expected);
    }
}

#[test]
fn the_rest_is_written_as_ipvsadm_writes_it() {
    let timeouts = Timeouts { tcp: 100, tcp_fin: 20, udp: 30 };
    assert_eq!(Command::SetTimeouts(timeouts).encode().unwrap(), bytes(SET_TIMEOUTS));
    assert_eq!(Command::ZeroAll.encode().unwrap(), bytes(ZERO_ALL));
    assert_eq!(Command::Flush.encode().unwrap(), bytes(FLUSH));
    let payload = Command::NewDaemon(daemon()).encode().unwrap();
    let kind = uapi::IPVS_CMD_ATTR_DAEMON;
    assert_eq!(nest(&payload, kind), nest(&bytes(NEW_DAEMON), kind));
}

#[test]
fn the_kernels_virtual_servers_are_read() {
    for (captured, service) in [
        (REPLY_TCP, Service::new(tcp(), "wrr")),
        (REPLY_UDP6, udp6()),
        (REPLY_SCTP, sctp()),
        (REPLY_SIP, sip()),
        (REPLY_MARK, Service::new(mark(), "wlc")),
    ] {
        let answer = Answer::decode(&bytes(captured)).unwrap();
        assert_eq!(answer, Answer::Service(hashed(service)));
    }
}

#[test]
fn the_kernels_destinations_are_read() {
    let mut drained = Destination::new("192.0.2.10".parse().unwrap(), 8080);
    drained.weight = 0;
    for (captured, destination) in [
        (REPLY_MASQUERADED, drained),
        (REPLY_DIRECT6, destination("2001:db8::10", 53, ForwardMethod::DirectRoute)),
        (REPLY_GUE, destination("192.0.2.11", 0, gue())),
        (REPLY_GRE, destination("192.0.2.12", 0, gre())),
        (REPLY_IPIP, destination("192.0.2.13", 0, ipip())),
    ] {
        let answer = Answer::decode(&bytes(captured)).unwrap();
        assert_eq!(answer, Answer::Destination(counted(destination)));
    }
}

#[test]
fn the_kernels_counters_are_read_each_in_its_place() {
    let wide = Stats64 {
        connections: 31,
        packets_in: 153,
        packets_out: 97,
        bytes_in: 8204,
        bytes_out: 625_292,
        connection_rate: 3,
        packet_rate_in: 14,
        packet_rate_out: 9,
        byte_rate_in: 769,
        byte_rate_out: 58_621,
    };
    let narrow = Stats {
        connections: 31,
        packets_in: 153,
        packets_out: 97,
        bytes_in: 8204,
        bytes_out: 625_292,
        connection_rate: 3,
        packet_rate_in: 14,
        packet_rate_out: 9,
        byte_rate_in: 769,
        byte_rate_out: 58_621,
    };
    let Answer::Service(service) = Answer::decode(&bytes(REPLY_COUNTED_SERVICE)).unwrap() else {
        panic!("a virtual server");
    };
    assert_eq!((*service.stats.unwrap(), *service.stats64.unwrap()), (narrow, wide));
    let answer = Answer::decode(&bytes(REPLY_COUNTED_DESTINATION)).unwrap();
    let Answer::Destination(destination) = answer else { panic!("a destination") };
    assert_eq!((*destination.stats.unwrap(), *destination.stats64.unwrap()), (narrow, wide));
    let expected = Connections { active: 1, inactive: 30, persistent: 1 };
    assert_eq!(destination.connections, Some(expected));
}

#[test]
fn the_kernels_other_answers_are_read() {
    assert_eq!(Answer::decode(&bytes(REPLY_DAEMON)).unwrap(), Answer::Daemon(daemon()));
    assert_eq!(
        Answer::decode(&bytes(REPLY_TIMEOUTS)).unwrap(),
        Answer::Timeouts(Timeouts { tcp: 100, tcp_fin: 20, udp: 30 })
    );
    let Answer::Info(info) = Answer::decode(&bytes(REPLY_INFO)).unwrap() else { panic!("no info") };
    assert_eq!((info.version, info.connection_table_size), ((1, 2, 1), 4096));
}

#[test]
fn queries_have_the_kernels_numbers() {
    let first = |query: Query| query.encode().unwrap()[0];
    assert_eq!(first(Query::Service(tcp())), uapi::IPVS_CMD_GET_SERVICE);
    assert_eq!(first(Query::Services), uapi::IPVS_CMD_GET_SERVICE);
    assert_eq!(first(Query::Destinations(tcp())), uapi::IPVS_CMD_GET_DEST);
    assert_eq!(first(Query::Daemons), uapi::IPVS_CMD_GET_DAEMON);
    assert_eq!(first(Query::Timeouts), uapi::IPVS_CMD_GET_CONFIG);
    assert_eq!(first(Query::Info), uapi::IPVS_CMD_GET_INFO);
}
