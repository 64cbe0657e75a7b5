//! Tests that the proxy stops and starts again under traffic of every kind without an effect on it.

use super::kind::{
    sctp_over_ipv4, sctp_over_ipv6, tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6,
};
use super::service::Service;
use super::spec::{Condition, Policy, Way};
use super::world::{Settings, World};
use crate::traffic::Caller;

#[test]
fn a_restart_costs_no_connection_of_any_kind() {
    let world = World::new("restart", Settings::ClusterCidr);
    let World { lab, caller, .. } = &world;
    let kinds = [
        tcp_over_ipv4,
        tcp_over_ipv6,
        udp_over_ipv4,
        udp_over_ipv6,
        sctp_over_ipv4,
        sctp_over_ipv6,
    ];
    let services = kinds.map(|kind| {
        let service = Service::reached_by(&world, kind, &Way::EXTERNAL);
        let servers = service.serve_and_use(&world.endpoints());
        (service, servers)
    });
    let mut local = Service::reached_by(&world, tcp_over_ipv4, &Way::EXTERNAL);
    local.spec.external = Policy::Local;
    local.spec.source_ranges = vec!["192.0.2.0/24".into()];
    let _servers = local.serve_and_use(&[&world.local[0]]);
    let mut callers = Vec::new();
    let mut start = |service: &Service<'_>, client, way| {
        let caller = Caller::start(client, service.kind.protocol, service.at(way));
        callers.push((format!("{:?} by {way:?}", service.kind), caller));
    };
    for (place, (service, _)) in services.iter().enumerate() {
        start(service, caller, Way::ClusterIp);
        start(service, &lab.client, Way::EXTERNAL[place % 3]);
    }
    Way::EXTERNAL.iter().for_each(|way| start(&local, &lab.client, *way));
    let go_on = || callers.iter().for_each(|(_, caller)| caller.go_on_for(5));
    go_on();

    // Nothing has changed in the meantime.
    assert!(world.proxy.stop().success());
    go_on();
    world.proxy.start_again(&lab.node1);
    // A new Service shows that the first round is over.
    Service::new(&world, tcp_over_ipv4).use_endpoints(&[]);
    go_on();

    for (name, caller) in &callers {
        let results = caller.take_results();
        let asked = results.len();
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(errors.is_empty(), "{name}, asked {asked} times: {errors:?}");
    }
}

#[test]
fn what_changed_while_the_proxy_was_away_is_made_good() {
    let world = World::new("away", Settings::ClusterCidr);
    let kinds = [tcp_over_ipv4, udp_over_ipv6];
    let services = kinds.map(|kind| Service::serving(&world, kind, &world.endpoints()));
    assert!(world.proxy.stop().success());
    let callers = services.each_ref().map(|(service, _)| {
        Caller::start(&world.lab.client, service.kind.protocol, service.address)
    });
    for (service, _) in &services {
        service.apply(&[(&world.local[1], Condition::Ready), (&world.remote, Condition::Ready)]);
    }
    callers.iter().for_each(|caller| caller.go_on_for(20));

    world.proxy.start_again(&world.lab.node1);
    for ((service, _), caller) in services.iter().zip(callers) {
        service.use_endpoints(&[&world.local[1], &world.remote]);
        caller.go_on_for(20);
        let gone = world.local[0].address(service.kind.family).to_string();
        let results = caller.take_results();
        let answers: Vec<_> = results.into_iter().collect::<Result<_, _>>().unwrap();
        let servers: Vec<_> = answers.into_iter().map(|answer| answer.server).collect();
        assert!(servers.contains(&gone));
        assert!(!servers[servers.len() - 20..].contains(&gone), "{servers:?}");
    }
}
