//! What is known of the interfaces and their addresses.
//!
//! In: facts, of everything there is and then of every change. Out: the addresses, sorted, and
//! whether they may differ from before; what was removed from the dummy device. Never: an address of the dummy device
//! itself: those are passed over by its index, at the price of one look-up each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proxier::model::{DUMMY_DEVICE, InterfaceAddress, Net, Removed};

use crate::kernel::interfaces::{Address, Fact};

/// Interfaces by index, and addresses.
#[derive(Debug)]
pub(super) struct Known {
    names: BTreeMap<u32, Arc<str>>,
    /// Ordered by interface. One whose interface has no name yet is not told of.
    addresses: BTreeSet<Address>,
    is_whole: bool,
    has_changed: bool,
    removed: Vec<Removed>,
}

impl Default for Known {
    /// To be told everything there is.
    fn default() -> Self {
        let (names, addresses) = (BTreeMap::new(), BTreeSet::new());
        Self { names, addresses, is_whole: true, has_changed: true, removed: Vec::new() }
    }
}

impl Known {
    /// False if everything has to be read anew.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Some changes have not been heard.
    pub(super) fn invalidate(&mut self) {
        self.is_whole = false;
    }

    /// True if the addresses may differ from what they were at the last question.
    pub(super) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// What was removed from the dummy device since the last question.
    pub(super) fn take_removed(&mut self) -> Vec<Removed> {
        std::mem::take(&mut self.removed)
    }

    /// Takes one fact in.
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

    /// Every address, sorted, each once.
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
        // An interface that was the dummy device has addresses that were passed over.
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
