//! Tests `loadBalancerSourceRanges`: which clients a load balancer's address admits, and how
//! changes take effect.

use super::check::{
    assert_dropped, assert_dropped_at_once, assert_served_at_once, assert_spread_at, towards,
};
use super::service::Service;
use super::spec::{Policy, Way};
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Family, Lab};
use crate::traffic::{Caller, ask};

for_each_kind! {
    only_clients_in_the_ranges_are_admitted:
        tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4 udp_over_ipv6 sctp_over_ipv4
}

for_each_kind! { each_port_of_a_shared_address_has_its_own_ranges: tcp_over_ipv4 udp_over_ipv6 }

for_each_kind! { a_range_holds_for_local_endpoints_too: tcp_over_ipv6 udp_over_ipv4 }

for_each_kind! { an_admitted_client_notices_no_change_of_the_ranges: tcp_over_ipv4 udp_over_ipv6 }

for_each_kind! {
    ranges_of_the_other_family_close_this_one_if_policies_are_strict: tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4
}

fn only_clients_in_the_ranges_are_admitted(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let World { lab, caller, distant, remote, .. } = &**world;
    let ranges = Ranges::of(kind.family);
    let mut service = Service::reached_by(world, kind, &[Way::LoadBalancer]);
    let _server = service.serve(remote);
    let address = service.at(Way::LoadBalancer);
    let source = |pod: &_| towards(world, kind, pod);

    let mut admit = |admitted: &[&str]| {
        service.spec.source_ranges = admitted.iter().map(|range| (*range).to_owned()).collect();
        service.use_endpoints(&[remote]);
    };
    admit(&[ranges.client]);
    assert_served_at_once(&lab.client, kind, address);
    for client in [&**caller, distant, &lab.node1] {
        assert_dropped_at_once(client, kind, address);
    }
    assert_spread_at(kind, address, &lab.client, &[remote], 1, source);

    // The ranges contain the nodes but not the client in the same network.
    admit(&[ranges.pods2, ranges.nodes]);
    assert_served_at_once(&lab.node1, kind, address);
    assert_served_at_once(distant, kind, address);
    for client in [&**caller, &lab.client] {
        assert_dropped_at_once(client, kind, address);
    }
    for client in [&**distant, &lab.node1] {
        assert_spread_at(kind, address, client, &[remote], 1, source);
    }

    admit(&[ranges.pods1]);
    assert_served_at_once(caller, kind, address);
    assert_dropped_at_once(&lab.node1, kind, address);
    admit(&[ranges.client, ranges.all]);
    for client in [&**caller, distant, &lab.node1, &lab.client] {
        assert_served_at_once(client, kind, address);
    }
}

fn each_port_of_a_shared_address_has_its_own_ranges(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let World { lab, caller, distant, remote, .. } = &**world;
    let ranges = Ranges::of(kind.family);
    let mut first = Service::reached_by(world, kind, &[Way::LoadBalancer]);
    let mut second = Service::new(world, kind);
    second.spec.ingress.clone_from(&first.spec.ingress);
    second.spec.port += 1;
    let mut third = Service::new(world, kind);
    third.spec.ingress.clone_from(&first.spec.ingress);
    third.spec.port += 2;
    first.spec.source_ranges = vec![ranges.client.into()];
    second.spec.source_ranges = vec![ranges.pods1.into(), ranges.nodes.into()];
    let _servers = [&first, &second, &third].map(|service| service.serve_and_use(&[remote]));
    let at = |service: &Service<'_>| service.at(Way::LoadBalancer);

    let (client, node) = (&lab.client, &lab.node1);
    assert_served_at_once(client, kind, at(&first));
    assert_served_at_once(caller, kind, at(&second));
    assert_served_at_once(node, kind, at(&second));
    for (client, service) in [
        (client, &second),
        (&**caller, &first),
        (&**distant, &first),
        (&**distant, &second),
        (&**node, &first),
    ] {
        assert_dropped(client, kind, at(service));
    }
    for client in [client, &**caller, distant, node] {
        ask(client, kind.protocol, at(&third)).unwrap();
    }

    // One Service goes; the others keep their ranges.
    second.withdraw();
    ask(client, kind.protocol, at(&first)).unwrap();
    assert_dropped(caller, kind, at(&first));
    assert_dropped(node, kind, at(&first));
    ask(node, kind.protocol, at(&third)).unwrap();
}

