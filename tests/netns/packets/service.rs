//! A Service of a test: its manifest, its servers, and what the kernel has of it.
//!
//! In: a world and a kind. Out: addresses that no other test uses. Every call that changes the manifest
//! returns when `ipvsadm` shows the change.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use super::Kind;
use super::spec::{Condition, Hint, Policy, Spec, Way};
use super::world::World;
use crate::node::Pod;
use crate::proxy::{PATIENCE, until_at};
use crate::traffic::{Protocol, Server};

/// A Service with one port of one family.
pub(super) struct Service<'w> {
    pub(super) kind: Kind,
    /// Where it is reached inside the cluster.
    pub(super) address: SocketAddr,
    pub(super) spec: Spec,
    world: &'w World,
}

/// The destinations of a virtual server and their weights.
pub(super) type Destinations = BTreeMap<SocketAddr, u32>;

impl<'w> Service<'w> {
    /// A Service that the proxy does not know yet, with a ClusterIP only.
    pub(super) fn new(world: &'w World, kind: Kind) -> Self {
        let spec = Spec::new(kind, world.number());
        Self { kind, address: SocketAddr::new(spec.cluster_ip, spec.port), spec, world }
    }

    /// The same with a traffic policy.
    pub(super) fn with_policy(world: &'w World, kind: Kind, policy: Policy) -> Self {
        let mut service = Self::new(world, kind);
        service.spec.internal = policy;
        service
    }

    /// A Service that the proxy does not know yet, with a ClusterIP and these ways.
    pub(super) fn reached_by(world: &'w World, kind: Kind, ways: &[Way]) -> Self {
        let mut service = Self::new(world, kind);
        service.spec.open(ways);
        service
    }

    /// A Service with these endpoints, all of which are ready and serve.
    pub(super) fn serving(world: &'w World, kind: Kind, pods: &[&Pod]) -> (Self, Vec<Server>) {
        let service = Self::new(world, kind);
        let servers = service.serve_and_use(pods);
        (service, servers)
    }

    /// These pods serve, and become its endpoints.
    pub(super) fn serve_and_use(&self, pods: &[&Pod]) -> Vec<Server> {
        let servers = pods.iter().map(|pod| self.serve(pod)).collect();
        self.use_endpoints(pods);
        servers
    }

    /// Starts a server in a pod that names itself by the pod's address.
    pub(super) fn serve(&self, pod: &Pod) -> Server {
        let name = pod.address(self.kind.family).to_string();
        Server::start(pod, self.kind.protocol, self.endpoint(pod), &name)
    }

    /// The pod that calls and serves nothing.
    pub(super) fn caller(&self) -> &Pod {
        &self.world.caller
    }

    /// Where a pod serves.
    pub(super) fn endpoint(&self, pod: &Pod) -> SocketAddr {
        SocketAddr::new(pod.address(self.kind.family), self.spec.target)
    }

    /// Where it is reached by one of its ways; a node port at the address that the neighbours know.
    pub(super) fn at(&self, way: Way) -> SocketAddr {
        let found = self.frontends().into_iter().find(|(known, _)| *known == way);
        found.unwrap_or_else(|| panic!("no {way:?}")).1
    }

