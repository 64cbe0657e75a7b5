//! The facts that have changed since the last plan.
//!
//! Takes what the [`Store`](super::Store) notes while it folds events. Gives the Services whose plan may differ,
//! and counts and times for metrics. Does not hold the facts themselves.

use std::collections::BTreeSet;

use super::address::Family;
use super::name::ServiceName;

/// The facts that have changed since the last plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services whose plan may differ, whether present or gone.
    pub services: BTreeSet<ServiceName>,
    /// True if no plan has been made yet.
    pub everything: bool,
    /// True if a fact that only rules depend on has changed.
    pub rules: bool,
    /// Counts of Services and slices that have arrived, for metrics. No plan depends on it.
    pub arrived: Arrived,
    /// Counts of changed Services and slices, for metrics. No plan depends on it.
    pub changed: Changed,
    /// The times that changed slices report, for metrics. No plan depends on it.
    pub trigger_times: Vec<TriggerTime>,
    /// Services that have lost a slice. Times reported for them before are discarded (spec 6.5).
    pub outdated_trigger_times: BTreeSet<ServiceName>,
    /// True if a node has come, gone or changed readiness. No plan depends on it.
    pub has_other_nodes: bool,
    /// True if the dummy device or one of its addresses is missing. No plan depends on it.
    pub device: bool,
}

/// The number of objects that have arrived, changed or not. Slices of families that are not programmed do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// The number of Services, those included that are gone.
    pub services: usize,
    /// The number of EndpointSlices, those included that are gone.
    pub slices: usize,
}

/// The number of changes that wait for a plan, counted as kube-proxy does (spec 11.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The number of Services that have changed, each counted once.
    pub services: usize,
    /// The number of changes to EndpointSlices. A slice that changes twice counts twice.
    pub slices: usize,
}

/// The changed Services and the number of changes to slices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub(super) services: BTreeSet<ServiceName>,
    pub(super) slices: usize,
}

impl Changed {
    /// Returns the number of changes.
    pub fn pending(&self) -> Pending {
        Pending { services: self.services.len(), slices: self.slices }
    }
}

/// The time of an event that caused a slice to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerTime {
    /// The Service whose endpoints have changed.
    pub service: ServiceName,
    /// The family of the slice.
    pub family: Family,
    /// The time in nanoseconds since 1970.
    pub at: i64,
}

impl Dirty {
    /// True if no plan can differ and the dummy device needs no repair.
    pub fn is_empty(&self) -> bool {
        !self.everything && !self.rules && !self.device && self.services.is_empty()
    }
}
