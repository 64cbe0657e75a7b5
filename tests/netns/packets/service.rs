//! Makes a test's Service: its manifest, its servers, and its state in the kernel.
//!
//! Takes a world and a kind. Returns addresses that no other test uses. Every call that changes the
//! manifest returns when `ipvsadm` shows the change, except [`Service::apply`].

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
    /// The cluster IP and the port.
    pub(super) address: SocketAddr,
    pub(super) spec: Spec,
    world: &'w World,
}

/// The destinations of a virtual server and their weights.
pub(super) type Destinations = BTreeMap<SocketAddr, u32>;

impl<'w> Service<'w> {
    /// Makes a Service with only a ClusterIP, which the proxy does not know yet.
    pub(super) fn new(world: &'w World, kind: Kind) -> Self {
        let spec = Spec::new(kind, world.number());
        Self { kind, address: SocketAddr::new(spec.cluster_ip, spec.port), spec, world }
    }

    /// Makes a Service with an internal traffic policy.
    pub(super) fn with_policy(world: &'w World, kind: Kind, policy: Policy) -> Self {
        let mut service = Self::new(world, kind);
        service.spec.internal = policy;
        service
    }

    /// Makes a Service with these kinds of address too, which the proxy does not know yet.
    pub(super) fn reached_by(world: &'w World, kind: Kind, ways: &[Way]) -> Self {
        let mut service = Self::new(world, kind);
        service.spec.open(ways);
        service
    }

    /// Makes a Service whose endpoints are these pods, with a server in each, all ready.
    pub(super) fn serving(world: &'w World, kind: Kind, pods: &[&Pod]) -> (Self, Vec<Server>) {
        let service = Self::new(world, kind);
        let servers = service.serve_and_use(pods);
        (service, servers)
    }

    /// Starts servers in these pods, and makes the pods the endpoints.
    pub(super) fn serve_and_use(&self, pods: &[&Pod]) -> Vec<Server> {
        let servers = pods.iter().map(|pod| self.serve(pod)).collect();
        self.use_endpoints(pods);
        servers
    }

    /// Starts a server in a pod, which answers with the pod's address as its name.
    pub(super) fn serve(&self, pod: &Pod) -> Server {
        let name = pod.address(self.kind.family).to_string();
        Server::start(pod, self.kind.protocol, self.endpoint(pod), &name)
    }

    /// Returns the pod that is a client and has no server.
    pub(super) fn caller(&self) -> &Pod {
        &self.world.caller
    }

    /// Returns the address and port of a pod's server.
    pub(super) fn endpoint(&self, pod: &Pod) -> SocketAddr {
        SocketAddr::new(pod.address(self.kind.family), self.spec.target)
    }

    /// Returns the Service's address of this kind; for a node port it is at the node's address on
    /// its network.
    pub(super) fn at(&self, way: Way) -> SocketAddr {
        let found = self.frontends().into_iter().find(|(known, _)| *known == way);
        found.unwrap_or_else(|| panic!("no {way:?}")).1
    }

    /// Returns the Service's node port at an address of the node.
    pub(super) fn node_port_at(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.at(Way::NodePort).port())
    }

    /// Returns all kinds and addresses of the Service.
    pub(super) fn frontends(&self) -> Vec<(Way, SocketAddr)> {
        self.spec.frontends(self.world.lab.node1.address(self.kind.family))
    }

    /// Makes these pods the endpoints, all of them ready.
    pub(super) fn use_endpoints(&self, pods: &[&Pod]) {
        let ready: Vec<_> = pods.iter().map(|pod| (*pod, Condition::Ready)).collect();
        self.use_conditions(&ready, pods);
    }

    /// Makes these pods the endpoints. New connections may go to the `usable` ones.
    pub(super) fn use_conditions(&self, endpoints: &[(&Pod, Condition)], usable: &[&Pod]) {
        self.apply(endpoints);
        self.wait_for(usable, usable);
    }

    /// Makes these pods the endpoints. Connections to the cluster IP may go to the `internal` ones,
    /// others to the `external` ones.
    pub(super) fn use_apart(&self, pods: &[&Pod], internal: &[&Pod], external: &[&Pod]) {
        self.apply(&pods.iter().map(|pod| (*pod, Condition::Ready)).collect::<Vec<_>>());
        self.wait_for(internal, external);
    }

    /// Makes these pods the endpoints, with hints. Connections may go to the `usable` ones.
    pub(super) fn use_hinted(&self, endpoints: &[(&Pod, &[Hint])], usable: &[&Pod]) {
        let json =
            endpoints.iter().map(|(pod, hints)| self.spec.endpoint(pod, Condition::Ready, hints));
        let manifest = self.spec.manifest(&json.collect::<Vec<_>>());
        self.world.proxy.apply(&self.spec.name, &manifest);
        self.wait_for(usable, usable);
    }

    /// Writes the manifest and does not wait.
    pub(super) fn apply(&self, endpoints: &[(&Pod, Condition)]) {
        let json = endpoints.iter().map(|(pod, is)| self.spec.endpoint(pod, *is, &[]));
        let manifest = self.spec.manifest(&json.collect::<Vec<_>>());
        self.world.proxy.apply(&self.spec.name, &manifest);
    }

    /// Removes the Service, and waits until none of its addresses is served.
    pub(super) fn withdraw(&self) {
        self.world.proxy.withdraw(&self.spec.name);
        self.wait(|servers| self.frontends().iter().all(|(_, at)| !servers.contains_key(at)));
    }

    /// Waits until an earlier address of the Service is not a virtual server any more.
    pub(super) fn wait_until_unserved(&self, address: SocketAddr) {
        self.wait(|servers| !servers.contains_key(&address));
    }

    /// Waits until new connections go to exactly these endpoints, at every kind of address.
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

    /// Waits until there is a virtual server at an address and its destinations fulfil the
    /// condition.
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

    /// Returns the destinations and weights at the cluster IP, as `ipvsadm` shows them.
    pub(super) fn destinations(&self) -> Option<Destinations> {
        self.destinations_at(self.address)
    }

    /// Returns the destinations and weights at another address.
    pub(super) fn destinations_at(&self, address: SocketAddr) -> Option<Destinations> {
        self.virtual_servers().remove(&address)
    }

    /// Returns every virtual server of the Service's protocol, as `ipvsadm` shows it.
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
