//! Tests of the choice of endpoints: readiness, policies, topology hints, merging of slices.

use super::*;
use std::sync::Arc;

use crate::model::{Endpoint, Hints, Node, Protocol};
use crate::plan::Settings;
use crate::testing::{NODE, ready, service, settings, slice, terminating, unready};

/// Calls a function with this node, in zone `z1`.
fn in_zone<T>(look: impl FnOnce(&LocalNode<'_>) -> T) -> T {
    let node = Node {
        name: NODE.into(),
        zone: Some("z1".into()),
        addresses: vec![],
        pod_nets: vec![],
        is_leaving: false,
    };
    look(&LocalNode::new(Some(&node), &[], &settings()))
}

fn chosen(policy: TrafficPolicy, endpoints: Vec<Endpoint>) -> Vec<String> {
    let slice = slice("a", "web", endpoints);
    let service = Service { internal_policy: policy, ..service("web", &["10.96.0.1"]) };
    let port = &service.ports[0];
    let candidates = Candidates::gather(&SlicePorts::new(&[&slice], Family::V4), port);
    let chosen =
        in_zone(|here| candidates.internal(&service, port, here, Compatibility::AsUpstream));
    chosen.iter().map(|a| a.ip().to_string()).collect()
}

fn hinted(address: &str, zone: &str) -> Endpoint {
    Endpoint { hints: hints(&[zone], &[]), ..ready(address) }
}

fn hints(zones: &[&str], nodes: &[&str]) -> Option<Arc<Hints>> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    Some(Arc::new(Hints { zones: names(zones), nodes: names(nodes) }))
}

#[test]
fn a_terminating_endpoint_serves_only_when_none_is_ready() {
    let both = vec![ready("10.244.2.1"), terminating("10.244.2.2")];
    assert_eq!(chosen(TrafficPolicy::Cluster, both), ["10.244.2.1"]);
    let last = vec![unready("10.244.2.1"), terminating("10.244.2.2")];
    assert_eq!(chosen(TrafficPolicy::Cluster, last), ["10.244.2.2"]);
}

#[test]
fn local_policy_without_a_local_endpoint_chooses_none() {
    assert_eq!(chosen(TrafficPolicy::Local, vec![ready("10.244.2.1")]), [""; 0]);
    let mixed = vec![ready("10.244.1.1"), ready("10.244.2.1")];
    assert_eq!(chosen(TrafficPolicy::Local, mixed), ["10.244.1.1"]);
}

#[test]
fn a_ready_remote_endpoint_does_not_keep_a_terminating_local_one_from_serving_local_policy() {
    let mixed = vec![terminating("10.244.1.1"), ready("10.244.2.1")];
    assert_eq!(chosen(TrafficPolicy::Local, mixed), ["10.244.1.1"]);
}

#[test]
fn zone_hints_count_only_if_every_ready_endpoint_has_one() {
    let all = vec![hinted("10.244.2.1", "z1"), hinted("10.244.2.2", "z2")];
    assert_eq!(chosen(TrafficPolicy::Cluster, all), ["10.244.2.1"]);
    let some = vec![hinted("10.244.2.1", "z1"), ready("10.244.2.2")];
    assert_eq!(chosen(TrafficPolicy::Cluster, some), ["10.244.2.1", "10.244.2.2"]);
    let elsewhere = vec![hinted("10.244.2.1", "z2"), hinted("10.244.2.2", "z3")];
    assert_eq!(chosen(TrafficPolicy::Cluster, elsewhere).len(), 2);
}

#[test]
fn a_node_hint_for_this_node_comes_before_zone_hints() {
    let near = Endpoint { hints: hints(&["z1"], &[NODE]), ..ready("10.244.2.1") };
    let far = Endpoint { hints: hints(&["z1"], &["node2"]), ..ready("10.244.2.2") };
    assert_eq!(chosen(TrafficPolicy::Cluster, vec![near, far]), ["10.244.2.1"]);
}

