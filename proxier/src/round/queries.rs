//! Answers what the proxy knows: its facts, its desired state and its cache of the kernel.
//!
//! Takes nothing but the proxy's state, and changes nothing. Does not read the kernel.

use std::collections::BTreeSet;

use super::Proxier;
use crate::diff::{KernelCache, Observed};
use crate::model::{Family, ForeignAddress, Pending, Store};
use crate::plan::{Conflicts, Desired, HealthCheckAddresses, Settings, health_check_addresses};

impl Proxier {
    /// True once every kind of object has been listed. Nothing may be programmed before.
    pub fn is_complete(&self) -> bool {
        self.store.is_complete()
    }

    /// True if events have arrived that no round has planned.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The number of changed objects that no round has planned.
    pub fn pending(&self) -> Pending {
        self.dirty.changed.pending()
    }

    /// The cached kernel state; `None` if it is unknown or a round is under way.
    pub fn cached(&self) -> Option<&Observed> {
        self.cache.as_ref().map(KernelCache::state)
    }

    /// The objects that sources have reported.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The desired state as of the last planning.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Frontends that a Service does not get because an older Service owns them.
    pub fn conflicts(&self) -> &Conflicts {
        self.desired.conflicts()
    }

    /// External and load-balancer addresses on the dummy device that also belong to an API server or another
    /// node.
    pub fn foreign_addresses(&self) -> BTreeSet<ForeignAddress> {
        let mut foreign = self.store.foreign_addresses();
        foreign.retain(|ForeignAddress { service, address, .. }| {
            let service = self.store.service(service);
            service.is_some_and(|service| self.settings.programs_outside(service, address))
        });
        foreign
    }

    /// The addresses at which health checks of a family are to be answered.
    pub fn health_check_addresses(&self, family: Family) -> HealthCheckAddresses {
        let (node, interfaces) = (self.store.node(), self.store.addresses());
        health_check_addresses(family, node, interfaces, &self.settings)
    }
}