    /// Its node port at an address of the node.
    pub(super) fn node_port_at(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.at(Way::NodePort).port())
    }

    /// Every way by which it is reached, and where.
    pub(super) fn frontends(&self) -> Vec<(Way, SocketAddr)> {
        self.spec.frontends(self.world.lab.node1.address(self.kind.family))
    }

    /// These pods become the endpoints, all of them ready.
    pub(super) fn use_endpoints(&self, pods: &[&Pod]) {
        let ready: Vec<_> = pods.iter().map(|pod| (*pod, Condition::Ready)).collect();
        self.use_conditions(&ready, pods);
    }

    /// These become the endpoints, of which new connections may go to the `usable` ones.
    pub(super) fn use_conditions(&self, endpoints: &[(&Pod, Condition)], usable: &[&Pod]) {
        self.apply(endpoints);
        self.wait_for(usable, usable);
    }

    /// These become the endpoints; connections to the cluster IP may go to the `internal` ones, others to the
    /// `external` ones.
    pub(super) fn use_apart(&self, pods: &[&Pod], internal: &[&Pod], external: &[&Pod]) {
        self.apply(&pods.iter().map(|pod| (*pod, Condition::Ready)).collect::<Vec<_>>());
        self.wait_for(internal, external);
    }

    /// These become the endpoints, with hints, of which connections may go to the `usable` ones.
    pub(super) fn use_hinted(&self, endpoints: &[(&Pod, &[Hint])], usable: &[&Pod]) {
        let json =
            endpoints.iter().map(|(pod, hints)| self.spec.endpoint(pod, Condition::Ready, hints));
        let manifest = self.spec.manifest(&json.collect::<Vec<_>>());
        self.world.proxy.apply(&self.spec.name, &manifest);
        self.wait_for(usable, usable);
    }

    /// Writes the manifest and waits for nothing.
    pub(super) fn apply(&self, endpoints: &[(&Pod, Condition)]) {
        let json = endpoints.iter().map(|(pod, is)| self.spec.endpoint(pod, *is, &[]));
        let manifest = self.spec.manifest(&json.collect::<Vec<_>>());
        self.world.proxy.apply(&self.spec.name, &manifest);
    }

    /// Takes the Service away, and waits until none of its addresses is served.
    pub(super) fn withdraw(&self) {
        self.world.proxy.withdraw(&self.spec.name);
        self.wait(|servers| self.frontends().iter().all(|(_, at)| !servers.contains_key(at)));
    }

    /// Waits until an address that it had is no virtual server any more.
    pub(super) fn wait_until_unserved(&self, address: SocketAddr) {
        self.wait(|servers| !servers.contains_key(&address));
    }

    /// Waits until new connections can go to these endpoints and no others, by every way.
    fn wait_for(&self, internal: &[&Pod], external: &[&Pod]) {
        let sorted = |pods: &[&Pod]| {
            let mut wanted: Vec<_> = pods.iter().map(|pod| self.endpoint(pod)).collect();
            wanted.sort();
            wanted
        };
        let (internal, external) = (sorted(internal), sorted(external));
        self.wait(|servers| {
            self.frontends().into_iter().all(|(way, at)| {
                let wanted = if way == Way::ClusterIp { &internal } else { &external };
                servers.get(&at).is_some_and(|destinations| {
                    let live = destinations.iter().filter(|(_, weight)| **weight > 0);
                    live.map(|(address, _)| address).eq(wanted)
                })
            })
        });
    }

    /// Waits until the virtual server at an address is programmed and its destinations, with their weights, are so.
    pub(super) fn wait_until_at(&self, at: SocketAddr, is_so: impl Fn(&Destinations) -> bool) {
        self.wait(|servers| servers.get(&at).is_some_and(&is_so));
    }

    fn wait(&self, is_so: impl Fn(&BTreeMap<SocketAddr, Destinations>) -> bool) {
        let found = || is_so(&self.virtual_servers()).then_some(());
        assert!(
            until_at(&self.world.lab.node1, PATIENCE, found).is_some(),
            "{} has {:?}; the proxy said:\n{}",
            self.spec.name,
            self.virtual_servers(),
            self.world.proxy.output()
        );
    }

    /// The destinations and their weights at the cluster IP, as `ipvsadm` has them.
    pub(super) fn destinations(&self) -> Option<Destinations> {
        self.destinations_at(self.address)
    }

    /// The same at another address.
    pub(super) fn destinations_at(&self, address: SocketAddr) -> Option<Destinations> {
        self.virtual_servers().remove(&address)
    }

    /// Every virtual server of the Service's protocol, as `ipvsadm` has it.
    fn virtual_servers(&self) -> BTreeMap<SocketAddr, Destinations> {
        let protocol = match self.kind.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        let mut servers: BTreeMap<_, Destinations> = BTreeMap::new();
        let mut current = None;
        for line in self.world.lab.node1.run("ipvsadm -Ln").lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["->", address, _, weight, ..] => {
                    let Some(of) = current.and_then(|at| servers.get_mut(&at)) else { continue };
                    of.insert(address.parse().unwrap(), weight.parse().unwrap());
                }
                [of, address, ..] if of == protocol => {
                    current = Some(address.parse().unwrap());
                    servers.insert(address.parse().unwrap(), Destinations::new());
                }
                _ => current = None,
            }
        }
        servers
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // A shared world outlives the test that failed in it.
        if thread::panicking() {
            self.world.lab.node1.leave_state();
            eprintln!(
                "{:?} {:?}; the proxy said:\n{}",
                self.kind,
                self.frontends(),
                self.world.proxy.output()
            );
        }
    }
}
