//! Tests endpoints with hints for a zone or a node, and Services for local traffic that are open to
//! the outside.

use super::check::assert_served_by;
use super::service::Service;
use super::spec::{Hint, Policy, Way};
use super::world::{Settings, World, ZONE};
use super::{Kind, for_each_kind};
use crate::node::{Namespace, Pod};

for_each_kind! {
    endpoints_for_the_zone_serve_it: tcp_over_ipv4 udp_over_ipv6
}
for_each_kind! { endpoints_for_the_node_serve_it: tcp_over_ipv6 udp_over_ipv4 }
for_each_kind! {
    a_service_for_local_traffic_that_is_open_falls_back_to_remote_endpoints:
        tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4
}

fn endpoints_for_the_zone_serve_it(kind: Kind) {
    const HERE: &[Hint] = &[Hint::Zone(ZONE)];
    const THERE: &[Hint] = &[Hint::Zone("there")];
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let [first, second, third] = world.endpoints();
    let _servers = world.endpoints().map(|pod| service.serve(pod));

    service.use_hinted(&[(first, HERE), (second, THERE), (third, HERE)], &[first, third]);
    assert_all_served_by(world, &service, &[first, third]);
    // An endpoint without a hint makes the others' hints void.
    service.use_hinted(&[(first, HERE), (second, THERE), (third, &[])], &[first, second, third]);
    assert_all_served_by(world, &service, &[first, second, third]);
    // A zone without endpoints of its own is served by all.
    service.use_hinted(&[(first, THERE), (second, THERE)], &[first, second]);
    assert_all_served_by(world, &service, &[first, second]);
}

fn endpoints_for_the_node_serve_it(kind: Kind) {
    const THIS: &[Hint] = &[Hint::Node("node1"), Hint::Zone(ZONE)];
    const ZONE_ONLY: &[Hint] = &[Hint::Node("node2"), Hint::Zone(ZONE)];
    const ELSEWHERE: &[Hint] = &[Hint::Node("node2"), Hint::Zone("there")];
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let [first, second, third] = world.endpoints();
    let _servers = world.endpoints().map(|pod| service.serve(pod));

    service.use_hinted(&[(first, ZONE_ONLY), (second, ELSEWHERE), (third, THIS)], &[third]);
    assert_all_served_by(world, &service, &[third]);
    service.use_hinted(&[(first, ZONE_ONLY), (second, ELSEWHERE)], &[first]);
    assert_all_served_by(world, &service, &[first]);
}

fn a_service_for_local_traffic_that_is_open_falls_back_to_remote_endpoints(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let mut service = Service::reached_by(world, kind, &[Way::NodePort]);
    service.spec.internal = Policy::Local;
    let [first, second, third] = world.endpoints();
    let _servers = world.endpoints().map(|pod| service.serve(pod));
    let node_port = service.at(Way::NodePort);

    service.use_apart(&world.endpoints(), &[first, second], &world.endpoints());
    assert_served_by(kind, service.address, &world.caller, &[first, second]);
    assert_served_by(kind, node_port, &world.lab.client, &[first, second, third]);

    service.use_endpoints(&[third]);
    let clients: [&Namespace; 2] = [&world.caller, &world.lab.node1];
    for client in clients {
        assert_served_by(kind, service.address, client, &[third]);
    }
    assert_served_by(kind, node_port, &world.lab.client, &[third]);
}

fn assert_all_served_by(world: &World, service: &Service<'_>, pods: &[&Pod]) {
    assert_served_by(service.kind, service.address, &world.caller, pods);
    for way in [Way::NodePort, Way::LoadBalancer] {
        assert_served_by(service.kind, service.at(way), &world.lab.client, pods);
    }
}
