//! Tests that stale flows are removed whatever became of their virtual server, and that other flows stay.

use proptest::prelude::*;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::super::tests::{complete, dns, flow, ip};
use super::*;
use crate::apply::fake::FakeKernel;
use crate::diff::{Change, Flow};
use crate::model::{Event, Service, Slice, SliceName, Update};
use crate::plan::VirtualServerKey;
use crate::testing::{now, ready, service, service_port, slice};

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A flow from `client` to `to` whose replies go to `answered`, as connection tracking shows it.
fn others(client: &str, to: &str, answered: &str) -> Flow {
    let (client, to, answered) = (socket(client), socket(to), socket(answered));
    Flow { client, frontend: to, server: to, answered, ..flow("192.0.2.1:1", "192.0.2.1:1") }
}

/// Makes a proxy whose node port 30053 leads to an endpoint, then takes in `change` with these flows in the
/// kernel.
fn after_a_change(flows: &[Flow], change: impl IntoIterator<Item = Event>) -> FakeKernel {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    dns("10.244.2.2").into_iter().for_each(|event| proxier.fold(event));
    assert!(proxier.round(&mut kernel, now()).is_success());
    kernel.flows = flows.iter().copied().collect();
    change.into_iter().for_each(|event| proxier.fold(event));
    assert!(proxier.round(&mut kernel, now()).is_success());
    kernel
}

/// The events that delete the Service and its EndpointSlice.
fn deletion() -> [Event; 2] {
    let [Event::Service(Update::Put(service)), _] = dns("10.244.2.2") else { return dns("") };
    let slice = SliceName::new("default", "a");
    [Event::Service(Update::Gone(service.name)), Event::Slice(Update::Gone(slice))]
}

#[test]
fn flows_that_only_look_like_answers_of_a_node_port_are_left_alone() {
    let theirs = [
        // A pod's flow; masquerading chose a source port that is also a node port.
        others("10.244.1.9:5000", "8.8.8.8:53", "192.0.2.11:30053"),
        // A flow of the host itself.
        others("192.0.2.11:30053", "8.8.8.8:53", "192.0.2.11:30053"),
        // A flow of other hosts, one of which sends from the address of a Service.
        others("10.96.0.10:53", "198.51.100.9:53", "10.96.0.10:53"),
        // An endpoint's own flow, from another port than the one at which it serves.
        others("10.244.2.2:5000", "8.8.8.8:53", "192.0.2.11:30053"),
        others("10.244.2.2:8080", "8.8.8.8:53", "192.0.2.11:41000"),
    ];
    for change in [dns("10.244.2.3"), dns("10.244.2.2"), deletion()] {
        assert_eq!(after_a_change(&theirs, change).flows, theirs.into());
    }
}

#[test]
fn a_flow_that_an_endpoint_seems_to_have_begun_is_forgotten() {
    for answered in ["192.0.2.11:30053", "10.96.0.10:53"] {
        let begun = others("10.244.2.2:8080", "198.51.100.7:4321", answered);
        for change in [dns("10.244.2.3"), deletion()] {
            assert_eq!(after_a_change(&[begun], change).flows, [].into(), "{answered}");
        }
    }
}

#[test]
fn flows_to_what_a_deleted_service_had_are_forgotten_and_what_answers_there_itself_is_not() {
    let [stale, at_node] =
        ["10.96.0.10:53", "192.0.2.11:30053"].map(|frontend| flow(frontend, "10.244.2.2:8080"));
    let own = flow("192.0.2.11:30053", "192.0.2.11:30053");
    let elsewhere = flow("198.51.100.9:30053", "10.244.2.2:8080");
    let kernel = after_a_change(&[stale, at_node, own, elsewhere], deletion());
    assert!(kernel.state.servers.is_empty());
    assert_eq!(kernel.flows, [own, elsewhere].into());
}

#[test]
fn so_many_stale_flows_that_they_are_not_all_read_at_once_go_in_one_round() {
    let stale = |port: usize| {
        let client = SocketAddr::new(ip(&format!("192.0.2.{}", port >> 16)), port as u16);
        Flow { client, ..flow("10.96.0.10:53", "10.244.2.2:8080") }
    };
    let mut flows: Vec<_> = (0..2 * FLOWS_AT_ONCE + 5).map(stale).collect();
    let alive = flow("10.96.0.10:53", "10.244.2.3:8080");
    flows.push(alive);
    assert_eq!(after_a_change(&flows, dns("10.244.2.3")).flows, [alive].into());
}

