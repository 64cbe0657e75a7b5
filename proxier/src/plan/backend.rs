//! The choice of the endpoints that serve a Service port.
//!
//! Takes the Service's slices, the port's name and protocol, and this node's name and zone. Gives the chosen
//! endpoints, sorted by address. Does not look at connection counts, weights or the kernel: an endpoint that
//! leaves is simply not chosen.
//!
//! An endpoint is usable if it is ready. If no ready endpoint qualifies, one that is serving and terminating
//! is usable too (KEP-1669). Sources: spec 5 and 6.3.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::local_node::LocalNode;
use super::settings::Compatibility;
use crate::model::{Endpoint, Family, Protocol, Service, ServicePort, Slice, TrafficPolicy};
use crate::sorted::SortedSet;

/// The kinds of traffic for which a Service should use endpoints on this node, and has usable ones on other
/// nodes only (spec 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// True for traffic from inside the cluster.
    pub internal: bool,
    /// True for traffic from outside.
    pub external: bool,
}

impl NoLocalEndpoints {
    pub(super) fn join(&mut self, other: Self) {
        self.internal |= other.internal;
        self.external |= other.external;
    }
}

/// The ports of a Service's slices in one family, indexed by protocol and name. Without the index, each of a
/// Service's ports, which may be thousands, would search all slices.
#[derive(Debug)]
pub(crate) struct SlicePorts<'a> {
    family: Family,
    ports: BTreeMap<(Protocol, &'a str), Vec<(&'a Slice, u16)>>,
}

impl<'a> SlicePorts<'a> {
    /// Indexes the slices, which must be sorted by name.
    pub(crate) fn new(slices: &[&'a Slice], family: Family) -> Self {
        let mut ports: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for slice in slices.iter().filter(|slice| slice.family == family) {
            for port in &slice.ports {
                ports.entry((port.protocol, &*port.name)).or_default().push((*slice, port.port));
            }
        }
        Self { family, ports }
    }

    /// Returns the slice ports with the Service port's name and protocol, in the order of the slices.
    fn of(&self, port: &'a ServicePort) -> &[(&'a Slice, u16)] {
        self.ports.get(&(port.protocol, &*port.name)).map_or(&[], Vec::as_slice)
    }
}

/// The endpoints of one Service port in one family, in any condition.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    family: Family,
    endpoints: BTreeMap<SocketAddr, &'a Endpoint>,
}

impl<'a> Candidates<'a> {
    /// Merges the endpoints of the slices for one port. If an address occurs several times, a terminating
    /// record gives way. Otherwise the later slice by name wins; upstream's choice is random.
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

    /// Returns the family of the endpoints.
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Returns the endpoints on this node in any condition. As long as they run, they may connect to
    /// themselves through the Service (hairpin).
    pub(crate) fn on_node(&self, here: &LocalNode<'_>) -> impl Iterator<Item = SocketAddr> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| here.is_local(endpoint))
            .map(|(address, _)| *address)
    }

    /// Returns the addresses of ready endpoints on this node, which health checks count.
    pub(crate) fn ready_on_node(&self, here: &LocalNode<'_>) -> impl Iterator<Item = IpAddr> {
        self.endpoints
            .values()
            .filter(|endpoint| here.is_local(endpoint) && endpoint.ready)
            .map(|endpoint| endpoint.address)
    }

    /// Returns the endpoints of the cluster IP, by the internal traffic policy.
    ///
    /// `Quirk:` a Service that is reachable from outside falls back to endpoints on any node if its internal
    /// policy is `Local` and no endpoint is local (spec 5.3, Q-1). Strict compatibility does not fall back.
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

    /// Returns the endpoints of external IPs, load-balancer IPs and node ports, by the external traffic
    /// policy. If no endpoint is local, endpoints on any node serve clients in the cluster.
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

    /// Returns the kinds of traffic whose policy asks for endpoints of this node, if usable ones are on other
    /// nodes only.
    ///
    /// `Quirk:` with both policies `Local`, both kinds count as soon as no endpoint is local (spec 5.3).
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

    /// Returns the usable endpoints on any node. Topology hints apply to ready ones.
    fn cluster(&self, here: &LocalNode<'_>) -> SortedSet<SocketAddr> {
        let topology = self.topology(here);
        let chosen = self.select(|e| e.ready && topology.admits(e, here));
        if chosen.is_empty() { self.select(|e| e.serving && e.terminating) } else { chosen }
    }

    /// Returns the usable endpoints on this node. Topology hints do not apply.
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

    /// Returns the topology that the hints select. Hints of a kind apply only if every ready endpoint has
    /// them and at least one names this node or zone.
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

/// The ready endpoints that topology hints admit (KEP-2433, KEP-3015).
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
