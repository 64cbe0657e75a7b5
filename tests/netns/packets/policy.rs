//! Tests to which endpoints traffic goes: traffic policy and the endpoints' conditions.

use std::io::ErrorKind;

use super::service::Service;
use super::spec::{Condition, Policy};
use super::world::{Settings, World};
use super::{Kind, check, for_each_kind};
use crate::node::Pod;
use crate::traffic::ask;

for_each_kind! {
    a_service_for_local_traffic_uses_no_endpoint_of_another_node: tcp_over_ipv4 tcp_over_ipv6
}
for_each_kind! { a_terminating_endpoint_serves_only_when_none_is_ready: tcp_over_ipv4 tcp_over_ipv6 }
for_each_kind! { an_endpoint_serves_while_it_is_ready: tcp_over_ipv4 udp_over_ipv6 }

fn a_service_for_local_traffic_uses_no_endpoint_of_another_node(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::with_policy(world, kind, Policy::Local);
    let _servers = world.endpoints().map(|pod| service.serve(pod));
    let everywhere = world.endpoints().map(|pod| (pod, Condition::Ready));
    let (local, remote) = everywhere.split_at(2);

    service.use_conditions(&everywhere, &[local[0].0, local[1].0]);
    assert_served_by(&service, &[local[0].0, local[1].0]);

    service.use_conditions(remote, &[]);
    let error = ask(&world.caller, kind.protocol, service.address).expect_err("none is local");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

fn a_terminating_endpoint_serves_only_when_none_is_ready(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::new(world, kind);
    let _servers = world.endpoints().map(|pod| service.serve(pod));
    let [first, second, third] = world.endpoints();
    let with = |third_is| {
        [(first, Condition::Terminating), (second, Condition::Unready), (third, third_is)]
    };

    service.use_conditions(&with(Condition::Ready), &[third]);
    assert_served_by(&service, &[third]);
    service.use_conditions(&with(Condition::Terminating), &[first, third]);
    assert_served_by(&service, &[first, third]);
    service.use_conditions(&with(Condition::Unready), &[first]);
    assert_served_by(&service, &[first]);
}

fn an_endpoint_serves_while_it_is_ready(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    let [first, second, third] = world.endpoints();
    let with =
        |third_is| [(first, Condition::Ready), (second, Condition::Ready), (third, third_is)];

    assert_served_by(&service, &[first, second, third]);
    service.use_conditions(&with(Condition::Unready), &[first, second]);
    assert_served_by(&service, &[first, second]);
    service.use_conditions(&with(Condition::Ready), &[first, second, third]);
    assert_served_by(&service, &[first, second, third]);
}

/// Checks that each of these pods answers a pod, and no other server does.
fn assert_served_by(service: &Service<'_>, pods: &[&Pod]) {
    check::assert_served_by(service.kind, service.address, service.caller(), pods);
}
