//! Tests of the frontends of a port and their set entries.

use super::*;
use crate::model::{InterfaceAddress, Node, Slice};
use crate::plan::plan_service;
use crate::sorted::SortedMap;
use crate::testing::{NODE, ready, service, settings, slice};

const VIP: &str = "203.0.113.7";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn balanced(ranges: &[&str]) -> Service {
    Service {
        load_balancer_ips: vec![address(VIP)],
        source_ranges: ranges.iter().map(|text| text.parse().expect("a network")).collect(),
        ..service("web", &["10.96.0.1"])
    }
}

/// Returns the frontends of a Service with one local and one remote endpoint, on a node at 192.0.2.11.
fn planned(service: &Service, settings: &Settings) -> SortedMap<VirtualServerKey, Frontend> {
    let node = Node {
        name: NODE.into(),
        zone: None,
        addresses: vec![address("192.0.2.11")],
        pod_nets: vec![],
        is_leaving: false,
    };
    let eth0 = InterfaceAddress {
        device: "eth0".into(),
        address: "192.0.2.11/24".parse().expect("an address"),
    };
    let here = LocalNode::new(Some(&node), std::slice::from_ref(&eth0), settings);
    let slice: Slice = slice("a", "web", vec![ready("10.244.1.1"), ready("10.244.2.1")]);
    plan_service(service, &[&slice], &here, settings).frontends
}

fn at<'f>(frontends: &'f SortedMap<VirtualServerKey, Frontend>, ip: &str) -> &'f Frontend {
    let found = frontends.iter().find(|(key, _)| key.address == address(ip));
    found.expect("a frontend").1
}

fn sets(frontend: &Frontend) -> Vec<SetName> {
    frontend.entries.iter().map(|(set, _)| set.name).collect()
}

#[test]
fn a_node_port_is_a_frontend_at_every_node_address_and_never_bound() {
    let mut service = service("web", &["10.96.0.1"]);
    service.ports[0].node_port = Some(30080);
    let frontends = planned(&service, &settings());
    let frontend = at(&frontends, "192.0.2.11");
    assert_eq!(sets(frontend), [SetName::NodePortTcp]);
    assert_eq!(frontend.binding, Binding::Present);
    assert_eq!(frontend.server.destinations.len(), 2);
    service.external_policy = TrafficPolicy::Local;
    let frontends = planned(&service, &settings());
    assert_eq!(
        sets(at(&frontends, "192.0.2.11")),
        [SetName::NodePortTcp, SetName::NodePortLocalTcp]
    );
    assert_eq!(at(&frontends, "192.0.2.11").server.destinations.len(), 1);
}

#[test]
fn an_external_ip_that_the_node_has_is_not_bound() {
    let service = Service {
        external_ips: vec![address("192.0.2.11"), address(VIP)],
        ..service("web", &["10.96.0.1"])
    };
    let frontends = planned(&service, &settings());
    assert_eq!(at(&frontends, "192.0.2.11").binding, Binding::Present);
    assert_eq!(sets(at(&frontends, "192.0.2.11")), [SetName::ExternalIp]);
    assert_eq!(sets(at(&frontends, VIP)), [SetName::ExternalIp, SetName::IpvsIps]);
    let without = Settings { external_ips: false, ..settings() };
    assert_eq!(planned(&service, &without).len(), 1);
}

/// Returns the binding of cluster IP 10.96.0.1 if device `dns0` has `address` and the Node object has `node`.
fn cluster_ip_at(address: &str, node: &[&str]) -> Binding {
    let node = Node {
        name: NODE.into(),
        zone: None,
        addresses: node.iter().map(|text| self::address(text)).collect(),
        pod_nets: vec![],
        is_leaving: false,
    };
    let device =
        InterfaceAddress { device: "dns0".into(), address: address.parse().expect("an address") };
    let settings = settings();
    let here = LocalNode::new(Some(&node), std::slice::from_ref(&device), &settings);
    let service = service("web", &["10.96.0.1"]);
    let frontends = plan_service(&service, &[], &here, &settings).frontends;
    at(&frontends, "10.96.0.1").binding
}

