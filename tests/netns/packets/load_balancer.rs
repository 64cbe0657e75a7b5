//! Tests load-balancer addresses: they are served if packets keep them, and left alone if the
//! balancer ends connections.

use std::net::SocketAddr;

use super::check::{assert_served_at_once, assert_spread_at, towards};
use super::service::Service;
use super::spec::{Ingress, Way};
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Family, Lab, Namespace};
use crate::traffic::{Protocol, Server, ask, source_of_reply};

for_each_kind! { the_address_of_a_load_balancer_serves_everyone_as_the_node }

for_each_kind! {
    the_address_of_a_load_balancer_that_ends_connections_is_the_balancers:
        tcp_over_ipv4 udp_over_ipv6
}

for_each_kind! { a_load_balancer_without_an_address_has_its_other_ways: tcp_over_ipv4 udp_over_ipv6 }

for_each_kind! { an_address_is_served_while_the_status_has_it: tcp_over_ipv6 udp_over_ipv4 }

fn the_address_of_a_load_balancer_serves_everyone_as_the_node(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::LoadBalancer]);
    let _servers = service.serve_and_use(&world.endpoints());
    let address = service.at(Way::LoadBalancer);
    let clients: [&Namespace; 4] =
        [&world.caller, &world.distant, &world.lab.node1, &world.lab.client];
    for client in clients {
        let source = |pod: &_| towards(world, kind, pod);
        assert_spread_at(kind, address, client, &world.endpoints(), 1, source);
    }
    if kind.protocol == Protocol::Udp {
        assert_eq!(source_of_reply(&world.lab.client, address).unwrap(), address);
    }
}

fn the_address_of_a_load_balancer_that_ends_connections_is_the_balancers(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let World { lab, caller, .. } = &**world;
    let mut service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let address = service.at(Way::LoadBalancer);
    service.spec.ingress = Some(vec![Ingress::Proxy(address.ip())]);
    // The host outside is the balancer.
    let balancer = Lab::client_address(kind.family);
    lab.client.run(&format!("ip address add {} dev lo", address.ip()));
    lab.node1.run(&format!("ip route add {} via {balancer}", address.ip()));
    let _balancer = Server::start(&lab.client, kind.protocol, address, "balancer");
    let _servers = service.serve_and_use(&[&world.local[0]]);

    let answer = ask(caller, kind.protocol, address).unwrap();
    assert_eq!(
        (answer.server.as_str(), answer.source.ip()),
        ("balancer", caller.address(kind.family))
    );
    let answer = ask(&lab.node1, kind.protocol, address).unwrap();
    assert_eq!(
        (answer.server.as_str(), answer.source.ip()),
        ("balancer", lab.node1.address(kind.family))
    );
    assert_eq!(service.destinations_at(address), None);
    assert_eq!(lab.node1.run(&format!("ip -o address show to {}", address.ip())), "");
    assert_reached(world, &service, &[Way::ClusterIp, Way::NodePort]);
}

fn a_load_balancer_without_an_address_has_its_other_ways(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    for ingress in [vec![], vec![Ingress::Hostname]] {
        let mut service = Service::reached_by(world, kind, &[Way::NodePort]);
        service.spec.ingress = Some(ingress);
        let _servers = service.serve_and_use(&[&world.local[0]]);
        assert_reached(world, &service, &[Way::ClusterIp, Way::NodePort]);
    }
}

fn assert_reached(world: &World, service: &Service<'_>, ways: &[Way]) {
    let clients: [&Namespace; 3] = [&world.caller, &world.lab.node1, &world.lab.client];
    for client in clients {
        for way in ways {
            ask(client, service.kind.protocol, service.at(*way)).unwrap();
        }
    }
}

fn an_address_is_served_while_the_status_has_it(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let client = &world.lab.client;
    let mut service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let _servers = service.serve_and_use(&[&world.remote]);
    let address = service.at(Way::LoadBalancer);
    let moved = SocketAddr::new(
        match kind.family {
            Family::V4 => "198.19.200.1".parse().unwrap(),
            Family::V6 => "2001:db8:19::200:1".parse().unwrap(),
        },
        address.port(),
    );
    ask(client, kind.protocol, address).unwrap();

    service.spec.ingress = Some(vec![Ingress::Vip(moved.ip())]);
    service.use_endpoints(&[&world.remote]);
    assert_served_at_once(client, kind, moved);
    service.wait_until_unserved(address);
    ask(client, kind.protocol, address).expect_err("nobody has the address");

    service.spec.ingress = Some(vec![]);
    service.use_endpoints(&[&world.remote]);
    service.wait_until_unserved(moved);
    ask(client, kind.protocol, service.at(Way::NodePort)).unwrap();

    service.spec.ingress = Some(vec![Ingress::Vip(address.ip()), Ingress::Vip(moved.ip())]);
    service.use_endpoints(&[&world.remote]);
    for address in [address, moved] {
        ask(client, kind.protocol, address).unwrap();
    }
    service.withdraw();
    for ip in [address.ip(), moved.ip(), service.address.ip()] {
        assert_eq!(world.lab.node1.run(&format!("ip -o address show to {ip}")), "");
    }
}
