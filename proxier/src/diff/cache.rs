//! The cached kernel state.
//!
//! Takes a reading of the kernel, every later change that has succeeded, and new readings of single objects.
//! Gives the state that the kernel should have by now. Changes made during a new reading are recorded too,
//! and applied to its result, which may show the state before them. Does not decide when the cache is
//! invalid.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::change::{AddressChange, Change};
use super::observed::{Observed, ObservedServer};
use crate::model::Family;
use crate::plan::{Desired, Rules, VirtualServerKey};
use crate::sorted::{Side, join};

/// A kernel state, and what has happened since a reading of the kernel began.
#[derive(Debug, Default)]
pub struct KernelCache {
    state: Observed,
    journal: Option<Vec<Note>>,
    /// Addresses that this proxy has removed from the dummy device, with the number of kernel notices still
    /// to come. They distinguish a removal by another program from one by this proxy, even if it has added
    /// the address again meanwhile.
    removed: BTreeMap<IpAddr, usize>,
}

/// Something learned since a reading of the kernel began.
#[derive(Debug)]
enum Note {
    /// A change that has succeeded.
    Change(Change),
    /// A virtual server that was read by itself; `None` if it does not exist.
    Server(VirtualServerKey, Option<ObservedServer>),
    /// The loss of the dummy device with all its addresses.
    NoDevice,
    /// The rules of a family that were read by themselves; true if rules of other modes exist.
    Rules(Family, Rules, bool),
}

impl Note {
    fn write_to(&self, state: &mut Observed) {
        match self {
            Self::Change(change) => state.record(change),
            Self::Server(key, Some(found)) => drop(state.servers.insert(*key, found.clone())),
            Self::Server(key, None) => drop(state.servers.remove(key)),
            Self::NoDevice => {
                state.link = false;
                state.addresses.clear();
            }
            Self::Rules(family, rules, has_legacy_rules) => {
                state.rules.of_mut(*family).clone_from(rules);
                *state.legacy_rules.of_mut(*family) = *has_legacy_rules;
            }
        }
    }
}

impl KernelCache {
    /// Makes a cache of a state that was just read.
    pub fn new(state: Observed) -> Self {
        Self { state, journal: None, removed: BTreeMap::new() }
    }

    /// The state that the kernel should have.
    pub fn state(&self) -> &Observed {
        &self.state
    }

    /// Records a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        self.state.record(change);
        if let Change::Address(AddressChange::Remove(address)) = change {
            *self.removed.entry(*address).or_default() += 1;
        }
        if let Some(journal) = &mut self.journal {
            journal.push(Note::Change(change.clone()));
        }
    }

    /// Replaces the cached state of a virtual server by what was read; `None` if it does not exist.
    pub fn correct_server(&mut self, key: VirtualServerKey, found: Option<ObservedServer>) {
        self.note(Note::Server(key, found));
    }

    /// Replaces the cached rules of a family by what was read. `has_legacy_rules` is true if rules of other
    /// modes exist.
    pub fn correct_rules(&mut self, family: Family, rules: Rules, has_legacy_rules: bool) {
        self.note(Note::Rules(family, rules, has_legacy_rules));
    }

    /// Records the kernel's notice that an address was removed from the dummy device. Returns true if another
    /// program removed it; the cache then drops the address.
    pub fn lose_address(&mut self, address: IpAddr) -> bool {
        if let Some(owed) = self.removed.get_mut(&address) {
            *owed -= 1;
            if *owed == 0 {
                self.removed.remove(&address);
            }
            return false;
        }
        let was_there = self.state.addresses.contains(&address);
        if was_there {
            self.note(Note::Change(Change::Address(AddressChange::Remove(address))));
        }
        was_there
    }

    /// Records the kernel's notice that the dummy device is gone. Returns true if the cache did not know
    /// that.
    pub fn lose_device(&mut self) -> bool {
        self.removed.clear();
        let was_there = self.state.link;
        self.note(Note::NoDevice);
        was_there
    }

    fn note(&mut self, note: Note) {
        note.write_to(&mut self.state);
        if let Some(journal) = &mut self.journal {
            journal.push(note);
        }
    }

    /// Replaces the destinations of a virtual server by the list of the desired state, if both are equal.
    /// This saves memory.
    pub fn share(&mut self, key: &VirtualServerKey, desired: &Desired) {
        if let (Some(wished), Some(found)) = (desired.server(key), self.state.servers.get_mut(key))
        {
            found.destinations.share(&wished.destinations);
        }
    }

    /// Does the same as [`share`](Self::share) for all virtual servers.
    pub fn share_all(&mut self, desired: &Desired) {
        for (_, side) in join(desired.servers(), &mut self.state.servers) {
            if let Side::Both(wished, found) = side {
                found.destinations.share(&wished.destinations);
            }
        }
    }

    /// Begins to record what changes while the kernel is read.
    pub fn begin_reading(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// Replaces the cached state by what was read, with everything recorded since the reading began.
    /// Recording a change that the reading already shows does no harm, because each record states a result.
    ///
    /// Returns false and does nothing if no reading had begun.
    pub fn end_reading(&mut self, mut found: Observed) -> bool {
        let Some(journal) = self.journal.take() else { return false };
        journal.iter().for_each(|note| note.write_to(&mut found));
        self.state = found;
        // After a lost notice, the kernel's next real notice would otherwise be taken for it.
        self.removed.clear();
        true
    }
}
