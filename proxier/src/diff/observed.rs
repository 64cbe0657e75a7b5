//! The kernel state, under the same keys as the desired state.
//!
//! Takes a reading of the kernel, or successful changes. Gives the same value for both. Does not hold objects
//! that cannot be this proxy's, such as firewall-mark services, other sets, or rules of other chains. The
//! reader leaves those out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::change::{AddressChange, Change, RulesChange, ServerChange, SetChange};
use super::destinations::Destinations;
use crate::model::PerFamily;
use crate::plan::{Entry, Rules, ServerSettings, SetKey, SetKind, VirtualServerKey};

/// A kernel state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// True if the dummy device exists.
    pub link: bool,
    /// Addresses on the dummy device.
    pub addresses: BTreeSet<IpAddr>,
    /// Virtual servers by (protocol, address, port).
    pub servers: BTreeMap<VirtualServerKey, ObservedServer>,
    /// Sets of this proxy that exist, with their entries.
    pub sets: BTreeMap<SetKey, BTreeSet<Entry>>,
    /// The number of entries for which each set has room. Sets without a limit of their own (`bitmap:port`)
    /// are absent.
    pub capacities: BTreeMap<SetKey, u32>,
    /// Rules in this proxy's chains that exist, and this proxy's jumps that stand.
    pub rules: PerFamily<Rules>,
    /// True if chains, rules or tables of kube-proxy's other modes exist.
    pub legacy_rules: PerFamily<bool>,
}

/// A virtual server in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedServer {
    /// The scheduler, flags and timeout.
    pub settings: ServerSettings,
    /// Destinations by address and port.
    pub destinations: Destinations,
}

/// A destination in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedDestination {
    /// The weight.
    pub weight: u32,
    /// True if it is reached by NAT, as this proxy's destinations are. Another method is corrected.
    pub masquerades: bool,
    /// Active and inactive connections together, as of the last reading; `None` if they were not counted.
    pub connections: Option<u32>,
}

impl Observed {
    /// The number of entries for which a set has room.
    pub fn room(&self, set: SetKey) -> u32 {
        self.capacities.get(&set).copied().unwrap_or(SetKind::PORTS)
    }

    /// Records a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        match change {
            Change::AddDevice => self.link = true,
            Change::RemoveDevice => {
                self.link = false;
                self.addresses.clear();
            }
            Change::Address(AddressChange::Add(address)) => {
                self.addresses.insert(*address);
            }
            Change::Address(AddressChange::Remove(address)) => {
                self.addresses.remove(address);
            }
            Change::Set(change) => self.record_set(change),
            Change::Rules(RulesChange::Write(step)) => {
                self.rules.of_mut(step.family).clone_from(&step.rules);
            }
            Change::Rules(RulesChange::RemoveLegacy(family)) => {
                *self.legacy_rules.of_mut(*family) = false;
            }
            Change::Rules(RulesChange::RemoveAll(table)) => {
                let rules = self.rules.of_mut(table.family);
                rules.chains.retain(|key, _| key.table.to_string() != table.table);
                rules.jumps.retain(|jump| jump.table.to_string() != table.table);
            }
            Change::Server(change) => self.record_server(change),
            // Flows come and go by themselves, so that they are not part of the state. Of nftables it has only
            // whether there is anything to remove.
            Change::RemoveFlow(_) | Change::Rules(RulesChange::RemoveNftTable(_)) => {}
        }
    }

    fn record_set(&mut self, change: &SetChange) {
        match change {
            SetChange::Create(set) => {
                self.sets.entry(*set).or_default();
                if let Some(capacity) = set.name.kind().default_capacity() {
                    self.capacities.insert(*set, capacity);
                }
            }
            SetChange::Grow(set, capacity) => {
                self.capacities.insert(*set, *capacity);
            }
            SetChange::Destroy(name) => {
                self.sets.retain(|set, _| set.name.kernel_name(set.family) != *name);
                self.capacities.retain(|set, _| set.name.kernel_name(set.family) != *name);
            }
            SetChange::AddEntry(set, entry) => {
                let entries = self.sets.entry(*set).or_default();
                // The kernel keeps only one of the two, and an added entry replaces the exception.
                if let Some(exception) = entry.exception() {
                    entries.remove(&exception);
                }
                entries.insert(*entry);
            }
            SetChange::RemoveEntry(set, entry) => {
                if let Some(entries) = self.sets.get_mut(set) {
                    entries.remove(entry);
                    // The kernel compares the parts of entries, and not whether they are exceptions.
                    if let Some(other) = entry.exception().or_else(|| entry.instead_of_exception())
                    {
                        entries.remove(&other);
                    }
                }
            }
        }
    }

    fn record_server(&mut self, change: &ServerChange) {
        let key = *change.key();
        if let ServerChange::Add(_, settings) = change {
            let settings = settings.clone();
            let destinations = Destinations::default();
            self.servers.insert(key, ObservedServer { settings, destinations });
            return;
        }
        if matches!(change, ServerChange::Remove(_)) {
            self.servers.remove(&key);
            return;
        }
        let Some(server) = self.servers.get_mut(&key) else { return };
        match change {
            ServerChange::Update(_, settings) => server.settings = settings.clone(),
            ServerChange::AddDestination(_, destination, weight)
            | ServerChange::UpdateDestination(_, destination, weight) => {
                let (weight, masquerades) = (*weight, true);
                let now = ObservedDestination { weight, masquerades, connections: None };
                server.destinations.insert(*destination, now);
            }
            ServerChange::RemoveDestination(_, destination) => {
                server.destinations.remove(destination);
            }
            ServerChange::Add(..) | ServerChange::Remove(_) => {}
        }
    }
}
