//! The facts gathered so far.
//!
//! In: [`Event`]s. Out: lookups for the plan, and the [`Dirty`] Services whose plan may differ.
//! Never: dirt without a change: an object that arrives again as it was touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::endpoint::Slice;
use super::event::{Event, Update};
use super::name::{ServiceName, SliceName};
use super::node::{InterfaceAddress, Node};
use super::service::Service;

/// Everything known of the cluster and the node.
#[derive(Debug, Default)]
pub struct Store {
    services: BTreeMap<ServiceName, Service>,
    slices: BTreeMap<SliceName, Slice>,
    slices_of: BTreeMap<ServiceName, BTreeSet<SliceName>>,
    node: Option<Node>,
    addresses: Vec<InterfaceAddress>,
    listed: Listed,
}

#[derive(Debug, Default)]
struct Listed {
    services: bool,
    slices: bool,
    node: bool,
}

/// Services whose plan may differ from what it was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// These Services, present or gone.
    pub services: BTreeSet<ServiceName>,
    /// A fact that every plan may depend on has changed (the node's zone, its addresses).
    pub everything: bool,
}

impl Dirty {
    /// True if no plan can differ.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.services.is_empty()
    }
}

impl Store {
    /// Folds one event in and notes which Services it touches.
    pub fn fold(&mut self, event: Event, dirty: &mut Dirty) {
        match event {
            Event::Service(update) => self.fold_service(update, dirty),
            Event::Slice(update) => self.fold_slice(update, dirty),
            Event::Node(node) => {
                self.listed.node = true;
                // A Node that is gone keeps what was last said of it (spec 7.2).
                if node.is_some() && self.node != node {
                    self.node = node;
                    dirty.everything = true;
                }
            }
            Event::Addresses(mut addresses) => {
                addresses.sort();
                self.addresses = addresses;
            }
        }
    }

    /// True once Services, EndpointSlices and the Node have each been listed in whole. Before
    /// that no wish can be formed: what is missing could be anything.
    pub fn is_complete(&self) -> bool {
        self.listed.services && self.listed.slices && self.listed.node
    }

    /// One Service.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The slices of one Service, by name.
    pub fn slices_of(&self, service: &ServiceName) -> impl Iterator<Item = &Slice> {
        self.slices_of.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
    }

    /// This node's Node object.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// This node's zone.
    pub fn zone(&self) -> Option<&Arc<str>> {
        self.node.as_ref().and_then(|node| node.zone.as_ref())
    }

    /// All addresses of the node's interfaces, sorted.
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
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

    fn put_service(&mut self, service: Service, dirty: &mut Dirty) {
        if self.services.get(&service.name) != Some(&service) {
            dirty.services.insert(service.name.clone());
            self.services.insert(service.name.clone(), service);
        }
    }

    fn drop_service(&mut self, name: ServiceName, dirty: &mut Dirty) {
        if self.services.remove(&name).is_some() {
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
                    self.drop_slice(&name, dirty);
                }
                for slice in slices {
                    self.put_slice(slice, dirty);
                }
            }
            Update::Put(slice) => self.put_slice(slice, dirty),
            Update::Gone(name) => self.drop_slice(&name, dirty),
        }
    }

    /// A slice that was relabelled leaves its old Service at once, unlike upstream, which keeps
    /// the stale endpoints until the slice is deleted.
    fn put_slice(&mut self, slice: Slice, dirty: &mut Dirty) {
        if self.slices.get(&slice.name) == Some(&slice) {
            return;
        }
        self.drop_slice(&slice.name, dirty);
        dirty.services.insert(slice.service.clone());
        self.slices_of.entry(slice.service.clone()).or_default().insert(slice.name.clone());
        self.slices.insert(slice.name.clone(), slice);
    }

    fn drop_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        let Some(slice) = self.slices.remove(name) else { return };
        if let Some(names) = self.slices_of.get_mut(&slice.service) {
            names.remove(name);
            if names.is_empty() {
                self.slices_of.remove(&slice.service);
            }
        }
        dirty.services.insert(slice.service);
    }
}

#[cfg(test)]
mod tests;
