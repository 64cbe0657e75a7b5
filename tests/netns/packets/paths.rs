//! Tests every path to a ClusterIP: each reaches every endpoint, and the server sees the right
//! source.
//!
//! The source of a masqueraded connection is the node's address on the device towards the endpoint.

use super::check::{assert_spread, towards};
use super::service::Service;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::traffic::{Protocol, source_of_reply};

for_each_kind! {
    a_pod_reaches_every_endpoint_as_itself,
    a_host_outside_reaches_every_endpoint_as_the_node,
    the_node_reaches_every_endpoint_from_the_device_towards_it,
    a_pod_reaches_itself_as_the_node_and_others_as_itself,
}

fn a_pod_reaches_every_endpoint_as_itself(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    let caller = world.caller.address(kind.family);
    assert_spread(&service, &world.caller, &world.endpoints(), |_| caller);
    if kind.protocol == Protocol::Udp {
        assert_eq!(source_of_reply(&world.caller, service.address).unwrap(), service.address);
    }
}

fn a_host_outside_reaches_every_endpoint_as_the_node(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    assert_spread(&service, &world.lab.client, &world.endpoints(), |pod| towards(world, kind, pod));
    if kind.protocol == Protocol::Udp {
        assert_eq!(source_of_reply(&world.lab.client, service.address).unwrap(), service.address);
    }
}

fn the_node_reaches_every_endpoint_from_the_device_towards_it(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    // The node's source is the service address itself, which no other host could answer.
    let route = world.lab.node1.run(&format!("ip route get {}", service.address.ip()));
    assert!(route.starts_with("local ") && route.contains("dev lo"), "{route}");
    assert_spread(&service, &world.lab.node1, &world.endpoints(), |pod| towards(world, kind, pod));
}

fn a_pod_reaches_itself_as_the_node_and_others_as_itself(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let itself = &world.local[0];
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    let (node, pod) = (world.lab.node1.gateway(kind.family), itself.address(kind.family));
    assert_spread(&service, itself, &world.endpoints(), |server| {
        if server.address(kind.family) == pod { node } else { pod }
    });
}
