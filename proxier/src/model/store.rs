//! The store of all facts received so far.
//!
//! Takes [`Event`]s. Gives lookups for the plan, and the [`Dirty`] Services whose plan may differ. An object
//! that arrives again unchanged makes nothing dirty.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Net, PerFamily};
use super::dirty::{Dirty, TriggerTime};
use super::endpoint::{Endpoint, Slice};
use super::event::{Event, Unread, Update};
use super::name::{ServiceName, SliceName};
use super::names::Names;
use super::node::{DUMMY_DEVICE, InterfaceAddress, Node, NodeReadiness};
use super::outside::{ForeignAddress, Outside};
use super::service::{Service, SourceRanges};

/// The facts about the cluster and the node.
#[derive(Debug, Default)]
pub struct Store {
    // Values are boxed because B-tree nodes are half empty on average: values in place would take twice their
    // size.
    services: BTreeMap<ServiceName, Box<Service>>,
    slices: BTreeMap<SliceName, Box<Slice>>,
    /// The slice names of each Service, sorted.
    slices_of: BTreeMap<ServiceName, Vec<SliceName>>,
    names: Names,
    /// Names of nodes, kept apart because they are few and come with every endpoint.
    nodes: Names,
    node: Option<Node>,
    addresses: Vec<InterfaceAddress>,
    /// The readiness of every node; `None` before the first report.
    readiness: Option<BTreeMap<Arc<str>, NodeReadiness>>,
    outside: Outside,
    /// The nodes of endpoints that have left their slices since the last successful round.
    departed: BTreeMap<IpAddr, Arc<str>>,
    listed: Listed,
    /// The families that are not programmed. Slices of them are not stored.
    ignored: PerFamily<bool>,
}

#[derive(Debug, Default)]
struct Listed {
    services: bool,
    slices: bool,
    node: bool,
    addresses: bool,
}

impl Store {
    /// Makes an empty store that ignores EndpointSlices of families that are not programmed (spec 6.1).
    pub fn programming(families: &PerFamily<bool>) -> Self {
        let ignored = PerFamily::from_fn(|family| !families.of(family));
        Self { ignored, ..Self::default() }
    }