#[test]
fn a_cluster_ip_that_stands_alone_on_another_device_is_bound_but_not_the_nodes_own() {
    assert_eq!(cluster_ip_at("10.96.0.1/32", &["192.0.2.11"]), Binding::Dummy);
    assert_eq!(cluster_ip_at("10.96.0.1/24", &["192.0.2.11"]), Binding::Present);
    assert_eq!(cluster_ip_at("10.96.0.1/32", &["10.96.0.1"]), Binding::Present);
    assert_eq!(cluster_ip_at("10.96.0.9/32", &["10.96.0.1"]), Binding::Dummy);
}

#[test]
fn nothing_is_programmed_at_a_load_balancers_address_that_is_said_to_be_a_proxys() {
    let proxied = Settings {
        ip_mode_proxy: vec!["203.0.113.0/24".parse().expect("a network")],
        ..settings()
    };
    let service = Service { external_ips: vec![address("203.0.113.8")], ..balanced(&[]) };
    assert_eq!(planned(&service, &settings()).len(), 3);
    let frontends = planned(&service, &proxied);
    assert!(frontends.iter().all(|(key, _)| key.address != address(VIP)));
    // External IPs have no IP mode.
    assert_eq!(sets(at(&frontends, "203.0.113.8")), [SetName::ExternalIp, SetName::IpvsIps]);
}

#[test]
fn source_ranges_admit_the_node_if_it_is_in_one_of_them() {
    let frontends = planned(&balanced(&["192.0.2.0/24"]), &settings());
    assert_eq!(at(&frontends, VIP).node_access, NodeAccess::Admitted);
    assert!(sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerSourceIp));
    let frontends = planned(&balanced(&["198.51.100.0/24"]), &settings());
    assert_eq!(at(&frontends, VIP).node_access, NodeAccess::Refused);
    assert!(!sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerSourceIp));
    assert!(sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerFw));
}

#[test]
fn a_range_of_length_zero_opens_its_family() {
    let frontends = planned(&balanced(&["198.51.100.0/24", "0.0.0.0/0"]), &settings());
    assert!(!sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerFw));
}

#[test]
fn ranges_of_the_other_family_alone_leave_this_one_open_or_strictly_closed() {
    let service = balanced(&["2001:db8::/32"]);
    let frontends = planned(&service, &settings());
    assert!(!sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerFw));
    let strict = Settings { policy: Compatibility::Strict, ..settings() };
    let frontends = planned(&service, &strict);
    assert!(sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerFw));
    assert!(!sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerSourceCidr));
    assert_eq!(at(&frontends, VIP).node_access, NodeAccess::Refused);
}

#[test]
fn ranges_that_cannot_be_read_admit_nobody() {
    let unreadable = |readable: &[&str]| {
        let service = balanced(readable);
        let nets = match service.source_ranges {
            SourceRanges::Unrestricted => vec![],
            SourceRanges::Listed { nets, completeness: _ } => nets,
        };
        let completeness = Completeness::PartlyUnreadable;
        Service { source_ranges: SourceRanges::Listed { nets, completeness }, ..service }
    };
    for policy in [Compatibility::AsUpstream, Compatibility::Strict] {
        let settings = Settings { policy, ..settings() };
        // The list has no readable element, or one of the other family: the rest may have been of this
        // family.
        for readable in [&[][..], &["2001:db8::/32"]] {
            let frontends = planned(&unreadable(readable), &settings);
            let frontend = at(&frontends, VIP);
            assert!(sets(frontend).contains(&SetName::LoadBalancerFw), "{readable:?}");
            assert!(!sets(frontend).contains(&SetName::LoadBalancerSourceCidr), "{readable:?}");
            assert_eq!(frontend.node_access, NodeAccess::Refused);
        }
        // Readable elements still admit clients; one of length 0 admits everyone.
        let frontends = planned(&unreadable(&["198.51.100.0/24"]), &settings);
        assert!(sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerSourceCidr));
        let frontends = planned(&unreadable(&["0.0.0.0/0"]), &settings);
        assert!(!sets(at(&frontends, VIP)).contains(&SetName::LoadBalancerFw));
    }
}

#[test]
fn one_address_that_a_service_has_twice_is_one_frontend_with_both_entries() {
    let service = Service { external_ips: vec![address(VIP)], ..balanced(&[]) };
    let frontends = planned(&service, &settings());
    assert_eq!(frontends.len(), 2);
    let sets = sets(at(&frontends, VIP));
    assert_eq!(sets, [SetName::ExternalIp, SetName::LoadBalancer, SetName::IpvsIps]);
}
