//! Keeps the known interfaces and their addresses.
//!
//! Takes facts: first about everything that exists, then about every change. Returns the sorted
//! addresses, whether they may have changed, and what was removed from the dummy device. Does not
//! keep addresses of the dummy device: they are recognized by its index, at the cost of one lookup
//! each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxier::model::{DUMMY_DEVICE, InterfaceAddress, Net, Removed};

use crate::kernel::interfaces::{Address, Fact};

/// The interfaces by index, and their addresses.
#[derive(Debug)]
pub(super) struct Known {
    names: BTreeMap<u32, Arc<str>>,
    /// The addresses, ordered by interface. One whose interface has no name yet is not returned.
    addresses: BTreeSet<Address>,
    is_whole: bool,
    has_changed: bool,
    removed: Vec<Removed>,
}

impl Default for Known {
    /// Starts without facts: everything that exists has to be folded in.
    fn default() -> Self {
        let (names, addresses) = (BTreeMap::new(), BTreeSet::new());
        Self { names, addresses, is_whole: true, has_changed: true, removed: Vec::new() }
    }
}

impl Known {
    /// False if everything has to be read again.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Notes that some changes were missed.
    pub(super) fn invalidate(&mut self) {
        self.is_whole = false;
    }

    /// True if the addresses may have changed since the last call.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Returns what was removed from the dummy device since the last call.
    pub(super) fn take_removed(&mut self) -> Vec<Removed> {
        std::mem::take(&mut self.removed)
    }

    /// Takes one fact.
    pub(super) fn fold(&mut self, fact: Fact) {
        match fact {
            Fact::Named(index, name) => self.name(index, &name),
            Fact::Gone(index) => {
                if self.is_dummy(index) {
                    self.removed.push(Removed::Device);
                }
                self.names.remove(&index);
                self.forget(index);
            }
            Fact::Has(address) if self.is_dummy(address.index) => {}
            Fact::Has(address) => self.has_changed |= self.addresses.insert(address),
            Fact::Lost(address) if self.is_dummy(address.index) => {
                self.removed.push(Removed::Address(address.local));
            }
            Fact::Lost(address) => self.has_changed |= self.addresses.remove(&address),
        }
    }

    /// Returns every address once, sorted.
    pub(super) fn addresses(&self) -> Vec<InterfaceAddress> {
        let named = |address: &Address| {
            let device = self.names.get(&address.index)?.clone();
            let address = Net::new(address.local, address.prefix).ok()?;
            Some(InterfaceAddress { device, address })
        };
        let mut found: Vec<_> = self.addresses.iter().filter_map(named).collect();
        found.sort();
        found.dedup();
        found
    }

    fn is_dummy(&self, index: u32) -> bool {
        self.names.get(&index).is_some_and(|name| &**name == DUMMY_DEVICE)
    }

    fn name(&mut self, index: u32, name: &str) {
        if self.names.get(&index).is_some_and(|known| &**known == name) {
            return;
        }
        // The addresses of an interface that was the dummy device were skipped.
        if self.is_dummy(index) {
            self.is_whole = false;
            self.removed.push(Removed::Device);
        }
        self.names.insert(index, name.into());
        self.has_changed = true;
        if self.is_dummy(index) {
            self.forget(index);
        }
    }

    fn forget(&mut self, index: u32) {
        let before = self.addresses.len();
        self.addresses.retain(|address| address.index != index);
        self.has_changed |= self.addresses.len() != before;
    }
}

#[cfg(test)]
mod tests;
