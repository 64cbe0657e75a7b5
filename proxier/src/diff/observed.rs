//! What the kernel has, under the same keys as the wish.
//!
//! In: a read of the kernel, or the successes of our own changes. Out: a value that looks the same
//! either way. Never: objects that cannot be ours (firewall-mark services, foreign sets, rules of
//! other chains); the reader leaves those out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::change::{AddressChange, Change, RulesChange, ServerChange, SetChange};
use super::destinations::Destinations;
use crate::model::PerFamily;
use crate::plan::{Entry, Rules, ServerSettings, SetKey, SetKind, VirtualServerKey};

/// Kernel state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether the dummy device exists.
    pub link: bool,
    /// Addresses on it.
    pub addresses: BTreeSet<IpAddr>,
    /// Virtual servers by (protocol, address, port).
    pub servers: BTreeMap<VirtualServerKey, ObservedServer>,
    /// Sets of ours that exist, with their entries.
    pub sets: BTreeMap<SetKey, BTreeSet<Entry>>,
    /// How many entries each set has room for; absent for sets without a limit of their own
    /// (`bitmap:port`).
    pub capacities: BTreeMap<SetKey, u32>,
    /// Rules in chains of ours that exist, and jumps of ours that stand.
    pub rules: PerFamily<Rules>,
    /// Whether chains, rules or tables of kube-proxy's other modes are there.
    pub legacy_rules: PerFamily<bool>,
}

/// A virtual server in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedServer {
    /// Scheduler, flags, timeout.
    pub settings: ServerSettings,
    /// Destinations by address and port.
    pub destinations: Destinations,
}

/// A destination in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedDestination {
    /// The weight.
    pub weight: u32,
    /// Whether it is reached by NAT, as ours are. Another method is repaired.
    pub masquerades: bool,
    /// Active and inactive connections together, if they were counted just now. A believed state
    /// never knows them.
    pub connections: Option<u32>,
}

impl Observed {
    /// How many entries a set has room for.
    pub fn room(&self, set: SetKey) -> u32 {
        self.capacities.get(&set).copied().unwrap_or(SetKind::PORTS)
    }

    /// Notes a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        match change {
            Change::AddDevice => self.link = true,
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
            Change::Server(change) => self.record_server(change),
            // Flows come and go by themselves, so that nothing is kept of them.
            Change::RemoveFlow(_) => {}
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
            SetChange::AddEntry(set, entry) => {
                let entries = self.sets.entry(*set).or_default();
                // The kernel keeps one of the two, and an entry that is added replaces the exception.
                if let Some(exception) = entry.exception() {
                    entries.remove(&exception);
                }
                entries.insert(*entry);
            }
            SetChange::RemoveEntry(set, entry) => {
                if let Some(entries) = self.sets.get_mut(set) {
                    entries.remove(entry);
                    // It compares the parts of entries, and not whether they are exceptions.
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
