//! Generates histories of Services, EndpointSlices and other events for property tests.
//!
//! Services share few addresses and ports, so that they conflict. Does not run any round.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::model::{
    Affinity, Endpoint, Event, Family, InterfaceAddress, Protocol, Service, ServiceName, Slice,
    SliceName, SlicePort, TrafficPolicy, Update,
};
use crate::testing::{ready, service, service_port, slice, terminating, unready};

pub(super) fn interfaces(addresses: &[&str]) -> Event {
    let found = addresses.iter().map(|address| InterfaceAddress {
        device: "eth0".into(),
        address: address.parse().expect("an address"),
    });
    Event::Addresses(found.collect())
}

pub(in crate::round) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const RANGES: [&str; 3] = ["198.51.100.0/24", "192.0.2.0/24", "2001:db8:a::/48"];

/// Generates Services that share few addresses and ports. Most Services keep their own.
fn some_service() -> impl Strategy<Value = Service> {
    let plain = (0..4u8, 0..6u8, prop::bool::ANY, 0..4u8, prop::bool::ANY);
    let outside = (
        (0..3u16, prop::bool::ANY),
        0..6u8,
        0..8u8,
        prop::bool::ANY,
        prop::collection::vec(0..3usize, 0..3),
    );
    (plain, outside).prop_map(
        |((name, at, six, more, sticks), ((port, moves), external, vip, local, ranges))| {
            let at = if at < 3 { at } else { name };
            let ips = [format!("10.96.0.{at}"), format!("fd00:10:96::{at}")];
            let ips: Vec<&str> =
                ips.iter().take(1 + usize::from(six)).map(String::as_str).collect();
            let mut service = service(&format!("s{name}"), &ips);
            service.created = i64::from(name % 2);
            service.ports[0].port = if moves { 8000 } else { 80 };
            let more = [
                service_port("dns", Protocol::Udp, 53),
                service_port("s", Protocol::Sctp, 80),
                service_port("http", Protocol::Tcp, 443),
            ]
            .into_iter()
            .take(usize::from(more));
            service.ports.extend(more);
            for service_port in &mut service.ports {
                let number = 30080 + port + 10 * u16::from(service_port.port == 443);
                service_port.node_port = (port > 0).then_some(number);
            }
            let own = |index: u8| if index < 4 { index } else { name % 2 };
            let external =
                ["203.0.113.1", "192.0.2.11", "2001:db8:f::1"].get(usize::from(own(external)));
            service.external_ips = external.into_iter().map(|text| ip(text)).collect();
            let vip = ["203.0.113.1", "203.0.113.2", "2001:db8:f::2"].get(usize::from(own(vip)));
            service.load_balancer_ips = vip.into_iter().map(|text| ip(text)).collect();
            service.external_policy =
                if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            service.internal_policy =
                if at == 2 { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
            service.affinity =
                if sticks { Affinity::ClientIp { timeout: 10 } } else { Affinity::None };
            let ranges = ranges.iter().map(|range| RANGES[*range].parse().expect("a network"));
            service.source_ranges = ranges.collect();
            service
        },
    )
}

fn some_endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    (1..3u8, 1..4u8, 0..4u8).prop_map(move |(node, host, state)| {
        let address = match family {
            Family::V4 => format!("10.244.{node}.{host}"),
            Family::V6 => format!("fd00:10:244:{node}::{host}"),
        };
        match state {
            0 | 1 => ready(&address),
            2 => terminating(&address),
            _ => unready(&address),
        }
    })
}

/// Generates EndpointSlices of one family, with names of that family.
fn some_slice_of(family: Family) -> impl Strategy<Value = Slice> {
    (0..5u8, 0..8u8, prop::collection::vec(some_endpoint(family), 0..4), 0..3usize).prop_map(
        move |(name, of, endpoints, more)| {
            let of = if of < 4 { of } else { name % 4 };
            let mut slice = slice(&slice_name(family, name), &format!("s{of}"), endpoints);
            slice.family = family;
            let more =
                [("dns", Protocol::Udp, 5353), ("s", Protocol::Sctp, 9090)].into_iter().take(more);
            slice.ports.extend(more.map(|(name, protocol, port)| slice_port(name, protocol, port)));
            slice
        },
    )
}

fn slice_name(family: Family, name: u8) -> String {
    match family {
        Family::V4 => format!("e{name}"),
        Family::V6 => format!("six{name}"),
    }
}

pub(super) fn slice_port(name: &str, protocol: Protocol, port: u16) -> SlicePort {
    SlicePort { name: name.into(), protocol, port }
}

fn some_slice() -> impl Strategy<Value = Slice> {
    prop_oneof![2 => some_slice_of(Family::V4), 1 => some_slice_of(Family::V6)]
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => some_service().prop_map(|s| Event::Service(Update::Put(s))),
        1 => (0..4u8).prop_map(|n| {
            Event::Service(Update::Gone(ServiceName::new("default", format!("s{n}"))))
        }),
        4 => some_slice().prop_map(|s| Event::Slice(Update::Put(s))),
        1 => prop_oneof![
            Just(interfaces(&["192.0.2.11/24"])),
            Just(interfaces(&["192.0.2.12/24", "203.0.113.1/32"])),
            Just(interfaces(&["192.0.2.11/24", "10.96.0.1/32"])),
        ],
        1 => (0..5u8, prop::bool::ANY).prop_map(|(n, six)| {
            let name = slice_name(if six { Family::V6 } else { Family::V4 }, n);
            Event::Slice(Update::Gone(SliceName::new("default", name)))
        }),
    ]
}

/// Generates batches of events; each batch is one round.
pub(super) fn some_history() -> impl Strategy<Value = Vec<Vec<Event>>> {
    prop::collection::vec(prop::collection::vec(some_event(), 1..5), 1..8)
}
