//! Tests which connections are masqueraded under settings other than a `clusterCIDR`.

use super::check::{assert_spread, towards};
use super::service::Service;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Lab, Namespace};

for_each_kind! {
    everyone_is_seen_as_the_node_if_everything_is_masqueraded,
    without_local_detection_only_the_node_is_masqueraded,
}

fn everyone_is_seen_as_the_node_if_everything_is_masqueraded(kind: Kind) {
    let world = &World::shared(Settings::MasqueradeAll);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    let clients: [&Namespace; 4] =
        [&world.caller, &world.local[0], &world.lab.client, &world.lab.node1];
    for client in clients {
        assert_spread(&service, client, &world.endpoints(), |pod| towards(world, kind, pod));
    }
}

fn without_local_detection_only_the_node_is_masqueraded(kind: Kind) {
    let world = &World::shared(Settings::NoDetection);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    assert_spread(&service, &world.lab.node1, &world.endpoints(), |pod| towards(world, kind, pod));
    let caller = world.caller.address(kind.family);
    assert_spread(&service, &world.caller, &world.endpoints(), |_| caller);

    // The answer of a remote endpoint would not come back through the node.
    let local = [&world.local[0], &world.local[1]];
    let (service, _servers) = Service::serving(world, kind, &local);
    let client = Lab::client_address(kind.family);
    assert_spread(&service, &world.lab.client, &local, |_| client);
}
