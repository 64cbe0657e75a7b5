//! Tests external IPs: addresses that the cluster's network routes to the node, or that the node
//! has.

use super::check::{assert_spread_at, towards};
use super::service::Service;
use super::spec::Way;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::Namespace;
use crate::traffic::{Protocol, Server, ask, source_of_reply};

for_each_kind! { an_external_ip_serves_everyone_as_the_node }

for_each_kind! {
    an_external_ip_that_the_node_has_stays_the_nodes:
        tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4
}

fn an_external_ip_serves_everyone_as_the_node(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::ExternalIp]);
    let _servers = service.serve_and_use(&world.endpoints());
    let address = service.at(Way::ExternalIp);
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

fn an_external_ip_that_the_node_has_stays_the_nodes(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let node = &world.lab.node1;
    let mut service = Service::new(world, kind);
    service.spec.external_ips = vec![node.address(kind.family)];
    service.spec.port = 2000 + world.number();
    let address = service.at(Way::ExternalIp);
    let mut beside = address;
    beside.set_port(address.port() + 1000);
    let _beside = Server::start(node, kind.protocol, beside, "node");
    let _servers = service.serve_and_use(&[&world.local[0], &world.remote]);

    let clients: [&Namespace; 4] = [&world.caller, &world.distant, node, &world.lab.client];
    for client in clients {
        let source = |pod: &_| towards(world, kind, pod);
        let endpoints = [&world.local[0], &world.remote];
        assert_spread_at(kind, address, client, &endpoints, 1, source);
        assert_eq!(ask(client, kind.protocol, beside).unwrap().server, "node");
    }
    let bound =
        || node.run(&format!("ip -o address show to {} | awk '{{print $2}}'", address.ip()));
    assert_eq!(bound(), "eth0\n");
    service.withdraw();
    assert_eq!(bound(), "eth0\n");
    assert_eq!(ask(&world.lab.client, kind.protocol, beside).unwrap().server, "node");
}
