//! Tests `externalTrafficPolicy: Local`.
//!
//! Clients from outside keep their address and reach only endpoints of this node. If it has none,
//! clients in the cluster are served by other nodes' endpoints.

use std::net::{IpAddr, SocketAddr};

use super::check::{assert_dropped, assert_spread_at};
use super::service::Service;
use super::spec::{Policy, Way};
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Lab, Namespace};
use crate::traffic::ask;

for_each_kind! {
    a_client_keeps_its_address_and_meets_local_endpoints_only,
    without_a_local_endpoint_the_cluster_itself_is_served_by_remote_ones,
}

for_each_kind! { a_host_outside_is_served_nothing_without_a_local_endpoint: tcp_over_ipv4 udp_over_ipv6 }

for_each_kind! { a_pod_reaches_itself_from_outside: tcp_over_ipv4 udp_over_ipv6 }

fn a_client_keeps_its_address_and_meets_local_endpoints_only(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, locals) = (local(world, kind), [&world.local[0], &world.local[1]]);
    let _servers = world.endpoints().map(|pod| service.serve(pod));
    service.use_apart(&world.endpoints(), &world.endpoints(), &locals);
    for way in Way::EXTERNAL {
        let address = service.at(way);
        for (client, source) in clients(world, kind, address) {
            assert_spread_at(kind, address, client, &locals, 1, |_| source);
        }
        let outside = Lab::client_address(kind.family);
        assert_spread_at(kind, address, &world.lab.client, &locals, 2, |_| outside);
    }
}

fn without_a_local_endpoint_the_cluster_itself_is_served_by_remote_ones(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = local(world, kind);
    let _servers = service.serve_and_use(&[&world.remote]);
    for way in Way::EXTERNAL {
        let address = service.at(way);
        for (client, source) in clients(world, kind, address) {
            assert_spread_at(kind, address, client, &[&world.remote], 1, |_| source);
        }
    }
}

fn a_host_outside_is_served_nothing_without_a_local_endpoint(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = local(world, kind);
    let _servers = [service.serve(&world.remote), service.serve(&world.local[0])];
    service.use_endpoints(&[&world.remote]);
    for way in Way::EXTERNAL {
        // The answer comes from the endpoint's own address.
        assert_dropped(&world.lab.client, kind, service.at(way));
    }
    let locals = [&world.local[0]];
    service.use_apart(
        &[&world.remote, &world.local[0]],
        &[&world.remote, &world.local[0]],
        &locals,
    );
    for way in Way::EXTERNAL {
        ask(&world.lab.client, kind.protocol, service.at(way)).unwrap();
    }
}

fn a_pod_reaches_itself_from_outside(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, itself) = (local(world, kind), &world.local[0]);
    let _servers = service.serve_and_use(&[itself]);
    let node = world.lab.node1.gateway(kind.family);
    for way in Way::EXTERNAL {
        assert_spread_at(kind, service.at(way), itself, &[itself], 1, |_| node);
    }
}

/// Returns a Service with this policy and every kind of address.
fn local(world: &World, kind: Kind) -> Service<'_> {
    let mut service = Service::reached_by(world, kind, &Way::EXTERNAL);
    service.spec.external = Policy::Local;
    service
}

/// Returns the clients in the cluster, and the source that an endpoint sees for each. The node uses
/// its own address as the source of what it sends to that address.
fn clients(world: &World, kind: Kind, address: SocketAddr) -> [(&Namespace, IpAddr); 2] {
    [(&world.caller, world.caller.address(kind.family)), (&world.lab.node1, address.ip())]
}
