//! Tests which tracked flows remain after a Service has gone, and that foreign ones do.
//!
//! Takes clients that keep their socket and so their port, since a stale entry would not harm
//! others. Checks the output of `conntrack -L`.

use std::net::SocketAddr;
use std::time::Instant;

use super::fixed_port::{Flows, MOVED};
use super::service::Service;
use super::spec::Way;
use super::world::{Settings, World};
use super::{Kind, for_each_kind, kind};
use crate::node::{Family, Lab};
use crate::traffic::{Server, ask_from};

for_each_kind! { no_flow_outlives_its_service: udp_over_ipv4 udp_over_ipv6 }
for_each_kind! { no_flow_outlives_a_service_that_went_while_the_proxy_was_away: udp_over_ipv4 udp_over_ipv6 }

fn no_flow_outlives_its_service(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, flows, _server) = served(world, kind);
    let since = Instant::now();
    service.withdraw();
    assert_forgotten(world, &service, since);
    // Clients that continue to send get no answer, and do not reach the former endpoint.
    flows.go_on();
    assert_forgotten(world, &service, Instant::now());
}

fn no_flow_outlives_a_service_that_went_while_the_proxy_was_away(kind: Kind) {
    let world = World::new("went", Settings::ClusterCidr);
    let (service, flows, _server) = served(&world, kind);
    assert!(world.proxy.stop().success());
    world.proxy.withdraw(&service.spec.name);
    flows.go_on();
    assert_ne!(tracked(&world, &service), [""; 0]);
    world.proxy.start_again(&world.lab.node1);
    // A new Service shows that the first round is over.
    Service::new(&world, kind).use_endpoints(&[]);
    assert_forgotten(&world, &service, Instant::now());
}

/// A foreign masquerade rule may give a pod's own flow the number of a node port.
#[test]
fn flows_of_others_from_the_number_of_a_node_port_are_left_alone() {
    let world = World::new("others", Settings::ClusterCidr);
    let World { lab, caller, local, .. } = &world;
    let service = Service::reached_by(&world, kind::udp_over_ipv4, &[Way::NodePort]);
    let _servers = [service.serve(&local[0]), service.serve(&local[1])];
    service.use_endpoints(&[&local[0]]);
    let number = service.at(Way::NodePort).port();
    let outside = SocketAddr::new(Lab::client_address(Family::V4), 9999);
    let _outside = Server::start(&lab.client, service.kind.protocol, outside, "outside");
    lab.node1.run(&format!(
        "iptables -t nat -I POSTROUTING -p udp --dport 9999 -s {} -j MASQUERADE --to-ports {number}",
        caller.address(Family::V4)
    ));
    let from = SocketAddr::new(caller.address(Family::V4), 5000);
    let answer = ask_from(caller, service.kind.protocol, from, outside).unwrap();
    let node = service.at(Way::NodePort);
    assert_eq!(answer.source, node, "it was masqueraded");
    // One flow is the host's own, the other one an endpoint's from the port of its server.
    let served = service.endpoint(&local[0]);
    for (from, to, more) in [(node, 8, String::new()), (served, 9, format!(" -n {node}"))] {
        lab.node1.run(&format!(
            "conntrack -I -p udp -s {} --sport {} -d 203.0.113.{to} --dport 53 -t 600{more}",
            from.ip(),
            from.port()
        ));
    }
    let list = || {
        let all = lab.node1.run("conntrack -L -p udp -o id");
        let words =
            all.lines().filter(|line| line.contains("=9999") || line.contains("203.0.113."));
        let mut ids: Vec<_> =
            words.filter_map(|line| line.rsplit_once("id=")).map(|(_, id)| id.to_owned()).collect();
        ids.sort();
        ids
    };
    let before = list();
    assert_eq!(before.len(), 3, "{}", lab.node1.run("conntrack -L -p udp"));
    for pod in [&local[1], &local[0]] {
        service.use_endpoints(&[pod]);
        Service::new(&world, kind::udp_over_ipv4).use_endpoints(&[]);
        assert_eq!(list(), before);
    }
    service.withdraw();
    Service::new(&world, kind::udp_over_ipv4).use_endpoints(&[]);
    assert_eq!(list(), before);
}

/// Returns a Service with flows at every kind of address to an endpoint of another node, all of
/// which are tracked.
fn served<'w>(world: &'w World, kind: Kind) -> (Service<'w>, Flows, Server) {
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let server = service.serve(&world.remote);
    service.use_endpoints(&[&world.remote]);
    let mut flows = Flows::default();
    flows.start_masqueraded(world, &service);
    flows.assert_served_at_once(world, kind, &world.remote, Instant::now());
    let tracked = tracked(world, &service);
    for (way, at) in service.frontends() {
        let to = format!("dst={} ", at.ip());
        assert!(tracked.iter().any(|line| line.contains(&to)), "no {way:?} in {tracked:#?}");
    }
    (service, flows, server)
}

/// Returns the entries between an address of the Service and its endpoint, in either direction.
fn tracked(world: &World, service: &Service<'_>) -> Vec<String> {
    let family = match service.kind.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    let all = world.lab.node1.run(&format!("conntrack -L -f {family} -p udp"));
    let endpoint = service.endpoint(&world.remote);
    let names = |line: &str, at: SocketAddr, port: &str| {
        let (ip, number) = (format!("={} ", at.ip()), format!("{port}={} ", at.port()));
        line.contains(&ip) && line.contains(&number)
    };
    let leads = |line: &&str| {
        let at = service.frontends();
        names(line, endpoint, "sport") && at.into_iter().any(|(_, at)| names(line, at, "dport"))
    };
    all.lines().filter(leads).map(str::to_owned).collect()
}

fn assert_forgotten(world: &World, service: &Service<'_>, since: Instant) {
    loop {
        let left = tracked(world, service);
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < MOVED, "after {:?}: {left:#?}", since.elapsed());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
