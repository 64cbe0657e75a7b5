//! A ClusterIP Service for one test: its manifest, its servers, and what the kernel has of it.
//!
//! In: a world and a kind. Out: an address that no other test uses. Every call that changes the manifest
//! returns when `ipvsadm` shows the change.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Kind;
use super::world::World;
use crate::node::{Family, Pod};
use crate::traffic::{Protocol, Server};

const PORT: u16 = 80;
/// Far above what a busy emulated machine needs for a round.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Service with one port of one family.
pub(super) struct Service<'w> {
    pub(super) kind: Kind,
    /// Where it is reached.
    pub(super) address: SocketAddr,
    world: &'w World,
    policy: Policy,
    name: String,
    /// The port of its endpoints.
    target: u16,
}

/// Which endpoints a ClusterIP may use.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// `internalTrafficPolicy: Cluster`.
    Cluster,
    /// `internalTrafficPolicy: Local`.
    Local,
}

/// What an EndpointSlice says of an endpoint.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Ready,
    /// Neither ready nor on its way out.
    Unready,
    /// On its way out and still serving.
    Terminating,
}

impl<'w> Service<'w> {
    /// A Service that the proxy does not know yet.
    pub(super) fn new(world: &'w World, kind: Kind) -> Self {
        Self::with_policy(world, kind, Policy::Cluster)
    }

    /// The same with a traffic policy.
    pub(super) fn with_policy(world: &'w World, kind: Kind, policy: Policy) -> Self {
        let number = world.number();
        let address: IpAddr = match kind.family {
            Family::V4 => [10, 96, 0, number].into(),
            Family::V6 => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number.into()].into(),
        };
        Self {
            kind,
            address: SocketAddr::new(address, PORT),
            world,
            policy,
            name: format!("service-{number}"),
            target: 8000 + u16::from(number),
        }
    }

    /// A Service with these endpoints, all of which are ready and serve.
    pub(super) fn serving(world: &'w World, kind: Kind, pods: &[&Pod]) -> (Self, Vec<Server>) {
        let service = Self::new(world, kind);
        let servers = pods.iter().map(|pod| service.serve(pod)).collect();
        service.use_endpoints(pods);
        (service, servers)
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
        SocketAddr::new(pod.address(self.kind.family), self.target)
    }

    /// These pods become the endpoints, all of them ready.
    pub(super) fn use_endpoints(&self, pods: &[&Pod]) {
        let ready: Vec<_> = pods.iter().map(|pod| (*pod, Condition::Ready)).collect();
        self.use_conditions(&ready, pods);
    }

    /// These become the endpoints, of which new connections may go to the `usable` ones.
    pub(super) fn use_conditions(&self, endpoints: &[(&Pod, Condition)], usable: &[&Pod]) {
        self.apply(endpoints);
        let mut wanted: Vec<_> = usable.iter().map(|pod| self.endpoint(pod)).collect();
        wanted.sort();
        self.wait_until(|destinations| {
            let live = destinations.iter().filter(|(_, weight)| **weight > 0);
            live.map(|(address, _)| *address).eq(wanted.iter().copied())
        });
    }

    /// Writes the manifest and waits for nothing.
    pub(super) fn apply(&self, endpoints: &[(&Pod, Condition)]) {
        self.world.proxy.apply(&self.name, &self.manifest(endpoints));
    }

    /// Waits until the Service is programmed and its destinations, with their weights, are so.
    pub(super) fn wait_until(&self, is_so: impl Fn(&BTreeMap<SocketAddr, u32>) -> bool) {
        let start = Instant::now();
        while !self.destinations().as_ref().is_some_and(&is_so) {
            assert!(
                start.elapsed() < PATIENCE,
                "{} has {:?}; the proxy said:\n{}",
                self.address,
                self.destinations(),
                self.world.proxy.output()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The destinations and their weights, as `ipvsadm` has them.
    pub(super) fn destinations(&self) -> Option<BTreeMap<SocketAddr, u32>> {
        let option = match self.kind.protocol {
            Protocol::Tcp => "-t",
            Protocol::Udp => "-u",
            Protocol::Sctp => "--sctp-service",
        };
        let listed =
            self.world.lab.node1.attempt(&format!("ipvsadm -Ln {option} {}", self.address));
        if !listed.status.success() {
            return None;
        }
        let text = String::from_utf8(listed.stdout).unwrap();
        let destination = |line: &str| {
            let mut words = line.trim().strip_prefix("-> ")?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            Some((address, words.nth(1)?.parse().ok()?))
        };
        Some(text.lines().filter_map(destination).collect())
    }

    fn manifest(&self, endpoints: &[(&Pod, Condition)]) -> Value {
        let family = match self.kind.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let protocol = match self.kind.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        let policy = match self.policy {
            Policy::Cluster => "Cluster",
            Policy::Local => "Local",
        };
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(pod, condition)| {
                json!({
                    "addresses": [pod.address(self.kind.family)],
                    "nodeName": pod.node_name(),
                    "conditions": conditions(*condition),
                })
            })
            .collect();
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "test", "name": self.name},
            "spec": {
                "type": "ClusterIP",
                "ipFamilies": [family],
                "clusterIP": self.address.ip(),
                "clusterIPs": [self.address.ip()],
                "internalTrafficPolicy": policy,
                "ports": [{"protocol": protocol, "port": PORT, "targetPort": self.target}],
            },
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "test",
                "name": self.name,
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family,
            "ports": [{"protocol": protocol, "port": self.target}],
            "endpoints": endpoints,
        });
        json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]})
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // A shared world outlives the test that failed in it.
        if thread::panicking() {
            self.world.lab.node1.leave_state();
            eprintln!(
                "{:?} {}; the proxy said:\n{}",
                self.kind,
                self.address,
                self.world.proxy.output()
            );
        }
    }
}

fn conditions(condition: Condition) -> Value {
    let (ready, serving, terminating) = match condition {
        Condition::Ready => (true, true, false),
        Condition::Unready => (false, false, false),
        Condition::Terminating => (false, true, true),
    };
    json!({"ready": ready, "serving": serving, "terminating": terminating})
}
