//! The proxy goes away and comes back under traffic of every kind, and nobody notices.

use super::kind::{
    sctp_over_ipv4, sctp_over_ipv6, tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6,
};
use super::service::{Condition, Service};
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
    let services = kinds.map(|kind| Service::serving(&world, kind, &world.endpoints()));
    let callers = services.each_ref().map(|(service, _)| {
        let protocol = service.kind.protocol;
        [
            Caller::start(caller, protocol, service.address),
            Caller::start(&lab.client, protocol, service.address),
        ]
    });
    let callers = callers.as_flattened();
    callers.iter().for_each(|caller| caller.go_on_for(10));

    // Nothing has changed in the meantime.
    assert!(world.proxy.stop().success());
    callers.iter().for_each(|caller| caller.go_on_for(10));
    world.proxy.start_again(&lab.node1);
    // A new Service shows that the first round is over.
    Service::new(&world, tcp_over_ipv4).use_endpoints(&[]);
    callers.iter().for_each(|caller| caller.go_on_for(10));

    for (place, caller) in callers.iter().enumerate() {
        let results = caller.take_results();
        let asked = results.len();
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        let service = &services[place / 2].0;
        assert!(errors.is_empty(), "{:?}, asked {asked} times: {errors:?}", service.kind);
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
