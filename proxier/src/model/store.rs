//! The facts gathered so far.
//!
//! In: [`Event`]s. Out: lookups for the plan, and the [`Dirty`] Services whose plan may differ.
//! Never: dirt without a change: an object that arrives again as it was touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Family, Net};
use super::endpoint::{Endpoint, Slice};
use super::event::{Event, Update};
use super::name::{ServiceName, SliceName};
use super::names::Names;
use super::node::{DUMMY_DEVICE, InterfaceAddress, Node, NodeReadiness};
use super::outside::{ForeignAddress, Outside};
use super::service::{Service, SourceRanges};

/// Everything known of the cluster and the node.
#[derive(Debug, Default)]
pub struct Store {
    // What a tree holds in place it holds about twice, its nodes being half full.
    services: BTreeMap<ServiceName, Box<Service>>,
    slices: BTreeMap<SliceName, Box<Slice>>,
    /// In the order of their names.
    slices_of: BTreeMap<ServiceName, Vec<SliceName>>,
    names: Names,
    /// Names of nodes, which are few and come with every endpoint.
    nodes: Names,
    node: Option<Node>,
    addresses: Vec<InterfaceAddress>,
    /// Every node; `None` while nobody says.
    readiness: Option<BTreeMap<Arc<str>, NodeReadiness>>,
    outside: Outside,
    /// On which node endpoints were that have left their slices since a round last succeeded.
    departed: BTreeMap<IpAddr, Arc<str>>,
    listed: Listed,
}

#[derive(Debug, Default)]
struct Listed {
    services: bool,
    slices: bool,
    node: bool,
    addresses: bool,
}

/// Services whose plan may differ from what it was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// These Services, present or gone.
    pub services: BTreeSet<ServiceName>,
    /// No plan has been made yet.
    pub everything: bool,
    /// A fact that only rules depend on has changed.
    pub rules: bool,
    /// Services that have changed themselves, and how many changes of slices there were; for who
    /// counts, no plan depends on it.
    pub changed: Changed,
    /// What slices that have changed said of the time; no plan depends on it either.
    pub reported: Vec<TriggerTime>,
    /// Services that have lost a slice: what was reported of them before is forgotten (spec 6.5).
    pub unreported: BTreeSet<ServiceName>,
    /// Nodes have come, gone, become ready or ceased to be; no plan depends on it.
    pub has_other_nodes: bool,
    /// The dummy device is not as it was left; no plan depends on it.
    pub device: bool,
}

/// What waits for a plan, counted as kube-proxy does (spec 11.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Services that have changed, each once.
    pub services: usize,
    /// Changes of EndpointSlices; one that changes twice counts twice.
    pub slices: usize,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    services: BTreeSet<ServiceName>,
    slices: usize,
}

impl Changed {
    /// How much of it there is.
    pub fn pending(&self) -> Pending {
        Pending { services: self.services.len(), slices: self.slices }
    }
}

/// When something happened that a slice was written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerTime {
    /// Whose endpoints have changed.
    pub service: ServiceName,
    /// In which family.
    pub family: Family,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

impl Dirty {
    /// True if no plan can differ and nothing is to be put back.
    pub fn is_empty(&self) -> bool {
        !self.everything && !self.rules && !self.device && self.services.is_empty()
    }
}

impl Store {
    /// Folds one event in and notes which Services it touches.
    pub fn fold(&mut self, event: Event, dirty: &mut Dirty) {
        match event {
            Event::Service(update) => self.fold_service(update, dirty),
            Event::Slice(update) => self.fold_slice(update, dirty),
            Event::Node(node) => self.fold_node(node, dirty),
            Event::NodeReadiness(update) => {
                dirty.has_other_nodes = true;
                self.fold_readiness(update);
            }
            Event::Addresses(addresses) => self.fold_addresses(addresses, dirty),
            // It says nothing of the cluster or the node.
            Event::Removed(_) => {}
            Event::ApiServer(address) => self.outside.note_server(address),
            Event::Together(events) => {
                events.into_iter().for_each(|event| self.fold(event, dirty));
            }
        }
    }

    /// True once Services, EndpointSlices, the Node and the node's interface addresses have each
    /// been listed in whole. Before that no wish can be formed: what is missing could be anything.
    pub fn is_complete(&self) -> bool {
        self.listed.services && self.listed.slices && self.listed.node && self.listed.addresses
    }