fn ranges_of_the_other_family_close_this_one_if_policies_are_strict(kind: Kind) {
    let (this, other) = (Ranges::of(kind.family), Ranges::of(kind.family.other()));
    for settings in [Settings::Strict, Settings::ClusterCidr] {
        let world = &World::shared(settings);
        let mut service = Service::reached_by(world, kind, &[Way::LoadBalancer]);
        let _server = service.serve_and_use(&[&world.remote]);
        let (address, client) = (service.at(Way::LoadBalancer), &world.lab.client);
        assert_served_at_once(client, kind, address);
        service.spec.source_ranges = vec![other.all.into()];
        service.use_endpoints(&[&world.remote]);
        match settings {
            Settings::Strict => {
                assert_dropped_at_once(client, kind, address);
                assert_dropped(&world.caller, kind, address);
            }
            // Here nothing changes that could be waited for. When the next round is over, this one
            // is too.
            _ => {
                service.use_endpoints(&[&world.local[0]]);
                service.use_endpoints(&[&world.remote]);
                ask(client, kind.protocol, address).unwrap();
            }
        }
        ask(&world.caller, kind.protocol, service.address).unwrap();
        service.spec.source_ranges.push(this.all.into());
        service.use_endpoints(&[&world.remote]);
        assert_served_at_once(client, kind, address);
    }
}

fn a_range_holds_for_local_endpoints_too(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let World { lab, caller, local, .. } = &**world;
    let ranges = Ranges::of(kind.family);
    let mut service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    service.spec.external = Policy::Local;
    service.spec.source_ranges = vec![ranges.client.into()];
    let _servers = service.serve_and_use(&[&local[0]]);
    let address = service.at(Way::LoadBalancer);
    let outside = Lab::client_address(kind.family);
    assert_spread_at(kind, address, &lab.client, &[&local[0]], 1, |_| outside);
    for client in [&**caller, &lab.node1] {
        assert_dropped(client, kind, address);
        // The ranges apply only to the load balancer's address.
        ask(client, kind.protocol, service.at(Way::NodePort)).unwrap();
        ask(client, kind.protocol, service.address).unwrap();
    }
}

fn an_admitted_client_notices_no_change_of_the_ranges(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let client = &world.lab.client;
    let ranges = Ranges::of(kind.family);
    let mut service = Service::reached_by(world, kind, &[Way::LoadBalancer]);
    let _servers = service.serve_and_use(&[&world.remote, &world.local[0]]);
    let address = service.at(Way::LoadBalancer);
    let caller = Caller::start(client, kind.protocol, address);
    let steps: [&[&str]; 7] = [
        &[ranges.wire],
        &[ranges.client],
        &[ranges.client, ranges.pods1],
        &[ranges.beside, ranges.nodes],
        &[ranges.all],
        &[ranges.client],
        &[],
    ];
    for step in steps {
        caller.go_on_for(5);
        service.spec.source_ranges = step.iter().map(|range| (*range).to_owned()).collect();
        service.use_endpoints(&[&world.remote, &world.local[0]]);
        let is_open = step.is_empty() || step.contains(&ranges.all);
        if is_open || step.contains(&ranges.pods1) {
            assert_served_at_once(&world.caller, kind, address);
        } else {
            assert_dropped_at_once(&world.caller, kind, address);
        }
        caller.go_on_for(5);
    }
    let results = caller.take_results();
    let asked = results.len();
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(errors.is_empty(), "asked {asked} times: {errors:?}");
}

/// The networks of the lab.
struct Ranges {
    client: &'static str,
    /// A network that contains the client but no node.
    beside: &'static str,
    /// A network that contains the nodes but not the client.
    nodes: &'static str,
    /// A network that contains the nodes and the client.
    wire: &'static str,
    pods1: &'static str,
    pods2: &'static str,
    all: &'static str,
}

impl Ranges {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                client: "192.0.2.100/32",
                beside: "192.0.2.64/26",
                nodes: "192.0.2.0/28",
                wire: "192.0.2.0/24",
                pods1: "10.244.1.0/24",
                pods2: "10.244.2.0/24",
                all: "0.0.0.0/0",
            },
            Family::V6 => Self {
                client: "2001:db8:1::100/128",
                beside: "2001:db8:1::100/120",
                nodes: "2001:db8:1::/123",
                wire: "2001:db8:1::/64",
                pods1: "fd00:10:244:1::/64",
                pods2: "fd00:10:244:2::/64",
                all: "::/0",
            },
        }
    }
}
