//! What is believed of the kernel.
//!
//! In: a reading of the kernel, every change since that has succeeded, and readings of single objects that were
//! not as believed. Out: the state as it should be by now. While somebody reads the kernel anew, changes are noted as well: a reading takes its time,
//! and what it has passed before a change is put right when it is done. Never: doubt, which is the
//! round's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::change::{AddressChange, Change};
use super::observed::{Observed, ObservedServer};
use crate::model::Family;
use crate::plan::{Desired, Rules, VirtualServerKey};
use crate::sorted::{Side, join};

/// A state, and what has happened since a reading began.
#[derive(Debug, Default)]
pub struct KernelCache {
    state: Observed,
    journal: Option<Vec<Note>>,
    /// Addresses that this proxy has taken off the dummy device, and how many notices of that the kernel still owes. They
    /// tell an address that somebody else removes from one that this proxy has removed and put back meanwhile.
    removed: BTreeMap<IpAddr, usize>,
}

/// Something that has become known since a reading began.
#[derive(Debug)]
enum Note {
    /// This change has succeeded.
    Change(Change),
    /// This virtual server was read by itself.
    Server(VirtualServerKey, Option<ObservedServer>),
    /// The dummy device is gone with all its addresses.
    NoDevice,
    /// The rules of this family were read by themselves, and whether other modes have left any.
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
    /// What has just been read.
    pub fn new(state: Observed) -> Self {
        Self { state, journal: None, removed: BTreeMap::new() }
    }

    /// What the kernel should hold.
    pub fn state(&self) -> &Observed {
        &self.state
    }

    /// Notes a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        self.state.record(change);
        if let Change::Address(AddressChange::Remove(address)) = change {
            *self.removed.entry(*address).or_default() += 1;
        }
        if let Some(journal) = &mut self.journal {
            journal.push(Note::Change(change.clone()));
        }
    }

    /// Takes the place of what was believed of one virtual server by what was read; `None` if it is not there.
    pub fn correct_server(&mut self, key: VirtualServerKey, found: Option<ObservedServer>) {
        self.note(Note::Server(key, found));
    }

    /// The same of the rules of a family, and of whether other modes have left any.
    pub fn correct_rules(&mut self, family: Family, rules: Rules, has_legacy_rules: bool) {
        self.note(Note::Rules(family, rules, has_legacy_rules));
    }

    /// The kernel says that an address was taken off the dummy device. True if somebody else did it, and the address is
    /// believed gone from now on.
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

    /// The kernel says that the dummy device is gone. True unless that was known.
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

    /// Keeps the wish's own lists of destinations where they say all there is, of one virtual server.
    pub fn share(&mut self, key: &VirtualServerKey, desired: &Desired) {
        if let (Some(wished), Some(found)) = (desired.server(key), self.state.servers.get_mut(key))
        {
            found.destinations.share(&wished.destinations);
        }
    }

    /// The same of all.
    pub fn share_all(&mut self, desired: &Desired) {
        for (_, side) in join(desired.servers(), &mut self.state.servers) {
            if let Side::Both(wished, found) = side {
                found.destinations.share(&wished.destinations);
            }
        }
    }

    /// Somebody begins to read.
    pub fn begin_reading(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// Takes the place of what was believed by what was read, as it has become since the reading began.
    /// A change that the reading has seen already is noted twice, which makes no difference: each
    /// says what is, not what becomes different.
    ///
    /// False, and nothing happens, if no reading had begun.
    pub fn end_reading(&mut self, mut found: Observed) -> bool {
        let Some(journal) = self.journal.take() else { return false };
        journal.iter().for_each(|note| note.write_to(&mut found));
        self.state = found;
        // A notice that has been lost must not excuse a removal for ever.
        self.removed.clear();
        true
    }
}
