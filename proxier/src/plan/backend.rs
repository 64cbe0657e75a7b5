//! Which endpoints serve a Service port.
//!
//! In: the Service's slices, the port's name and protocol, this node's name and zone. Out: the
//! chosen endpoints, ordered by address. Never: connection counts, weights, the kernel: a leaving
//! endpoint is simply not chosen.
//!
//! "Usable" means ready, or, where no ready endpoint qualifies, serving and terminating
//! (KEP-1669). Sources: spec 5 and 6.3.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::local_node::LocalNode;
use super::settings::Compatibility;
use crate::model::{Endpoint, Family, Protocol, Service, ServicePort, Slice, TrafficPolicy};
use crate::sorted::SortedSet;

/// For which traffic a Service would have endpoints on this node only, and has none here but some
/// elsewhere (spec 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// For traffic from inside the cluster.
    pub internal: bool,
    /// For traffic from outside.
    pub external: bool,
}

impl NoLocalEndpoints {
    pub(super) fn join(&mut self, other: Self) {
        self.internal |= other.internal;
        self.external |= other.external;
    }
}

/// The ports of a Service's slices of one family, by what a port of the Service finds them: a Service may have
/// thousands of ports, and each would else look through all of them.
#[derive(Debug)]
pub(crate) struct SlicePorts<'a> {
    family: Family,
    ports: BTreeMap<(Protocol, &'a str), Vec<(&'a Slice, u16)>>,
}

impl<'a> SlicePorts<'a> {
    /// Takes the slices in the order of their names.
    pub(crate) fn new(slices: &[&'a Slice], family: Family) -> Self {
        let mut ports: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for slice in slices.iter().filter(|slice| slice.family == family) {
            for port in &slice.ports {
                ports.entry((port.protocol, &*port.name)).or_default().push((*slice, port.port));
            }
        }
        Self { family, ports }
    }

    /// Those of this name and protocol, in the order of the slices.
    fn of(&self, port: &'a ServicePort) -> &[(&'a Slice, u16)] {
        self.ports.get(&(port.protocol, &*port.name)).map_or(&[], Vec::as_slice)
    }
}

/// All endpoints of one Service port in one family, whatever their condition.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    family: Family,
    endpoints: BTreeMap<SocketAddr, &'a Endpoint>,
}

