//! Tests session affinity: a client stays with its endpoint for the timeout at every kind of
//! address, and no longer.

use std::thread;
use std::time::{Duration, Instant};

use super::service::Service;
use super::spec::Way;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::Namespace;
use crate::traffic::ask;

for_each_kind! { a_client_stays_with_its_endpoint }

for_each_kind! { a_client_leaves_an_endpoint_that_goes: tcp_over_ipv4 udp_over_ipv6 sctp_over_ipv4 }

for_each_kind! { a_client_is_free_after_the_timeout: udp_over_ipv4 udp_over_ipv6 }

fn a_client_stays_with_its_endpoint(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = sticky(world, kind, 100);
    let _servers = service.serve_and_use(&world.endpoints());
    let clients: [&Namespace; 2] = [&world.caller, &world.lab.client];
    for (_, address) in service.frontends() {
        // Round robin gives the second client another endpoint.
        let servers = clients.map(|client| stays(client, kind, address));
        assert_ne!(servers[0], servers[1], "{address}");
    }
}

fn a_client_leaves_an_endpoint_that_goes(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = sticky(world, kind, 100);
    let _servers = service.serve_and_use(&world.endpoints());
    for (_, address) in service.frontends() {
        let left = stays(&world.lab.client, kind, address);
        let staying = world.endpoints().into_iter();
        let staying: Vec<_> =
            staying.filter(|pod| pod.address(kind.family).to_string() != left).collect();
        service.use_endpoints(&staying);
        assert_ne!(stays(&world.lab.client, kind, address), left, "{address}");
        service.use_endpoints(&world.endpoints());
    }
}

fn a_client_is_free_after_the_timeout(kind: Kind) {
    // A connection that IPVS still has keeps its client's endpoint beyond the timeout.
    let world = &World::shared(Settings::ForgetfulUdp);
    let timeout = Duration::from_secs(3);
    let service = sticky(world, kind, 3);
    let _servers = service.serve_and_use(&world.endpoints());
    let frontends = service.frontends();
    let before = frontends.iter().map(|(_, address)| stays(&world.lab.client, kind, *address));
    let before: Vec<_> = before.collect();
    thread::sleep(timeout / 2);
    for ((_, address), before) in frontends.iter().zip(&before) {
        assert_eq!(&ask(&world.lab.client, kind.protocol, *address).unwrap().server, before);
    }
    let idle = Instant::now();
    // `ipvsadm` lists the persistence of clients as connections from port 0.
    let is_bound = |address: &std::net::SocketAddr| {
        let known = world.lab.node1.run("ipvsadm -Lnc");
        known.lines().any(|line| line.contains(":0 ") && line.contains(&address.to_string()))
    };
    assert!(frontends.iter().any(|(_, address)| is_bound(address)));
    while frontends.iter().any(|(_, address)| is_bound(address)) {
        assert!(idle.elapsed() < timeout + Duration::from_secs(2));
        thread::sleep(Duration::from_millis(100));
    }
    for ((_, address), before) in frontends.iter().zip(&before) {
        // Round robin has moved on.
        assert_ne!(&ask(&world.lab.client, kind.protocol, *address).unwrap().server, before);
    }
}

fn sticky(world: &World, kind: Kind, seconds: u32) -> Service<'_> {
    let mut service = Service::reached_by(world, kind, &Way::EXTERNAL);
    service.spec.affinity = Some(seconds);
    service
}

/// Sends a few requests, which the same server must answer.
fn stays(client: &Namespace, kind: Kind, address: std::net::SocketAddr) -> String {
    let servers = [(); 4].map(|()| ask(client, kind.protocol, address).unwrap().server);
    assert!(servers.iter().all(|server| *server == servers[0]), "{address}: {servers:?}");
    let [server, ..] = servers;
    server
}
