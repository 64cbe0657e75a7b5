//! Counts of how many frontends need each address and set entry.
//!
//! Takes frontends and entries as they come and go. Gives the addresses and set entries that are needed, and
//! the load balancers that refuse this node. Also says whether a fact that rules depend on has changed. Does
//! not know which Service needs what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::frontend::{Binding, Frontend, NodeAccess};
use super::server::VirtualServerKey;
use super::set::{Entry, SetKey};
use crate::model::PerFamily;

/// Kernel keys whose desired state may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirtyKeys {
    /// Keys of virtual servers.
    pub servers: BTreeSet<VirtualServerKey>,
    /// Addresses of the dummy device.
    pub addresses: BTreeSet<IpAddr>,
    /// Entries of sets.
    pub entries: BTreeSet<(SetKey, Entry)>,
}

impl DirtyKeys {
    /// True if there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.addresses.is_empty() && self.entries.is_empty()
    }

    /// Adds all keys of another value.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.servers.append(&mut other.servers);
        self.addresses.append(&mut other.addresses);
        self.entries.append(&mut other.entries);
    }
}

/// The number of frontends and Services that need each key. A key that none needs is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) addresses: BTreeMap<IpAddr, usize>,
    pub(super) sets: BTreeMap<SetKey, BTreeMap<Entry, usize>>,
    pub(super) refused: BTreeSet<VirtualServerKey>,
    flips: RuleInputs,
}

/// Facts that rules depend on and that changed after the rules were planned, with their earlier values. A
/// fact may have changed back: when a Service is planned again, everything it needs is removed and then
/// added.
#[derive(Clone, Debug, Default)]
struct RuleInputs {
    /// True for each set that had entries.
    filled: BTreeMap<SetKey, bool>,
    /// True for each load balancer that refused this node.
    refused: BTreeMap<VirtualServerKey, bool>,
    /// True if something other than Services has changed.
    others: PerFamily<bool>,
}

impl Counts {
    pub(super) fn add(
        &mut self,
        key: &VirtualServerKey,
        wanted: &Frontend,
        dirty_keys: &mut DirtyKeys,
    ) {
        for (set, entry) in &wanted.entries {
            self.add_entry(*set, *entry, dirty_keys);
        }
        if wanted.binding == Binding::Dummy {
            dirty_keys.addresses.insert(key.address);
            *self.addresses.entry(key.address).or_default() += 1;
        }
        if wanted.node_access == NodeAccess::Refused && self.refused.insert(*key) {
            self.flips.refused.entry(*key).or_insert(false);
        }
    }

    pub(super) fn remove(
        &mut self,
        key: &VirtualServerKey,
        had: &Frontend,
        dirty_keys: &mut DirtyKeys,
    ) {
        for (set, entry) in &had.entries {
            self.remove_entry(*set, *entry, dirty_keys);
        }
        if had.binding == Binding::Dummy {
            dirty_keys.addresses.insert(key.address);
            release(&mut self.addresses, &key.address);
        }
        if had.node_access == NodeAccess::Refused && self.refused.remove(key) {
            self.flips.refused.entry(*key).or_insert(true);
        }
    }

    pub(super) fn add_entry(&mut self, set: SetKey, entry: Entry, dirty_keys: &mut DirtyKeys) {
        dirty_keys.entries.insert((set, entry));
        if !self.sets.contains_key(&set) {
            self.flips.filled.entry(set).or_insert(false);
        }
        *self.sets.entry(set).or_default().entry(entry).or_default() += 1;
    }

    pub(super) fn remove_entry(&mut self, set: SetKey, entry: Entry, dirty_keys: &mut DirtyKeys) {
        dirty_keys.entries.insert((set, entry));
        let Some(entries) = self.sets.get_mut(&set) else { return };
        release(entries, &entry);
        if entries.is_empty() {
            self.sets.remove(&set);
            self.flips.filled.entry(set).or_insert(true);
        }
    }

    /// Marks the rules of both families as outdated, because something other than Services has changed.
    pub(super) fn invalidate_rules(&mut self) {
        self.flips.others = PerFamily { v4: true, v6: true };
    }

    /// Returns the families whose rules must be planned again: a fact they depend on differs from its value
    /// at the last call.
    pub(super) fn take_stale(&mut self) -> PerFamily<bool> {
        let RuleInputs { filled, refused, others: mut stale } = std::mem::take(&mut self.flips);
        for (set, was) in filled {
            *stale.of_mut(set.family) |= self.sets.contains_key(&set) != was;
        }
        for (key, was) in refused {
            *stale.of_mut(key.family()) |= self.refused.contains(&key) != was;
        }
        stale
    }
}

/// Decrements the count of a key, and removes the key at zero.
fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
