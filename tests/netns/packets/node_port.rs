//! Tests node ports: at which addresses they are served, to which clients, and which source the
//! endpoints see.

use std::time::{Duration, Instant};

use super::check::{AT_ONCE, assert_refused, assert_spread_at, towards};
use super::kind::{tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6};
use super::service::Service;
use super::spec::Way;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Family, Namespace};
use crate::traffic::{Protocol, ask, ask_within, source_of_reply};

for_each_kind! { every_address_of_the_node_serves_everyone_as_the_node }

for_each_kind! {
    only_addresses_in_the_chosen_networks_serve: tcp_over_ipv4 udp_over_ipv6
}

for_each_kind! { only_the_first_address_serves_if_it_is_chosen: tcp_over_ipv6 udp_over_ipv4 }

for_each_kind! { a_loopback_address_serves_nobody: tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4 }

fn every_address_of_the_node_serves_everyone_as_the_node(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort]);
    let _servers = service.serve_and_use(&world.endpoints());
    let node = &world.lab.node1;
    let clients: [&Namespace; 4] = [&world.caller, &world.distant, node, &world.lab.client];
    for address in [node.address(kind.family), node.gateway(kind.family)] {
        let address = service.node_port_at(address);
        for client in clients {
            let source = |pod: &_| towards(world, kind, pod);
            assert_spread_at(kind, address, client, &world.endpoints(), 1, source);
        }
        if kind.protocol == Protocol::Udp {
            assert_eq!(source_of_reply(&world.lab.client, address).unwrap(), address);
        }
    }
}

fn only_addresses_in_the_chosen_networks_serve(kind: Kind) {
    let world = &World::shared(Settings::NodePortNet);
    assert_served_but_not_at_the_gateway(world, kind);
}

fn only_the_first_address_serves_if_it_is_chosen(kind: Kind) {
    let world = &World::shared(Settings::NodePortPrimary);
    let other = match kind.family {
        Family::V4 => "192.0.2.211",
        Family::V6 => "2001:db8:1::211",
    };
    let node = &world.lab.node1;
    // The address is an additional one, and not on the device towards any endpoint.
    node.run(&format!("ip address add {other} dev lo"));
    assert_served_but_not_at_the_gateway(world, kind);
    let service = Service::reached_by(world, kind, &[Way::NodePort]);
    let _servers = service.serve_and_use(&[&world.remote]);
    assert_refused(node, kind, service.node_port_at(other.parse().unwrap()));
}

fn assert_served_but_not_at_the_gateway(world: &World, kind: Kind) {
    let service = Service::reached_by(world, kind, &[Way::NodePort]);
    let _servers = service.serve_and_use(&world.endpoints());
    let gateway = service.node_port_at(world.lab.node1.gateway(kind.family));
    let clients: [&Namespace; 3] = [&world.caller, &world.lab.node1, &world.lab.client];
    for client in clients {
        ask(client, kind.protocol, service.at(Way::NodePort)).unwrap();
        assert_refused(client, kind, gateway);
    }
}

fn a_loopback_address_serves_nobody(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort]);
    let _servers = service.serve_and_use(&[&world.local[0]]);
    let loopback = match kind.family {
        Family::V4 => "127.0.0.1",
        Family::V6 => "::1",
    };
    ask(&world.lab.node1, kind.protocol, service.at(Way::NodePort)).unwrap();
    assert_refused(&world.lab.node1, kind, service.node_port_at(loopback.parse().unwrap()));
}

#[test]
fn an_address_that_comes_is_served_at_once_and_one_that_goes_is_not() {
    let world = &World::shared(Settings::ClusterCidr);
    let node = &world.lab.node1;
    // The addresses are outside the network of the nodes, so that they are no source towards them.
    let addresses = ["198.51.100.77", "2001:db8:51::77"];
    let kinds = [tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6];
    let services = kinds.map(|kind| {
        let service = Service::reached_by(world, kind, &[Way::NodePort]);
        let servers = service.serve_and_use(&[&world.local[0]]);
        let address = addresses[usize::from(kind.family == Family::V6)];
        let address = service.node_port_at(address.parse().unwrap());
        (service, address, servers)
    });

    for _ in 0..2 {
        node.run("ip link add extra type dummy");
        for address in addresses {
            node.run(&format!("ip address add {address} dev extra nodad"));
        }
        let came = Instant::now();
        for (service, address, _) in &services {
            while !is_served(&world.lab.client, service, *address) {
                assert!(came.elapsed() < AT_ONCE, "{address} is not served");
            }
        }

        for address in addresses {
            let length = if address.contains(':') { 128 } else { 32 };
            node.run(&format!("ip address delete {address}/{length} dev extra"));
        }
        let went = Instant::now();
        for (service, address, _) in &services {
            while service.destinations_at(*address).is_some() {
                assert!(went.elapsed() < AT_ONCE, "{address} is still served");
            }
        }
        // All addresses go with their device as well.
        node.run("ip link delete extra");
    }
}

fn is_served(client: &Namespace, service: &Service<'_>, address: std::net::SocketAddr) -> bool {
    ask_within(Duration::from_millis(200), client, service.kind.protocol, address).is_ok()
}
