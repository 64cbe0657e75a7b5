//! Tests that a service address does not answer at other ports, answer a ping, or lead to the
//! node's own servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::check::assert_refused;
use super::service::Service;
use super::spec::{Policy, Way};
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Family, Namespace};
use crate::proxy::{PATIENCE, until};
use crate::traffic::{Caller, Server, ask};

for_each_kind! {
    a_port_that_is_no_service_port_is_refused,
    a_service_without_endpoints_refuses_until_one_appears,
}

for_each_kind! {
    a_service_without_endpoints_refuses_by_every_way: tcp_over_ipv4 udp_over_ipv6
}

for_each_kind! {
    the_nodes_own_servers_are_not_reached_by_addresses_from_outside:
        tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4 udp_over_ipv6
}

for_each_kind! {
    the_nodes_own_server_never_answers_for_a_service_that_comes_and_goes:
        tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4 udp_over_ipv6 sctp_over_ipv4
}

for_each_kind! { health_checks_are_reached_by_every_address: tcp_over_ipv4 tcp_over_ipv6 }

for_each_kind! { a_service_address_answers_no_ping: tcp_over_ipv4 tcp_over_ipv6 }

fn a_port_that_is_no_service_port_is_refused(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &[&world.remote]);
    let port = service.address.port() + 1000 + world.number();
    let _on_the_node = serve_on_every_address(&world.lab.node1, kind, port);
    let nowhere = SocketAddr::new(service.address.ip(), port);

    let node = &world.lab.node1;
    let clients: [(&Namespace, IpAddr); 2] = [
        (&world.caller, node.gateway(kind.family)),
        (&world.lab.client, node.address(kind.family)),
    ];
    for (client, node) in clients {
        let answer = ask(client, kind.protocol, SocketAddr::new(node, port)).unwrap();
        assert_eq!(answer.server, "node");
        assert_refused(client, kind, nowhere);
        ask(client, kind.protocol, service.address).unwrap();
    }
}

fn a_service_without_endpoints_refuses_until_one_appears(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::new(world, kind);
    service.use_endpoints(&[]);
    let _on_the_node = serve_on_every_address(&world.lab.node1, kind, service.address.port());
    let clients: [&Namespace; 3] = [&world.caller, &world.lab.client, &world.lab.node1];
    for client in clients {
        assert_refused(client, kind, service.address);
    }

    let _server = service.serve(&world.local[0]);
    service.use_endpoints(&[&world.local[0]]);
    for client in clients {
        let answer = ask(client, kind.protocol, service.address).unwrap();
        assert_eq!(answer.server, world.local[0].address(kind.family).to_string());
    }
}

fn a_service_without_endpoints_refuses_by_every_way(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    service.use_endpoints(&[]);
    // Virtual servers exist before their addresses, and are empty before and after.
    let address = format!(" {}/", service.address.ip());
    let bound = || world.lab.node1.run("ip -oneline address show dev kube-ipvs0");
    until(PATIENCE, || bound().contains(&address).then_some(())).expect("its address is bound");
    let clients: [&Namespace; 3] = [&world.caller, &world.lab.client, &world.lab.node1];
    for (_, address) in service.frontends() {
        clients.iter().for_each(|client| assert_refused(client, kind, address));
    }
}

fn the_nodes_own_servers_are_not_reached_by_addresses_from_outside(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let node = &world.lab.node1;
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let _servers = service.serve_and_use(&[&world.local[0]]);
    let port = 4000 + world.number();
    let _on_the_node = serve_on_every_address(node, kind, port);
    // A server on every address answers datagrams from the address towards the client.
    let (eth0, gateway) = (node.address(kind.family), node.gateway(kind.family));
    let clients: [(&Namespace, Way, IpAddr); 3] = [
        (&world.caller, Way::LoadBalancer, gateway),
        (&world.lab.client, Way::ExternalIp, eth0),
        (node, Way::LoadBalancer, eth0),
    ];
    for (client, way, own) in clients {
        let address = service.at(way);
        ask(client, kind.protocol, address).unwrap();
        assert_refused(client, kind, SocketAddr::new(address.ip(), port));
        let answer = ask(client, kind.protocol, SocketAddr::new(own, port)).unwrap();
        assert_eq!(answer.server, "node");
        ask(client, kind.protocol, service.at(Way::NodePort)).unwrap();
    }
    // The node port is not a port of the Service's other addresses.
    let vip = service.at(Way::LoadBalancer).ip();
    assert_refused(&world.lab.client, kind, service.node_port_at(vip));
}

