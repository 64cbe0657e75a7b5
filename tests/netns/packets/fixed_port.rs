//! Tests clients that use one port forever: connections of the kernel must not outlive the state
//! that they came from.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::check::{AT_ONCE, towards};
use super::service::Service;
use super::spec::{Condition, Policy, Way};
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Lab, Namespace, Pod};
use crate::traffic::{Flow, ask_from, wait_for_the_end_of_associations};

for_each_kind! {
    a_flow_follows_the_endpoint: udp_over_ipv4 udp_over_ipv6
}
for_each_kind! { a_flow_that_keeps_its_address_follows_the_endpoint: udp_over_ipv4 udp_over_ipv6 }
for_each_kind! { a_flow_is_served_when_the_first_endpoint_appears: udp_over_ipv4 udp_over_ipv6 }
for_each_kind! { a_flow_is_served_when_the_service_appears: udp_over_ipv4 udp_over_ipv6 }
for_each_kind! { a_new_association_from_the_same_port_follows_the_endpoint: sctp_over_ipv4 sctp_over_ipv6 }

fn a_flow_follows_the_endpoint(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let _servers = [service.serve(&world.remote), service.serve(&world.local[0])];
    service.use_endpoints(&[&world.local[0]]);
    let mut flows = Flows::default();
    flows.start_masqueraded(world, &service);
    flows.start("as itself", &world.caller, service.address, world.caller.address(kind.family));
    flows.assert_served_at_once(world, kind, &world.local[0], Instant::now());
    for pod in [&world.remote, &world.local[0]] {
        let since = Instant::now();
        service.apply(&[(pod, Condition::Ready)]);
        flows.assert_served_at_once(world, kind, pod, since);
    }
}

fn a_flow_that_keeps_its_address_follows_the_endpoint(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let mut service = Service::reached_by(world, kind, &Way::EXTERNAL);
    service.spec.external = Policy::Local;
    let [first, second] = &world.local;
    let _servers = [service.serve(first), service.serve(second)];
    service.use_endpoints(&[first]);
    let (outside, inside) = (Lab::client_address(kind.family), world.caller.address(kind.family));
    let mut flows = Flows::default();
    for way in Way::EXTERNAL {
        flows.start(&format!("{way:?}"), &world.lab.client, service.at(way), outside);
        flows.start(&format!("{way:?}, a pod"), &world.caller, service.at(way), inside);
    }
    flows.assert_served_at_once(world, kind, first, Instant::now());
    for pod in [second, first] {
        let since = Instant::now();
        service.apply(&[(pod, Condition::Ready)]);
        flows.assert_served_at_once(world, kind, pod, since);
    }
}

fn a_flow_is_served_when_the_first_endpoint_appears(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let _server = service.serve(&world.remote);
    service.use_endpoints(&[]);
    let mut flows = Flows::default();
    flows.start_masqueraded(world, &service);
    flows.start("as itself", &world.caller, service.address, world.caller.address(kind.family));
    for _ in 0..2 {
        flows.go_on();
        let since = Instant::now();
        service.apply(&[(&world.remote, Condition::Ready)]);
        flows.assert_served_at_once(world, kind, &world.remote, since);
        service.use_endpoints(&[]);
    }
}

fn a_flow_is_served_when_the_service_appears(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &Way::EXTERNAL);
    let _server = service.serve(&world.remote);
    // Another Service shows that the proxy is running.
    Service::new(world, kind).use_endpoints(&[]);
    let mut flows = Flows::default();
    flows.start_masqueraded(world, &service);
    flows.start("as itself", &world.caller, service.address, world.caller.address(kind.family));
    for _ in 0..2 {
        // The kernel remembers that these flows went another way.
        flows.go_on();
        let since = Instant::now();
        service.apply(&[(&world.remote, Condition::Ready)]);
        flows.assert_served_at_once(world, kind, &world.remote, since);
        service.withdraw();
    }
}

fn a_new_association_from_the_same_port_follows_the_endpoint(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let _servers = [service.serve(&world.remote), service.serve(&world.local[0])];
    for (place, (_, address)) in service.frontends().into_iter().enumerate() {
        for (client, ip) in [
            (&*world.caller, world.caller.address(kind.family)),
            (&world.lab.client, Lab::client_address(kind.family)),
        ] {
            let from = SocketAddr::new(ip, 7000 + u16::try_from(place).unwrap());
            for pod in [&world.remote, &world.local[0], &world.remote] {
                service.use_endpoints(&[pod]);
                let answer = ask_from(client, kind.protocol, from, address).unwrap();
                assert_eq!(answer.server, pod.address(kind.family).to_string(), "{address}");
                // A late packet of the closing handshake makes a tracked flow again after the proxy
                // has deleted it. IPVS then drops the next INIT, which is sent again after 3 s.
                wait_for_the_end_of_associations(client, from.port());
            }
        }
    }
}

/// The longest time that a client may be without an answer. On a real machine it is within a
/// second. Emulated, with every processor busy, 2.2 s were seen after a single change. A starting
/// proxy also reads the tracked flows of every family and protocol. A longer limit hides nothing: a
/// stale flow in use never ends, and no comparison removes it.
pub(super) const MOVED: Duration = AT_ONCE;

/// Flows to every kind of address.
#[derive(Default)]
pub(super) struct Flows {
    all: Vec<(String, Flow, Option<IpAddr>)>,
}

impl Flows {
    /// Starts flows of clients in all places, for which the endpoints see the node's address.
    pub(super) fn start_masqueraded(&mut self, world: &World, service: &Service<'_>) {
        for (way, address) in service.frontends() {
            let mut start = |who, client| {
                let flow = Flow::start(client, address);
                self.all.push((format!("{who} by {way:?}"), flow, None));
            };
            start("a host outside", &world.lab.client);
            if way != Way::ClusterIp {
                start("a pod", &world.caller);
            }
            if way == Way::NodePort {
                start("a distant pod", &world.distant);
                start("the node", &world.lab.node1);
            }
        }
    }

    /// Starts a flow of a client for which the endpoints see `source`.
    fn start(&mut self, name: &str, client: &Namespace, address: SocketAddr, source: IpAddr) {
        self.all.push((name.to_owned(), Flow::start(client, address), Some(source)));
    }

    /// Waits until each flow has sent a few more datagrams.
    pub(super) fn go_on(&self) {
        self.all.iter().for_each(|(_, flow, _)| flow.go_on_for(3));
    }

    /// Checks that the pod answers each flow soon enough after the change, and sees the right
    /// source.
    pub(super) fn assert_served_at_once(
        &self,
        world: &World,
        kind: Kind,
        pod: &Pod,
        since: Instant,
    ) {
        let server = pod.address(kind.family).to_string();
        let wanted = |source: Option<IpAddr>| source.unwrap_or_else(|| towards(world, kind, pod));
        loop {
            let lost: Vec<_> = self
                .all
                .iter()
                .map(|(name, flow, source)| (name, flow.last(), wanted(*source)))
                .filter(|(_, last, source)| {
                    last.as_ref()
                        .is_none_or(|last| last.server != server || last.source.ip() != *source)
                })
                .collect();
            if lost.is_empty() {
                println!("{server} serves every flow after {:?}", since.elapsed());
                break;
            }
            assert!(since.elapsed() < MOVED, "after {:?}, to {server}: {lost:?}", since.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
