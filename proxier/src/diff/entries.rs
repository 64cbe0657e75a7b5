//! Addresses and set entries: what is missing, what is too much.
//!
//! In: the wish and the kernel. Out: additions and removals by key. Never: a removal and an
//! addition of one entry; entries compare by meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::own::is_our_address;
use super::{Change, ChangeSet, Comparison, Extent};
use crate::model::Family;
use crate::plan::{Entry, SetKey, SetName};

impl Comparison<'_> {
    pub(super) fn compare_addresses(&self, extent: Extent<'_>, changes: &mut ChangeSet) {
        match extent {
            Extent::Everything => {
                for address in self.desired.addresses() {
                    self.compare_address(address, changes);
                }
                for address in &self.observed.addresses {
                    if !self.desired.has_address(address) {
                        self.compare_address(address, changes);
                    }
                }
            }
            Extent::Keys(touched) => {
                for address in &touched.addresses {
                    self.compare_address(address, changes);
                }
            }
        }
    }

    fn compare_address(&self, address: &IpAddr, changes: &mut ChangeSet) {
        match (self.desired.has_address(address), self.observed.addresses.contains(address)) {
            (true, false) => changes.push(Change::AddAddress(*address)),
            (false, true) if is_our_address(address, self.settings) => {
                changes.push(Change::RemoveAddress(*address));
            }
            (true, true) | (false, true | false) => {}
        }
    }

    pub(super) fn compare_sets(&self, extent: Extent<'_>, changes: &mut ChangeSet) {
        for family in Family::BOTH.into_iter().filter(|f| *self.settings.families.of(*f)) {
            for set in SetName::ALL.map(|name| SetKey { family, name }) {
                if !self.observed.sets.contains_key(&set) {
                    changes.push(Change::AddSet(set));
                }
                if matches!(extent, Extent::Everything) {
                    self.compare_whole_set(set, changes);
                }
            }
        }
        if let Extent::Keys(touched) = extent {
            for (set, entry) in &touched.entries {
                self.compare_entry(*set, entry, changes);
            }
        }
        self.grow_sets(changes);
    }

    /// Makes room for what is added, while what is removed is still there.
    ///
    /// `Departs:` upstream has room for 65,536 entries a set and loses the others.
    fn grow_sets(&self, changes: &mut ChangeSet) {
        let mut added: BTreeMap<SetKey, usize> = BTreeMap::new();
        for change in &changes.changes {
            if let Change::AddEntry(set, _) = change {
                *added.entry(*set).or_default() += 1;
            }
        }
        for (set, added) in added {
            let capacities = &self.observed.capacities;
            let made_for = capacities.get(&set).copied().or(set.name.kind().default_capacity());
            let needed = self.observed.sets.get(&set).map_or(0, BTreeSet::len) + added;
            let needed = u32::try_from(needed).unwrap_or(u32::MAX);
            if made_for.is_some_and(|capacity| capacity < needed) {
                let capacity = needed.checked_next_power_of_two().unwrap_or(u32::MAX);
                changes.push(Change::GrowSet(set, capacity));
            }
        }
    }

    fn compare_whole_set(&self, set: SetKey, changes: &mut ChangeSet) {
        for entry in self.desired.entries(set) {
            self.compare_entry(set, entry, changes);
        }
        for entry in self.observed.sets.get(&set).into_iter().flatten() {
            if !self.desired.has_entry(set, entry) {
                self.compare_entry(set, entry, changes);
            }
        }
    }

    fn compare_entry(&self, set: SetKey, entry: &Entry, changes: &mut ChangeSet) {
        let observed = self.observed.sets.get(&set).is_some_and(|has| has.contains(entry));
        match (self.desired.has_entry(set, entry), observed) {
            (true, false) => changes.push(Change::AddEntry(set, *entry)),
            (false, true) => changes.push(Change::RemoveEntry(set, *entry)),
            (true, true) | (false, false) => {}
        }
    }
}
