//! Tests of the node's addresses, and of those that serve node ports.

use super::*;
use crate::testing::{NODE, settings};

const INTERFACES: [(&str, &str); 8] = [
    ("lo", "127.0.0.1/8"),
    ("lo", "::1/128"),
    ("eth0", "192.0.2.11/24"),
    ("eth0", "2001:db8:1::11/64"),
    ("eth0", "fe80::11/64"),
    ("eth1", "198.51.100.11/24"),
    ("cni0", "10.244.1.1/24"),
    ("cni0", "fd00:10:244:1::1/64"),
];

fn interfaces() -> Vec<InterfaceAddress> {
    let found = INTERFACES.iter().map(|(device, address)| InterfaceAddress {
        device: (*device).into(),
        address: address.parse().expect("an address"),
    });
    found.collect()
}

fn node(addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    Node { name: NODE.into(), zone: None, addresses, pod_nets: vec![], is_leaving: false }
}

fn served(
    node_ports: NodePortAddresses,
    node: &Node,
    policy: Compatibility,
) -> PerFamily<Vec<String>> {
    let settings = Settings { node_ports, policy, ..settings() };
    let here = LocalNode::new(Some(node), &interfaces(), &settings);
    PerFamily::from_fn(|family| {
        here.node_port_addresses(family).iter().map(ToString::to_string).collect()
    })
}

fn nets(texts: &[&str]) -> NodePortAddresses {
    NodePortAddresses::In(texts.iter().map(|text| text.parse().expect("a network")).collect())
}

#[test]
fn every_address_but_loopback_and_link_local_serves_node_ports() {
    let every = served(nets(&[]), &node(&[]), Compatibility::AsUpstream);
    assert_eq!(every.v4, ["10.244.1.1", "192.0.2.11", "198.51.100.11"]);
    assert_eq!(every.v6, ["2001:db8:1::11", "fd00:10:244:1::1"]);
}

#[test]
fn networks_restrict_their_own_family_only() {
    let some =
        served(nets(&["192.0.2.0/24", "127.0.0.0/8"]), &node(&[]), Compatibility::AsUpstream);
    assert_eq!(some.v4, ["192.0.2.11"]);
    assert_eq!(some.v6.len(), 2);
    let all = served(nets(&["192.0.2.0/24", "0.0.0.0/0"]), &node(&[]), Compatibility::AsUpstream);
    assert_eq!(all.v4.len(), 3);
}

#[test]
fn primary_is_the_first_address_of_each_family_that_the_node_object_has() {
    let both = node(&["192.0.2.11", "198.51.100.11", "2001:db8:1::11"]);
    let found = served(NodePortAddresses::Primary, &both, Compatibility::AsUpstream);
    assert_eq!((found.v4, found.v6), (vec!["192.0.2.11".into()], vec!["2001:db8:1::11".into()]));
}

#[test]
fn primary_without_an_address_of_a_family_means_all_or_strictly_none() {
    let four = node(&["192.0.2.11"]);
    assert_eq!(served(NodePortAddresses::Primary, &four, Compatibility::AsUpstream).v6.len(), 2);
    assert_eq!(served(NodePortAddresses::Primary, &four, Compatibility::Strict).v6.len(), 0);
    let unknown = served(NodePortAddresses::Primary, &node(&[]), Compatibility::Strict);
    assert!(unknown.v4.is_empty() && unknown.v6.is_empty());
}

#[test]
fn the_address_to_bind_to_is_the_nodes_own_in_its_family() {
    let bind_address = Some("198.51.100.11".parse().expect("an address"));
    let settings = Settings { bind_address, ..settings() };
    let said = node(&["192.0.2.11", "2001:db8:1::11"]);
    let here = LocalNode::new(Some(&said), &interfaces(), &settings);
    assert_eq!(here.ip(Family::V4).to_string(), "198.51.100.11");
    assert_eq!(here.ip(Family::V6).to_string(), "2001:db8:1::11");
    let nowhere = LocalNode::new(None, &[], &settings);
    assert_eq!(nowhere.ip(Family::V6).to_string(), "::1");
}

#[test]
fn health_checks_are_answered_on_loopback_too_if_a_network_covers_it() {
    let settings = Settings { node_ports: nets(&["127.0.0.0/8", "192.0.2.0/24"]), ..settings() };
    let of = |family| health_check_addresses(family, None, &interfaces(), &settings);
    let HealthCheckAddresses::These(found) = of(Family::V4) else { panic!("not every address") };
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1", "192.0.2.11"]
    );
    assert_eq!(of(Family::V6), HealthCheckAddresses::Every);
}
