//! What a service address does not do: answer at other ports, answer a ping, lead to the node's own servers.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::service::Service;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Family, Namespace};
use crate::traffic::{Protocol, Server, ask, ask_within};

for_each_kind! {
    a_port_that_is_no_service_port_is_refused,
    a_service_without_endpoints_refuses_until_one_appears,
}

for_each_kind! { a_service_address_answers_no_ping: tcp_over_ipv4 tcp_over_ipv6 }

fn a_port_that_is_no_service_port_is_refused(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &[&world.remote]);
    let port = service.address.port() + 1000 + u16::from(world.number());
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

/// A server such as an `sshd` that listens on every address of the node.
fn serve_on_every_address(node: &Namespace, kind: Kind, port: u16) -> Server {
    let every: IpAddr = match kind.family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Server::start(node, kind.protocol, SocketAddr::new(every, port), "node")
}

fn assert_refused(client: &Namespace, kind: Kind, address: SocketAddr) {
    // Long enough for TCP's second attempt: a refusal that comes while it still sends the first one, as it may
    // between namespaces, is only a hint.
    let patience = Duration::from_secs(2);
    let error =
        ask_within(patience, client, kind.protocol, address).expect_err("nobody serves there");
    let told = error.kind();
    let is_refused = match kind.protocol {
        Protocol::Tcp => told == ErrorKind::ConnectionRefused,
        // Where IPVS drops what the node itself sends, the call that sends it fails.
        Protocol::Udp => matches!(told, ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied),
        // It takes note of an unreachable port and keeps trying.
        Protocol::Sctp => told == ErrorKind::TimedOut,
    };
    assert!(is_refused, "{}: {error}", client.name());
}