/// One of the Service's addresses stays when it goes, because another Service has it too.
fn the_nodes_own_server_never_answers_for_a_service_that_comes_and_goes(kind: Kind) {
    // Packets to an address that is not local are dropped.
    const PATIENCE: Duration = Duration::from_millis(300);
    let world = &World::shared(Settings::ClusterCidr);
    let (node, outside, pod) = (&world.lab.node1, &world.lab.client, &world.local[0]);
    let stays = Service::reached_by(world, kind, &[Way::ExternalIp]);
    let _servers = stays.serve_and_use(&[pod]);
    let mut goes = Service::reached_by(world, kind, &[Way::ExternalIp, Way::LoadBalancer]);
    goes.spec.external_ips.clone_from(&stays.spec.external_ips);
    goes.spec.port = 6000 + world.number();
    goes.address.set_port(goes.spec.port);
    let on_the_node = serve_on_every_address(node, kind, goes.spec.port);
    let _server = goes.serve(pod);
    let callers = [
        (outside, Way::ExternalIp),
        (node, Way::ExternalIp),
        (&**pod, Way::ClusterIp),
        (outside, Way::LoadBalancer),
    ]
    .map(|(client, way)| {
        (client, way, Caller::start_within(PATIENCE, client, kind.protocol, goes.at(way)))
    });
    for _ in 0..10 {
        goes.use_endpoints(&[pod]);
        callers.iter().for_each(|(_, _, caller)| caller.go_on_for(5));
        goes.withdraw();
        callers.iter().for_each(|(_, _, caller)| caller.go_on_for(2));
    }
    assert_eq!(on_the_node.asked(), 0, "{}", world.proxy.output());
    for (client, way, caller) in callers {
        let results = caller.take_results();
        let answers: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        let (served, asked) = (answers.len(), results.len());
        println!("{} by {way:?}: {served} of {asked} served", client.name());
        // Both must have happened each time that the Service came and went.
        assert!(served >= 30 && asked - served >= 10, "{} by {way:?}", client.name());
        // While the address is not local, a first segment may be forwarded and lost. If it is sent
        // again when the Service exists, it belongs to a flow that the kernel has already decided
        // not to masquerade.
        if way == Way::ExternalIp && client.name() == outside.name() {
            let gateway = node.gateway(kind.family);
            assert!(answers.iter().all(|answer| answer.source.ip() == gateway), "{answers:?}");
        }
    }
    // The node's own server is running.
    let own = SocketAddr::new(node.address(kind.family), goes.spec.port);
    assert_eq!(ask(outside, kind.protocol, own).unwrap().server, "node");
    assert_eq!(on_the_node.asked(), 1);
}

fn health_checks_are_reached_by_every_address(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let mut service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let port = 5000 + world.number();
    service.spec.external = Policy::Local;
    service.spec.health_check_port = Some(port);
    let _servers = service.serve_and_use(&[&world.local[0]]);
    let client = &world.lab.client;
    for (_, address) in service.frontends() {
        let check = SocketAddr::new(address.ip(), port);
        let answer = client.run(&format!("curl -sS -m 3 http://{check}/"));
        assert!(answer.contains("\"localEndpoints\": 1,"), "{check}: {answer}");
    }
}

fn a_service_address_answers_no_ping(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &[&world.remote]);
    let ping = |client: &Namespace, address: IpAddr| {
        client.attempt(&format!("ping -c 1 -W 1 {address}")).status.success()
    };
    for client in [&*world.caller, &world.lab.client] {
        assert!(ping(client, world.lab.node1.address(kind.family)), "{}", client.name());
        assert!(!ping(client, service.address.ip()), "{}", client.name());
    }
}

/// Starts a server that listens on every address of the node, such as an `sshd`.
fn serve_on_every_address(node: &Namespace, kind: Kind, port: u16) -> Server {
    let every: IpAddr = match kind.family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Server::start(node, kind.protocol, SocketAddr::new(every, port), "node")
}
