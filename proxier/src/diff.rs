//! THE CHANGE: what separates the kernel from the wish.
//!
//! In: [`Desired`], what the kernel has ([`Observed`], read or believed), and which keys to look
//! at. Out: a [`ChangeSet`], plain data that prints itself. Never: a kernel read, a repetition of
//! what already is, a word about objects that are not ours.

pub use self::cache::KernelCache;
pub use self::change::{
    AddressChange, Change, ChangeSet, Moment, RulesChange, RulesStep, ServerChange, SetChange,
};
pub use self::destinations::Destinations;
pub use self::flow::Flow;
pub(crate) use self::flow::{
    StaleCandidates, is_tracked, leads_elsewhere, new_servers, note_stale_candidates, removals,
};
pub use self::key::ObjectKey;
pub use self::observed::{Observed, ObservedDestination, ObservedServer};
pub use self::own::{OwnershipEvidence, Proven};

use crate::model::{Family, Node};
use crate::plan::{Desired, DirtyKeys, Settings};

mod cache;
mod change;
mod destinations;
mod entries;
mod flow;
mod key;
mod observed;
mod own;
mod rules;
mod server;

/// Which keys to compare.
#[derive(Clone, Copy, Debug)]
pub enum Scan<'a> {
    /// Every key on either side: after a read of the kernel.
    Everything,
    /// Only keys whose wish may have changed: the cost of a round follows the change.
    Dirty(&'a DirtyKeys),
}

/// What a comparison looks at.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The wish.
    pub desired: &'a Desired,
    /// The kernel.
    pub observed: &'a Observed,
    /// What decides ownership.
    pub settings: &'a Settings,
    /// Virtual servers in excluded networks that are ours.
    pub proven: &'a Proven,
    /// This node, on which rules may depend.
    pub node: Option<&'a Node>,
}

impl Comparison<'_> {
    /// Names the changes that turn the kernel into the wish.
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