impl<'a> Candidates<'a> {
    /// Merges the slices' endpoints for a port. Of two records of one address a terminating one
    /// gives way; otherwise the later slice by name wins, where upstream leaves it to chance.
    pub(crate) fn gather(slices: &SlicePorts<'a>, port: &'a ServicePort) -> Self {
        let mut endpoints = BTreeMap::new();
        for (slice, number) in slices.of(port) {
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, *number);
                if !endpoint.terminating || !endpoints.contains_key(&address) {
                    endpoints.insert(address, endpoint);
                }
            }
        }
        Self { family: slices.family, endpoints }
    }

    /// Whose endpoints these are.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Endpoints on this node in any condition: they may come back to themselves through the
    /// Service (hairpin) as long as they run.
    pub(crate) fn on_node(&self, here: &LocalNode<'_>) -> impl Iterator<Item = SocketAddr> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| here.is_local(endpoint))
            .map(|(address, _)| *address)
    }

    /// The addresses of ready endpoints on this node, which health checks count.
    pub(crate) fn ready_on_node(&self, here: &LocalNode<'_>) -> impl Iterator<Item = IpAddr> {
        self.endpoints
            .values()
            .filter(|endpoint| here.is_local(endpoint) && endpoint.ready)
            .map(|endpoint| endpoint.address)
    }

    /// The endpoints of the cluster IP, by the internal traffic policy.
    ///
    /// `Quirk:` a Service with local internal policy that is reachable from outside falls back to
    /// endpoints anywhere when none is local (spec 5.3, Q-1), unless the policy is strict.
    pub(crate) fn internal(
        &self,
        service: &Service,
        port: &ServicePort,
        here: &LocalNode<'_>,
        policy: Compatibility,
    ) -> SortedSet<SocketAddr> {
        match service.internal_policy {
            TrafficPolicy::Cluster => self.cluster(here),
            TrafficPolicy::Local => {
                let local = self.local(here);
                let falls_back = policy == Compatibility::AsUpstream
                    && is_externally_accessible(service, port, self.family);
                if local.is_empty() && falls_back { self.cluster(here) } else { local }
            }
        }
    }

    /// The endpoints of external IPs, load-balancer IPs and node ports, by the external traffic
    /// policy. Where no endpoint is local, those anywhere serve clients in the cluster.
    pub(crate) fn external(
        &self,
        service: &Service,
        port: &ServicePort,
        here: &LocalNode<'_>,
    ) -> SortedSet<SocketAddr> {
        if !is_externally_accessible(service, port, self.family) {
            return SortedSet::default();
        }
        match service.external_policy {
            TrafficPolicy::Cluster => self.cluster(here),
            TrafficPolicy::Local => {
                let local = self.local(here);
                if local.is_empty() { self.cluster(here) } else { local }
            }
        }
    }

    /// Whether a policy asks for endpoints of this node, and there are none here but some elsewhere.
    ///
    /// `Quirk:` both policies count as soon as one of them comes to nothing (spec 5.3).
    pub(crate) fn lacks_local(
        &self,
        service: &Service,
        port: &ServicePort,
        here: &LocalNode<'_>,
    ) -> NoLocalEndpoints {
        let internal = service.internal_policy == TrafficPolicy::Local;
        let external = service.external_policy == TrafficPolicy::Local
            && is_externally_accessible(service, port, self.family);
        let is_usable = |e: &Endpoint| e.ready || (e.serving && e.terminating);
        let lacks = (internal || external)
            && self.endpoints.values().any(|endpoint| is_usable(endpoint))
            && self.local(here).is_empty();
        NoLocalEndpoints { internal: lacks && internal, external: lacks && external }
    }

    /// Usable endpoints anywhere, topology hints honoured for ready ones.
    fn cluster(&self, here: &LocalNode<'_>) -> SortedSet<SocketAddr> {
        let topology = self.topology(here);
        let chosen = self.select(|e| e.ready && topology.admits(e, here));
        if chosen.is_empty() { self.select(|e| e.serving && e.terminating) } else { chosen }
    }

    /// Usable endpoints on this node; hints have no say.
    fn local(&self, here: &LocalNode<'_>) -> SortedSet<SocketAddr> {
        let ready = self.select(|e| here.is_local(e) && e.ready);
        if ready.is_empty() {
            self.select(|e| here.is_local(e) && e.serving && e.terminating)
        } else {
            ready
        }
    }

    fn select(&self, admit: impl Fn(&Endpoint) -> bool) -> SortedSet<SocketAddr> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| admit(endpoint))
            .map(|(address, _)| *address)
            .collect()
    }

    /// Hints count only if every ready endpoint has them and one of them names this place.
    fn topology(&self, here: &LocalNode<'_>) -> Topology {
        let ready = || self.endpoints.values().filter(|endpoint| endpoint.ready);
        if ready().next().is_none() {
            return Topology::Anywhere;
        }
        if ready().all(|e| !e.node_hints().is_empty())
            && ready().any(|e| Topology::SameNode.admits(e, here))
        {
            return Topology::SameNode;
        }
        if ready().all(|e| !e.zone_hints().is_empty())
            && ready().any(|e| Topology::SameZone.admits(e, here))
        {
            return Topology::SameZone;
        }
        Topology::Anywhere
    }
}

/// Which ready endpoints topology hints leave (KEP-2433, KEP-3015).
#[derive(Clone, Copy, Debug)]
enum Topology {
    Anywhere,
    SameNode,
    SameZone,
}

impl Topology {
    fn admits(self, endpoint: &Endpoint, here: &LocalNode<'_>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::SameNode => endpoint.node_hints().iter().any(|hint| &**hint == here.node),
            Self::SameZone => here
                .zone
                .is_some_and(|zone| endpoint.zone_hints().iter().any(|hint| &**hint == zone)),
        }
    }
}

/// True if the port can be reached from outside the cluster by an address of its own family.
fn is_externally_accessible(service: &Service, port: &ServicePort, family: Family) -> bool {
    let has = |addresses: &[IpAddr]| addresses.iter().any(|a| Family::of(*a) == family);
    port.node_port.is_some() || has(&service.load_balancer_ips) || has(&service.external_ips)
}

#[cfg(test)]
mod tests;
