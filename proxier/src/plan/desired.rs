//! The wish as a whole.
//!
//! In: each Service's [`Contribution`], replaced whole whenever it is planned again. Out: what is
//! wanted under each kernel key, and which keys a replacement has touched. What several Services
//! want is counted, so that adding and removing stay exact without a look at the rest. Never: two
//! values under one key: of Services that claim the same virtual server the older wins (creation
//! time, then name), where upstream lets them overwrite each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rules::{Facts, Rules};
use super::server::{VirtualServer, VirtualServerKey};
use super::service::Contribution;
use super::set::{Entry, SetKey, SetName};
use super::settings::Settings;
use crate::model::{Family, Node, PerFamily, ServiceName};

/// A Service that wants something, ordered by who comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// Creation time in seconds since 1970.
    pub created: i64,
    /// Whose claim it is.
    pub service: ServiceName,
}

/// Everything that is wanted of the kernel.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    contributions: BTreeMap<ServiceName, (Claimant, Contribution)>,
    servers: BTreeMap<VirtualServerKey, BTreeSet<Claimant>>,
    addresses: BTreeMap<IpAddr, usize>,
    sets: BTreeMap<SetKey, BTreeMap<Entry, usize>>,
    rules: PerFamily<Option<Rules>>,
}

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

impl Desired {
    /// Replaces what a Service wants; `None` when it is gone.
    pub fn replace(
        &mut self,
        name: &ServiceName,
        planned: Option<(Claimant, Contribution)>,
        touched: &mut Touched,
    ) {
        if self.contributions.get(name) == planned.as_ref() {
            return;
        }
        if let Some((claimant, old)) = self.contributions.remove(name) {
            self.withdraw(&claimant, &old);
            touched.all_of(&old);
        }
        if let Some((claimant, new)) = planned {
            self.claim(&claimant, &new);
            touched.all_of(&new);
            self.contributions.insert(name.clone(), (claimant, new));
        }
    }

    /// Plans the rules again; cheap, since they depend on few facts.
    pub fn replace_rules(&mut self, settings: &Settings, node: Option<&Node>) {
        for family in Family::BOTH.into_iter().filter(|family| *settings.families.of(*family)) {
            let facts = Facts { family, filled: self.filled(family), node };
            *self.rules.of_mut(family) = Some(Rules::planned(settings, &facts));
        }
    }

    /// The rules a family would have if these sets had entries as well. A step towards the
    /// wanted rules at which nothing that still stands has lost its own.
    pub(crate) fn rules_with(
        settings: &Settings,
        node: Option<&Node>,
        family: Family,
        filled: BTreeSet<SetName>,
    ) -> Rules {
        Rules::planned(settings, &Facts { family, filled, node })
    }

    /// The virtual server wanted under a key.
    pub fn server(&self, key: &VirtualServerKey) -> Option<&VirtualServer> {
        let first = self.servers.get(key)?.first()?;
        self.contributions.get(&first.service)?.1.servers.get(key)
    }

    /// Every wanted virtual server, by key.
    pub fn servers(&self) -> impl Iterator<Item = (&VirtualServerKey, &VirtualServer)> {
        self.servers.keys().filter_map(|key| Some((key, self.server(key)?)))
    }

    /// True if the address is to be on the dummy device.
    pub fn has_address(&self, address: &IpAddr) -> bool {
        self.addresses.contains_key(address)
    }

    /// Every address to be on the dummy device.
    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.addresses.keys()
    }

    /// True if the entry is to be in the set.
    pub fn has_entry(&self, set: SetKey, entry: &Entry) -> bool {
        self.sets.get(&set).is_some_and(|entries| entries.contains_key(entry))
    }

    /// Every wanted entry of a set.
    pub fn entries(&self, set: SetKey) -> impl Iterator<Item = &Entry> {
        self.sets.get(&set).into_iter().flat_map(BTreeMap::keys)
    }

    /// Sets of a family that are to have entries.
    pub fn filled(&self, family: Family) -> BTreeSet<SetName> {
        self.sets.keys().filter(|key| key.family == family).map(|key| key.name).collect()
    }

    /// The rules of a family; `None` before the first plan and for a disabled family.
    pub fn rules(&self, family: Family) -> Option<&Rules> {
        self.rules.of(family).as_ref()
    }

    fn claim(&mut self, claimant: &Claimant, contribution: &Contribution) {
        for key in contribution.servers.keys() {
            self.servers.entry(*key).or_default().insert(claimant.clone());
        }
        for address in &contribution.addresses {
            *self.addresses.entry(*address).or_default() += 1;
        }
        for (set, entry) in &contribution.entries {
            *self.sets.entry(*set).or_default().entry(*entry).or_default() += 1;
        }
    }

    fn withdraw(&mut self, claimant: &Claimant, contribution: &Contribution) {
        for key in contribution.servers.keys() {
            if let Some(claims) = self.servers.get_mut(key) {
                claims.remove(claimant);
                if claims.is_empty() {
                    self.servers.remove(key);
                }
            }
        }
        for address in &contribution.addresses {
            release(&mut self.addresses, address);
        }
        for (set, entry) in &contribution.entries {
            if let Some(entries) = self.sets.get_mut(set) {
                release(entries, entry);
                if entries.is_empty() {
                    self.sets.remove(set);
                }
            }
        }
    }
}

/// Takes one claim away and the key with the last one.
fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Touched {
    fn all_of(&mut self, contribution: &Contribution) {
        self.servers.extend(contribution.servers.keys());
        self.addresses.extend(&contribution.addresses);
        self.entries.extend(&contribution.entries);
    }
}

#[cfg(test)]
mod tests;