    /// One Service.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(|service| &**service)
    }

    /// One slice.
    pub fn slice(&self, name: &SliceName) -> Option<&Slice> {
        self.slices.get(name).map(|slice| &**slice)
    }

    /// The slices of one Service, by name.
    pub fn slices_of(&self, service: &ServiceName) -> impl Iterator<Item = &Slice> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(name).map(|slice| &**slice))
    }

    /// This node's Node object.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// This node's zone.
    pub fn zone(&self) -> Option<&Arc<str>> {
        self.node.as_ref().and_then(|node| node.zone.as_ref())
    }

    /// All addresses of the node's interfaces but the dummy device, sorted.
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
    }

    /// The node of an endpoint, which may have left the Service's slices lately.
    pub fn node_of(&self, service: Option<&ServiceName>, address: IpAddr) -> Option<&Arc<str>> {
        let slices = service.into_iter().flat_map(|service| self.slices_of(service));
        slices
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| endpoint.address == address)
            .find_map(|endpoint| endpoint.node.as_ref())
            .or_else(|| self.departed.get(&address))
    }

    /// True if the node is gone or not ready, as far as anybody says.
    pub fn is_dead(&self, node: &str) -> bool {
        let Some(readiness) = &self.readiness else { return false };
        !readiness.get(node).is_some_and(|node| node.ready)
    }

    /// External and load-balancer addresses that are also those of API servers or, where all nodes are known, of another
    /// node.
    pub fn foreign_addresses(&self) -> BTreeSet<ForeignAddress> {
        let kubernetes = ServiceName::new("default", "kubernetes");
        let servers = self.slices_of(&kubernetes);
        let nodes = self.readiness.iter().flat_map(BTreeMap::values);
        self.outside.foreign(servers, nodes, self.node(), &self.addresses)
    }

    /// Forgets where endpoints were that have left.
    pub(crate) fn forget_departed(&mut self) {
        self.departed.clear();
    }

    /// A Node that is gone keeps what was last said of it (spec 7.2). Only Services that depend on
    /// what has changed are touched.
    fn fold_node(&mut self, node: Option<Node>, dirty: &mut Dirty) {
        self.listed.node = true;
        let Some(node) = node else { return };
        let before = self.node.replace(node);
        let (old, new) = (before.as_ref(), self.node.as_ref());
        if old.and_then(|node| node.zone.as_ref()) != new.and_then(|node| node.zone.as_ref()) {
            let hinted = self.slices.values().filter(|slice| slice.has_hints());
            dirty.services.extend(hinted.map(|slice| slice.service.clone()));
        }
        if old.map(|node| &node.addresses) != new.map(|node| &node.addresses) {
            let concerned = |service: &&Service| {
                let is_nodes =
                    |ip| [old, new].into_iter().flatten().any(|node| node.addresses.contains(ip));
                service.has_node_port()
                    || service.source_ranges != SourceRanges::Unrestricted
                    || service.addresses().any(is_nodes)
            };
            let concerned = self.services().filter(concerned);
            dirty.services.extend(concerned.map(|service| service.name.clone()));
        }
        dirty.rules |= old.map(|node| &node.pod_nets) != new.map(|node| &node.pod_nets);
    }

    fn fold_addresses(&mut self, mut addresses: Vec<InterfaceAddress>, dirty: &mut Dirty) {
        self.listed.addresses = true;
        // IPv6 link-local addresses serve nothing, and each pod that comes or goes brings one.
        addresses.retain(|found| &*found.device != DUMMY_DEVICE && !found.is_link_local());
        addresses.sort();
        addresses.dedup();
        if self.addresses == addresses {
            return;
        }
        let others = differing(&self.addresses, &addresses);
        self.addresses = addresses;
        // An address that an interface has is not put on the dummy device.
        let concerned = |service: &&Service| {
            service.has_node_port() || service.addresses().any(|ip| others.contains(ip))
        };
        let concerned = self.services().filter(concerned);
        dirty.services.extend(concerned.map(|service| service.name.clone()));
    }

    /// Nothing is planned anew: readiness only says for how long a destination may drain.
    fn fold_readiness(&mut self, update: Update<Arc<str>, NodeReadiness>) {
        let known = self.readiness.get_or_insert_default();
        match update {
            Update::Listed(nodes) => {
                *known = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
            }
            Update::Put(node) => drop(known.insert(node.name.clone(), node)),
            Update::Gone(name) => drop(known.remove(&name)),
        }
    }

    fn fold_service(&mut self, update: Update<ServiceName, Service>, dirty: &mut Dirty) {
        match update {
            Update::Listed(services) => {
                self.listed.services = true;
                let named: BTreeSet<_> = services.iter().map(|service| &service.name).collect();
                let gone: Vec<_> =
                    self.services.keys().filter(|name| !named.contains(name)).cloned().collect();
                for name in gone {
                    self.drop_service(name, dirty);
                }
                for service in services {
                    self.put_service(service, dirty);
                }
            }
            Update::Put(service) => self.put_service(service, dirty),
            Update::Gone(name) => self.drop_service(name, dirty),
        }
    }

    fn put_service(&mut self, mut service: Service, dirty: &mut Dirty) {
        self.names.share(&mut service.name.namespace);
        if self.service(&service.name) == Some(&service) {
            return;
        }
        self.names.share(&mut service.name.name);
        service.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        service.ports.shrink_to_fit();
        dirty.services.insert(service.name.clone());
        dirty.changed.services.insert(service.name.clone());
        if let Some(before) = self.services.get(&service.name) {
            self.outside.remove(before);
        }
        self.outside.put(&service);
        self.services.insert(service.name.clone(), Box::new(service));
    }

    fn drop_service(&mut self, name: ServiceName, dirty: &mut Dirty) {
        if let Some(service) = self.services.remove(&name) {
            self.outside.remove(&service);
            dirty.changed.services.insert(name.clone());
            dirty.services.insert(name);
        }
    }

    fn fold_slice(&mut self, update: Update<SliceName, Slice>, dirty: &mut Dirty) {
        match update {
            Update::Listed(slices) => {
                self.listed.slices = true;
                let named: BTreeSet<_> = slices.iter().map(|slice| &slice.name).collect();
                let gone: Vec<_> =
                    self.slices.keys().filter(|name| !named.contains(name)).cloned().collect();
                for name in gone {
                    self.lose_slice(&name, dirty);
                }
                for slice in slices {
                    self.put_slice(slice, dirty);
                }
            }
            Update::Put(slice) => self.put_slice(slice, dirty),
            Update::Gone(name) => self.lose_slice(&name, dirty),
        }
    }

    /// A slice that was relabelled leaves its old Service at once, unlike upstream, which keeps
    /// the stale endpoints until the slice is deleted.
    fn put_slice(&mut self, mut slice: Slice, dirty: &mut Dirty) {
        let shared = [&mut slice.name.namespace, &mut slice.service.namespace];
        shared.into_iter().for_each(|name| self.names.share(name));
        if self.slices.get(&slice.name).is_some_and(|known| **known == slice) {
            return;
        }
        self.share_names(&mut slice);
        self.drop_slice(&slice.name, dirty);
        dirty.changed.slices += 1;
        if let Some(at) = slice.last_change.0 {
            let (service, family) = (slice.service.clone(), slice.family);
            dirty.reported.push(TriggerTime { service, family, at });
        }
        dirty.services.insert(slice.service.clone());
        if self.readiness.is_some() {
            slice
                .endpoints
                .iter()
                .for_each(|endpoint| drop(self.departed.remove(&endpoint.address)));
        }
        let names = self.slices_of.entry(slice.service.clone()).or_default();
        if let Err(at) = names.binary_search(&slice.name) {
            names.reserve_exact(1);
            names.insert(at, slice.name.clone());
        }
        self.slices.insert(slice.name.clone(), Box::new(slice));
    }

    /// Of the slice's names only its own is nobody else's.
    fn share_names(&mut self, slice: &mut Slice) {
        self.names.share(&mut slice.service.name);
        slice.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        let nodes = slice.endpoints.iter_mut().filter_map(|endpoint| endpoint.node.as_mut());
        nodes.for_each(|node| self.nodes.share(node));
        slice.ports.shrink_to_fit();
        slice.endpoints.shrink_to_fit();
    }

    /// What was reported of a Service one of whose slices is gone is forgotten (spec 6.5).
    fn lose_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        let Some(slice) = self.slices.get(name) else { return };
        let service = slice.service.clone();
        dirty.reported.retain(|reported| reported.service != service);
        dirty.unreported.insert(service);
        dirty.changed.slices += 1;
        self.drop_slice(name, dirty);
    }

    fn drop_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        let Some(slice) = self.slices.remove(name) else { return };
        if let Some(names) = self.slices_of.get_mut(&slice.service) {
            names.retain(|other| other != name);
            if names.is_empty() {
                self.slices_of.remove(&slice.service);
            }
        }
        if self.readiness.is_some() {
            let placed = |endpoint: &Endpoint| Some((endpoint.address, endpoint.node.clone()?));
            self.departed.extend(slice.endpoints.iter().filter_map(placed));
        }
        dirty.services.insert(slice.service);
    }
}

/// Addresses that only one of two states has.
fn differing(before: &[InterfaceAddress], after: &[InterfaceAddress]) -> BTreeSet<IpAddr> {
    // Whether it is a network's address or stands alone matters too.
    let of = |found: &[InterfaceAddress]| -> BTreeSet<Net> {
        found.iter().map(|found| found.address).collect()
    };
    of(before).symmetric_difference(&of(after)).map(Net::addr).collect()
}

#[cfg(test)]
mod tests;