#[test]
fn of_two_records_of_one_address_the_terminating_one_gives_way() {
    let first = slice("a", "web", vec![ready("10.244.2.1")]);
    let second = slice("b", "web", vec![terminating("10.244.2.1")]);
    let service = service("web", &["10.96.0.1"]);
    for order in [[&first, &second], [&second, &first]] {
        let candidates =
            Candidates::gather(&SlicePorts::new(&order, Family::V4), &service.ports[0]);
        assert_eq!(in_zone(|here| candidates.cluster(here)).len(), 1);
    }
}

#[test]
fn a_slice_port_of_another_protocol_or_name_does_not_serve() {
    let slice = slice("a", "web", vec![ready("10.244.2.1")]);
    let mut port = service("web", &["10.96.0.1"]).ports.remove(0);
    port.protocol = Protocol::Udp;
    let served = |port: &ServicePort| {
        in_zone(|here| {
            Candidates::gather(&SlicePorts::new(&[&slice], Family::V4), port).cluster(here)
        })
        .len()
    };
    assert_eq!(served(&port), 0);
    port.protocol = Protocol::Tcp;
    port.name = "other".into();
    assert_eq!(served(&port), 0);
}

#[test]
fn without_a_node_name_no_endpoint_is_local() {
    let settings = Settings { node_name: "".into(), ..settings() };
    let nowhere = LocalNode::new(None, &[], &settings);
    let mut endpoint = ready("10.244.1.1");
    endpoint.node = Some("".into());
    assert!(!nowhere.is_local(&endpoint));
}

#[test]
fn an_external_address_opens_local_policy_to_remote_endpoints_in_its_own_family_only() {
    let four = slice("a", "web", vec![ready("10.244.2.1")]);
    let six = slice("b", "web", vec![ready("fd00:10:244:2::1")]);
    let service = Service {
        internal_policy: TrafficPolicy::Local,
        external_ips: vec!["203.0.113.7".parse().expect("an address")],
        ..service("web", &["10.96.0.1", "fd00:10:96::1"])
    };
    let port = &service.ports[0];
    let count = |family| {
        let candidates = Candidates::gather(&SlicePorts::new(&[&four, &six], family), port);
        in_zone(|here| candidates.internal(&service, port, here, Compatibility::AsUpstream)).len()
    };
    assert_eq!((count(Family::V4), count(Family::V6)), (1, 0));
}

#[test]
fn strict_policy_keeps_local_traffic_on_the_node_where_upstream_lets_it_go() {
    let slice = slice("a", "web", vec![ready("10.244.2.1")]);
    let mut service =
        Service { internal_policy: TrafficPolicy::Local, ..service("web", &["10.96.0.1"]) };
    service.ports[0].node_port = Some(30080);
    let port = &service.ports[0];
    let candidates = Candidates::gather(&SlicePorts::new(&[&slice], Family::V4), port);
    let served = |policy| in_zone(|here| candidates.internal(&service, port, here, policy)).len();
    assert_eq!((served(Compatibility::AsUpstream), served(Compatibility::Strict)), (1, 0));
    // Traffic from outside still falls back as upstream's does: clients in the cluster depend on it.
    assert_eq!(in_zone(|here| candidates.external(&service, port, here)).len(), 1);
}

#[test]
fn local_external_policy_prefers_the_node_and_falls_back_to_endpoints_anywhere() {
    let mut service =
        Service { external_policy: TrafficPolicy::Local, ..service("web", &["10.96.0.1"]) };
    let served = |service: &Service, endpoints| {
        let slice = slice("a", "web", endpoints);
        let port = &service.ports[0];
        let candidates = Candidates::gather(&SlicePorts::new(&[&slice], Family::V4), port);
        let chosen = in_zone(|here| candidates.external(service, port, here));
        chosen.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>()
    };
    let both = vec![ready("10.244.1.1"), ready("10.244.2.1")];
    assert_eq!(served(&service, both.clone()), [""; 0], "nothing is reachable from outside");
    service.ports[0].node_port = Some(30080);
    assert_eq!(served(&service, both), ["10.244.1.1"]);
    assert_eq!(served(&service, vec![ready("10.244.2.1")]), ["10.244.2.1"]);
}
