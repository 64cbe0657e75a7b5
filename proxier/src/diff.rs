//! Compares the kernel state with the desired state.
//!
//! Takes [`Desired`], the kernel state ([`Observed`], read or cached), and the keys to compare. Returns a
//! [`ChangeSet`], which is plain data and can be printed. Does not read the kernel, name a change that is not
//! needed, or touch objects that are not this proxy's.

pub use self::cache::KernelCache;
pub use self::change::{
    AddressChange, Change, ChangeSet, Moment, RulesChange, RulesStep, ServerChange, SetChange,
    StandingTable,
};
pub use self::cleanup::{Cleanup, CleanupReading};
pub use self::destinations::Destinations;
pub use self::flow::Flow;
pub(crate) use self::flow::{FLOWS_AT_ONCE, NewServers, StaleCandidates, removals};
pub use self::key::ObjectKey;
pub use self::observed::{Observed, ObservedDestination, ObservedServer};
pub use self::own::{Ownership, OwnershipEvidence, Proven};

use crate::model::{Family, Node};
use crate::plan::{Desired, DirtyKeys, Settings};

mod cache;
mod change;
mod cleanup;
mod destinations;
mod entries;
mod flow;
mod key;
mod observed;
mod own;
mod rules;
mod server;

/// The keys to compare.
#[derive(Clone, Copy, Debug)]
pub enum Scan<'a> {
    /// Every key on either side, after the kernel was read in whole.
    Everything,
    /// Only keys whose desired state may have changed, so that the cost of a round depends on what changed.
    Dirty(&'a DirtyKeys),
}

/// The two states to compare, and what the result depends on.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The desired state.
    pub desired: &'a Desired,
    /// The kernel state.
    pub observed: &'a Observed,
    /// The settings, on which ownership depends.
    pub settings: &'a Settings,
    /// The evidence that virtual servers without a plan are this proxy's.
    pub ownership: Ownership<'a>,
    /// This node, on which rules may depend.
    pub node: Option<&'a Node>,
}

impl Comparison<'_> {
    /// Returns the changes that turn the kernel state into the desired state.
    pub fn changes(&self, extent: Scan<'_>) -> ChangeSet {
        let mut changes = ChangeSet::default();
        if !self.observed.link {
            changes.push(Change::AddDevice);
        }
        self.compare_addresses(extent, &mut changes);
        self.compare_sets(extent, &mut changes);
        self.compare_servers(extent, &mut changes);
        for family in Family::BOTH.into_iter().filter(|f| *self.settings.families.of(*f)) {
            self.compare_rules(family, &mut changes);
            if *self.observed.legacy_rules.of(family) {
                changes.push(Change::Rules(RulesChange::RemoveLegacy(family)));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests;
