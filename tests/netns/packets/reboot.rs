//! Tests a boot of the node: the kernel has no state, and clients send already when the proxy
//! starts.

use std::time::Instant;

use super::fixed_port::Flows;
use super::kind::{
    sctp_over_ipv4, sctp_over_ipv6, tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6,
};
use super::service::Service;
use super::spec::Way;
use super::world::{Settings, World};
use crate::node::Node;
use crate::traffic::{Caller, Protocol};

#[test]
fn after_a_boot_everyone_is_served_and_stays_so() {
    let world = World::new("boot", Settings::ClusterCidr);
    let kinds = [
        tcp_over_ipv4,
        tcp_over_ipv6,
        udp_over_ipv4,
        udp_over_ipv6,
        sctp_over_ipv4,
        sctp_over_ipv6,
    ];
    let endpoints = [&world.remote];
    let services = kinds.map(|kind| {
        let service = Service::reached_by(&world, kind, &Way::EXTERNAL);
        let servers = service.serve_and_use(&endpoints);
        (service, servers)
    });
    assert!(world.proxy.stop().success());
    forget_everything(&world.lab.node1);

    let mut flows: Vec<(&Service<'_>, Flows)> = Vec::new();
    let mut callers = Vec::new();
    for (place, (service, _)) in services.iter().enumerate() {
        if service.kind.protocol == Protocol::Udp {
            let mut of_service = Flows::default();
            of_service.start_masqueraded(&world, service);
            flows.push((service, of_service));
        }
        let way = Way::ALL[place % 4];
        let caller = Caller::start(&world.lab.client, service.kind.protocol, service.at(way));
        callers.push((service, way, caller));
    }
    flows.iter().for_each(|(_, flows)| flows.go_on());

    world.proxy.start_again(&world.lab.node1);
    services.iter().for_each(|(service, _)| service.use_endpoints(&endpoints));
    let since = Instant::now();
    for (service, flows) in &flows {
        flows.assert_served_at_once(&world, service.kind, &world.remote, since);
    }
    for (_, _, caller) in &callers {
        caller.go_on_for(1);
        caller.take_results();
    }
    callers.iter().for_each(|(_, _, caller)| caller.go_on_for(5));
    for (service, way, caller) in &callers {
        let errors: Vec<_> = caller.take_results().into_iter().filter_map(Result::err).collect();
        assert!(errors.is_empty(), "{:?} by {way:?}: {errors:?}", service.kind);
    }
}

/// Removes the kernel's state, as a boot does.
fn forget_everything(node: &Node) {
    node.run(
        "ipvsadm -C
        for iptables in iptables ip6tables; do
            for table in nat filter; do $iptables -t $table -F; $iptables -t $table -X; done
        done
        ipset destroy
        ip link delete kube-ipvs0
        conntrack -F",
    );
}