    /// Folds one event into the store and adds the Services that it affects to `dirty`.
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
            // A removal from the dummy device changes no fact about the cluster or the node.
            Event::Removed(_) => {}
            Event::ApiServer(address) => self.outside.set_api_server(address),
            Event::OtherNodes(nodes) => self.outside.set_nodes(nodes),
        }
    }

    /// True once Services, EndpointSlices, the Node and the node's interface addresses have each been listed
    /// completely. Before that no desired state can be computed, because any part of it may be missing.
    pub fn is_complete(&self) -> bool {
        self.listed.services && self.listed.slices && self.listed.node && self.listed.addresses
    }

    /// Returns one Service.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// Returns all Services, sorted by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(|service| &**service)
    }

    /// Returns one slice.
    pub fn slice(&self, name: &SliceName) -> Option<&Slice> {
        self.slices.get(name).map(|slice| &**slice)
    }

    /// Returns the slices of one Service, sorted by name.
    pub fn slices_of(&self, service: &ServiceName) -> impl Iterator<Item = &Slice> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(name).map(|slice| &**slice))
    }

    /// Returns this node's Node object.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Returns this node's zone.
    pub fn zone(&self) -> Option<&Arc<str>> {
        self.node.as_ref().and_then(|node| node.zone.as_ref())
    }

    /// Returns all addresses of the node's interfaces except the dummy device, sorted.
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
    }

    /// Returns the node of an endpoint, which may recently have left the Service's slices.
    pub fn node_of(&self, service: Option<&ServiceName>, address: IpAddr) -> Option<&Arc<str>> {
        let slices = service.into_iter().flat_map(|service| self.slices_of(service));
        slices
            .flat_map(|slice| &slice.endpoints)
            .filter(|endpoint| endpoint.address == address)
            .find_map(|endpoint| endpoint.node.as_ref())
            .or_else(|| self.departed.get(&address))
    }

    /// True if the node is gone or not ready. False if no readiness has been reported yet.
    pub fn is_dead(&self, node: &str) -> bool {
        let Some(readiness) = &self.readiness else { return false };
        !readiness.get(node).is_some_and(|node| node.ready)
    }

    /// Returns the external and load-balancer addresses that also belong to API servers or, as far as the
    /// addresses or the readiness of nodes are known, to another node.
    pub fn foreign_addresses(&self) -> BTreeSet<ForeignAddress> {
        let kubernetes = ServiceName::new("default", "kubernetes");
        let servers = self.slices_of(&kubernetes);
        let nodes = self.readiness.iter().flat_map(BTreeMap::values);
        self.outside.foreign(servers, nodes, self.node(), &self.addresses)
    }

    /// Forgets the nodes of endpoints that have left their slices.
    pub(crate) fn forget_departed(&mut self) {
        self.departed.clear();
    }

    /// Replaces the Node. After its deletion the last known state stays (spec 7.2). Marks only the Services
    /// dirty that depend on a changed field.
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
        // Where an address is bound depends on whether an interface has it.
        let concerned = |service: &&Service| {
            service.has_node_port() || service.addresses().any(|ip| others.contains(ip))
        };
        let concerned = self.services().filter(concerned);
        dirty.services.extend(concerned.map(|service| service.name.clone()));
    }

    /// Marks no Service dirty: readiness only limits how long a destination may drain.
    fn fold_readiness(&mut self, update: Update<Arc<str>, NodeReadiness>) {
        let known = self.readiness.get_or_insert_default();
        match update {
            Update::Listed(nodes) => {
                *known = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
            }
            Update::PartlyListed(nodes, unread) => {
                known.retain(|name, _| unread.may_be(name));
                known.extend(nodes.into_iter().map(|node| (node.name.clone(), node)));
            }
            Update::Put(node) => drop(known.insert(node.name.clone(), node)),
            Update::Gone(name) => drop(known.remove(&name)),
        }
    }

    fn fold_service(&mut self, update: Update<ServiceName, Service>, dirty: &mut Dirty) {
        dirty.arrived.services += match &update {
            Update::Listed(services) | Update::PartlyListed(services, _) => services.len(),
            Update::Put(_) | Update::Gone(_) => 1,
        };
        match update {
            Update::Listed(services) => self.list_services(services, &Unread::default(), dirty),
            Update::PartlyListed(services, unread) => self.list_services(services, &unread, dirty),
            Update::Put(service) => self.put_service(service, dirty),
            Update::Gone(name) => self.drop_service(name, dirty),
        }
    }

    fn list_services(
        &mut self,
        services: Vec<Service>,
        unread: &Unread<ServiceName>,
        dirty: &mut Dirty,
    ) {
        self.listed.services = true;
        let named: BTreeSet<_> = services.iter().map(|service| &service.name).collect();
        let is_gone = |name: &&ServiceName| !named.contains(name) && !unread.may_be(name);
        let gone: Vec<_> = self.services.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.drop_service(name, dirty);
        }
        for service in services {
            self.put_service(service, dirty);
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
            Update::Listed(slices) => self.list_slices(slices, &Unread::default(), dirty),
            Update::PartlyListed(slices, unread) => self.list_slices(slices, &unread, dirty),
            // A slice that changes to another family counts as removed. The API forbids such a change, but a
            // manifest can make it.
            Update::Put(slice) if *self.ignored.of(slice.family) => {
                self.remove_slice(&slice.name, dirty);
            }
            Update::Put(slice) => {
                dirty.arrived.slices += 1;
                self.put_slice(slice, dirty);
            }
            Update::Gone(name) => self.remove_slice(&name, dirty),
        }
    }

    fn remove_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        // A slice that is not known may be of a family that is not programmed.
        dirty.arrived.slices += usize::from(self.slices.contains_key(name));
        self.lose_slice(name, dirty);
    }

    fn list_slices(
        &mut self,
        mut slices: Vec<Slice>,
        unread: &Unread<SliceName>,
        dirty: &mut Dirty,
    ) {
        self.listed.slices = true;
        slices.retain(|slice| !self.ignored.of(slice.family));
        dirty.arrived.slices += slices.len();
        let named: BTreeSet<_> = slices.iter().map(|slice| &slice.name).collect();
        let is_gone = |name: &&SliceName| !named.contains(name) && !unread.may_be(name);
        let gone: Vec<_> = self.slices.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.lose_slice(&name, dirty);
        }
        for slice in slices {
            self.put_slice(slice, dirty);
        }
    }

    /// Stores a slice. A relabelled slice leaves its old Service at once. Upstream keeps the stale endpoints
    /// until the slice is deleted.
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
            dirty.trigger_times.push(TriggerTime { service, family, at });
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

    /// Shares every name except the slice's own, which no other fact uses.
    fn share_names(&mut self, slice: &mut Slice) {
        self.names.share(&mut slice.service.name);
        slice.ports.iter_mut().for_each(|port| self.names.share(&mut port.name));
        let nodes = slice.endpoints.iter_mut().filter_map(|endpoint| endpoint.node.as_mut());
        nodes.for_each(|node| self.nodes.share(node));
        slice.ports.shrink_to_fit();
        slice.endpoints.shrink_to_fit();
    }

    /// Removes a deleted slice and discards the times reported for its Service (spec 6.5).
    fn lose_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        let Some(slice) = self.slices.get(name) else { return };
        let service = slice.service.clone();
        dirty.trigger_times.retain(|trigger| trigger.service != service);
        dirty.outdated_trigger_times.insert(service);
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

/// Returns the addresses that only one of two lists has with the same prefix length.
fn differing(before: &[InterfaceAddress], after: &[InterfaceAddress]) -> BTreeSet<IpAddr> {
    // The prefix length matters too: it tells an address of a network from one that stands alone.
    let of = |found: &[InterfaceAddress]| -> BTreeSet<Net> {
        found.iter().map(|found| found.address).collect()
    };
    of(before).symmetric_difference(&of(after)).map(Net::addr).collect()
}

#[cfg(test)]
mod tests;
