//! Compares addresses and set entries.
//!
//! Takes the desired state and the kernel state. Gives additions and removals by key. Entries are compared by
//! meaning, so that an entry is never both removed and added.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::own::is_our_address;
use super::{AddressChange, Change, ChangeSet, Comparison, Scan, SetChange};
use crate::model::Family;
use crate::plan::{Entry, SetKey, SetName};
use crate::sorted::{Side, join};

impl Comparison<'_> {
    pub(super) fn compare_addresses(&self, extent: Scan<'_>, changes: &mut ChangeSet) {
        match extent {
            Scan::Everything => {
                let observed = self.observed.addresses.iter().map(|address| (address, ()));
                let desired = self.desired.addresses().map(|address| (address, ()));
                for (address, side) in join(desired, observed) {
                    self.change_address(address, side, changes);
                }
            }
            Scan::Dirty(dirty_keys) => {
                for address in &dirty_keys.addresses {
                    self.compare_address(address, changes);
                }
            }
        }
    }

    fn compare_address(&self, address: &IpAddr, changes: &mut ChangeSet) {
        let has = self.observed.addresses.contains(address);
        if let Some(side) = side(self.desired.has_address(address), has) {
            self.change_address(address, side, changes);
        }
    }

    fn change_address(&self, address: &IpAddr, side: Side<(), ()>, changes: &mut ChangeSet) {
        match side {
            Side::Left(()) => changes.push(Change::Address(AddressChange::Add(*address))),
            Side::Right(()) if is_our_address(address, self.settings) => {
                changes.push(Change::Address(AddressChange::Remove(*address)));
            }
            Side::Right(()) | Side::Both((), ()) => {}
        }
    }

    pub(super) fn compare_sets(&self, extent: Scan<'_>, changes: &mut ChangeSet) {
        for family in Family::BOTH.into_iter().filter(|f| *self.settings.families.of(*f)) {
            for set in SetName::ALL.map(|name| SetKey { family, name }) {
                if !self.observed.sets.contains_key(&set) && self.settings.has_set(set) {
                    changes.push(Change::Set(SetChange::Create(set)));
                }
                if matches!(extent, Scan::Everything) {
                    self.compare_whole_set(set, changes);
                }
            }
        }
        if let Scan::Dirty(dirty_keys) = extent {
            for (set, entry) in &dirty_keys.entries {
                self.compare_entry(*set, entry, changes);
                let exception = entry.exception().map(|exception| (*set, exception));
                if let Some(key) = exception.filter(|key| !dirty_keys.entries.contains(key)) {
                    self.compare_entry(key.0, &key.1, changes);
                }
            }
        }
        let growth = self.growth(&changes.changes);
        changes.changes.extend(growth);
    }

    /// Returns the changes that give sets room for all entries that these changes add. Entries that they
    /// remove count too, because they are still there at that time.
    ///
    /// `Departs:` upstream has room for 65,536 entries a set and loses the others.
    pub(crate) fn growth<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Vec<Change> {
        let mut added: BTreeMap<SetKey, usize> = BTreeMap::new();
        for change in changes {
            if let Change::Set(SetChange::AddEntry(set, _)) = change {
                *added.entry(*set).or_default() += 1;
            }
        }
        let grown = |(set, added): (SetKey, usize)| {
            let capacities = &self.observed.capacities;
            let made_for = capacities.get(&set).copied().or(set.name.kind().default_capacity())?;
            let needed = self.observed.sets.get(&set).map_or(0, BTreeSet::len) + added;
            let needed = u32::try_from(needed).unwrap_or(u32::MAX);
            let capacity = needed.checked_next_power_of_two().unwrap_or(u32::MAX);
            (made_for < needed).then_some(Change::Set(SetChange::Grow(set, capacity)))
        };
        added.into_iter().filter_map(grown).collect()
    }

    fn compare_whole_set(&self, set: SetKey, changes: &mut ChangeSet) {
        let observed = self.observed.sets.get(&set).into_iter().flatten();
        let desired = self.desired.entries(set).map(|entry| (entry, ()));
        for (entry, side) in join(desired, observed.map(|entry| (entry, ()))) {
            self.change_entry(set, entry, side, changes);
        }
    }

    fn compare_entry(&self, set: SetKey, entry: &Entry, changes: &mut ChangeSet) {
        let observed = self.observed.sets.get(&set).is_some_and(|has| has.contains(entry));
        if let Some(side) = side(self.desired.has_entry(set, entry), observed) {
            self.change_entry(set, entry, side, changes);
        }
    }

    fn change_entry(
        &self,
        set: SetKey,
        entry: &Entry,
        side: Side<(), ()>,
        changes: &mut ChangeSet,
    ) {
        match side {
            Side::Left(()) => changes.push(Change::Set(SetChange::AddEntry(set, *entry))),
            // The added entry replaces the exception. The removal comes later and would take the added entry
            // away.
            Side::Right(()) if self.is_replaced(set, entry) => {}
            Side::Right(()) => changes.push(Change::Set(SetChange::RemoveEntry(set, *entry))),
            Side::Both((), ()) => {}
        }
    }

    /// True if the entry is an exception and the desired state has the entry that replaces it.
    fn is_replaced(&self, set: SetKey, entry: &Entry) -> bool {
        entry.instead_of_exception().is_some_and(|entry| self.desired.has_entry(set, &entry))
    }
}

/// The side of a key that is wanted, exists, or both; `None` if it is neither.
fn side(is_wanted: bool, is_there: bool) -> Option<Side<(), ()>> {
    match (is_wanted, is_there) {
        (true, false) => Some(Side::Left(())),
        (false, true) => Some(Side::Right(())),
        (true, true) => Some(Side::Both((), ())),
        (false, false) => None,
    }
}
