//! What all frontends together want, counted per kernel key.
//!
//! In: frontends and entries as they come and go. Out: addresses and set entries that somebody
//! wants, load balancers that refuse this node, and whether a fact that rules depend on has
//! changed. Never: who wants what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::frontend::{Binding, Frontend, NodeAccess};
use super::server::VirtualServerKey;
use super::set::{Entry, SetKey};
use crate::model::{Family, PerFamily};

/// Kernel keys under which the wish may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Virtual servers.
    pub servers: BTreeSet<VirtualServerKey>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Set entries.
    pub entries: BTreeSet<(SetKey, Entry)>,
}

/// Counts of wishes; a key that nobody wants is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) addresses: BTreeMap<IpAddr, usize>,
    pub(super) sets: BTreeMap<SetKey, BTreeMap<Entry, usize>>,
    pub(super) refused: BTreeSet<VirtualServerKey>,
    /// Families in which a fact that rules depend on has changed since they were planned.
    pub(super) stale: PerFamily<bool>,
}

impl Counts {
    pub(super) fn add(&mut self, key: &VirtualServerKey, wanted: &Frontend, touched: &mut Touched) {
        for (set, entry) in &wanted.entries {
            self.add_entry(*set, *entry, touched);
        }
        if wanted.binding == Binding::Dummy {
            touched.addresses.insert(key.address);
            *self.addresses.entry(key.address).or_default() += 1;
        }
        if wanted.node_access == NodeAccess::Refused && self.refused.insert(*key) {
            self.distrust(key.family());
        }
    }

    pub(super) fn remove(&mut self, key: &VirtualServerKey, had: &Frontend, touched: &mut Touched) {
        for (set, entry) in &had.entries {
            self.remove_entry(*set, *entry, touched);
        }
        if had.binding == Binding::Dummy {
            touched.addresses.insert(key.address);
            release(&mut self.addresses, &key.address);
        }
        if had.node_access == NodeAccess::Refused && self.refused.remove(key) {
            self.distrust(key.family());
        }
    }

    pub(super) fn add_entry(&mut self, set: SetKey, entry: Entry, touched: &mut Touched) {
        touched.entries.insert((set, entry));
        if !self.sets.contains_key(&set) {
            self.distrust(set.family);
        }
        *self.sets.entry(set).or_default().entry(entry).or_default() += 1;
    }

    pub(super) fn remove_entry(&mut self, set: SetKey, entry: Entry, touched: &mut Touched) {
        touched.entries.insert((set, entry));
        let Some(entries) = self.sets.get_mut(&set) else { return };
        release(entries, &entry);
        if entries.is_empty() {
            self.sets.remove(&set);
            self.distrust(set.family);
        }
    }

    fn distrust(&mut self, family: Family) {
        *self.stale.of_mut(family) = true;
    }
}

/// Takes one wish away and the key with the last one.
fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