#[test]
fn a_flow_that_the_kernel_does_not_let_go_ends_no_round_in_a_circle() {
    let mut proxier = complete();
    let mut kernel = FakeKernel {
        refused: Some(|change| matches!(change, Change::RemoveFlow(_))),
        flows: [flow("10.96.0.10:53", "10.244.2.1:8080")].into(),
        ..FakeKernel::default()
    };
    dns("10.244.2.2").into_iter().for_each(|event| proxier.fold(event));
    assert!(!proxier.round(&mut kernel, now()).is_success());
    assert_eq!(kernel.flows.len(), 1);
    kernel.refused = None;
    let later = now() + std::time::Duration::from_secs(60);
    assert!(proxier.round(&mut kernel, later).is_success());
    assert!(kernel.flows.is_empty());
}

/// The shape of a Service: its kinds of addresses, and its endpoints out of two.
type Shape = (bool, bool, bool, [bool; 2]);

fn facts(n: u8, shape: Option<Shape>) -> [Event; 2] {
    let name = format!("u{n}");
    let slice_name = SliceName::new("default", format!("e{n}"));
    let Some((external, vip, node_port, endpoints)) = shape else {
        let service = service(&name, &[]).name;
        return [Event::Service(Update::Gone(service)), Event::Slice(Update::Gone(slice_name))];
    };
    let address = |net: &str| ip(&format!("{net}.{n}"));
    let mut service: Service = service(&name, &[&format!("10.96.0.{n}")]);
    service.ports = vec![service_port("dns", Protocol::Udp, 53)];
    service.ports[0].node_port = node_port.then_some(30050 + u16::from(n));
    service.external_ips.extend(external.then(|| address("203.0.113")));
    service.load_balancer_ips.extend(vip.then(|| address("198.51.100")));
    let there = endpoints.iter().zip(1..).filter(|(is_there, _)| **is_there);
    let there = there.map(|(_, host)| ready(&format!("10.244.2.{host}"))).collect();
    let mut slice: Slice = slice(&format!("e{n}"), &name, there);
    slice.ports[0].name = "dns".into();
    slice.ports[0].protocol = Protocol::Udp;
    [Event::Service(Update::Put(service)), Event::Slice(Update::Put(slice))]
}

fn some_shape() -> impl Strategy<Value = Option<Shape>> {
    prop::option::of((
        prop::bool::ANY,
        prop::bool::ANY,
        prop::bool::ANY,
        prop::array::uniform2(prop::bool::ANY),
    ))
}

/// The flows that may be in the kernel. The first list has those to each destination of each virtual server,
/// and those begun by replies of each destination. The second list has flows of other programs.
fn flows_of(kernel: &FakeKernel) -> (Vec<Flow>, Vec<Flow>) {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for (key, server) in &kernel.state.servers {
        let at = SocketAddr::new(key.address, key.port).to_string();
        for destination in server.destinations.keys() {
            ours.push(flow(&at, &destination.to_string()));
            ours.push(others(&destination.to_string(), "192.0.2.100:4321", &at));
        }
        theirs.push(others("10.244.1.9:5000", "8.8.8.8:53", &at));
        theirs.push(others(&at, "8.8.8.8:53", &at));
    }
    (ours, theirs)
}

proptest! {
    /// Holds for any changes, and for restarts during which Services were deleted.
    #[test]
    fn no_flow_outlives_its_virtual_server_or_destination(
        history in prop::collection::vec((1..4u8, some_shape(), prop::bool::ANY), 1..12)
    ) {
        let mut kernel = FakeKernel::default();
        let mut world: BTreeMap<u8, Shape> = BTreeMap::new();
        let mut proxier = complete();
        proxier.round(&mut kernel, now());
        for (n, shape, restarts) in history {
            let (ours, theirs) = flows_of(&kernel);
            kernel.flows = ours.iter().chain(&theirs).copied().collect();
            match shape {
                Some(shape) => drop(world.insert(n, shape)),
                None => drop(world.remove(&n)),
            }
            if restarts {
                proxier = complete();
                let all = world.iter().flat_map(|(n, shape)| facts(*n, Some(*shape)));
                all.for_each(|event| proxier.fold(event));
            } else {
                facts(n, shape).into_iter().for_each(|event| proxier.fold(event));
            }
            prop_assert!(proxier.round(&mut kernel, now()).is_success());
            let leads = |key: &VirtualServerKey, to: &SocketAddr| {
                let server = kernel.state.servers.get(key);
                server.is_some_and(|server| server.destinations.contains_key(to))
            };
            for flow in &ours {
                let stands = leads(&flow.key(), &flow.server)
                    || flow.answers_from().is_some_and(|key| leads(&key, &flow.client));
                prop_assert!(stands || !kernel.flows.contains(flow), "{flow} is left");
            }
            for flow in &theirs {
                prop_assert!(kernel.flows.contains(flow), "{flow} of others is gone");
            }
        }
    }
}
