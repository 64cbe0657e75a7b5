//! Decides which changes must wait because something they need has failed.
//!
//! Takes the changes that failed, each with its stage. Answers for a later change whether it must not be
//! carried out. Nothing becomes reachable without its protection, and nothing loses its protection while it
//! can be reached. A failure blocks other changes until it is tried again
//! ([`Refused`](super::refused::Refused)).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::coverage::uncovered;
use super::order::{Role, Stage, role};
use crate::diff::{
    AddressChange, Change, Moment, Observed, ObservedServer, RulesChange, RulesStep, ServerChange,
    SetChange,
};
use crate::model::Family;
use crate::plan::{Entry, NodePort, SetKey, SetName, Table, VirtualServerKey, weight};

/// Failures, by the kind of object whose changes they block.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    /// Families whose sets or rules are missing.
    families: BTreeSet<Family>,
    /// Families whose rules are unknown.
    unread: BTreeSet<Family>,
    /// Families whose rules could not be written, although the rules that stand cover all but
    /// `uncovered_sets` and `uncovered`.
    partly: BTreeSet<Family>,
    /// Sets for which a rule is missing.
    uncovered_sets: BTreeSet<SetKey>,
    /// Load-balancer frontends without the rule that refuses this node.
    uncovered: BTreeSet<VirtualServerKey>,
    /// Addresses whose entry in `KUBE-IPVS-IPS` is missing.
    addresses: BTreeSet<IpAddr>,
    /// Virtual servers that could not be created.
    unmade: BTreeSet<VirtualServerKey>,
    /// Virtual servers that must get no further destinations.
    servers: BTreeSet<VirtualServerKey>,
    /// Node ports at which virtual servers must get no further destinations.
    ports: BTreeSet<NodePort>,
    /// Virtual servers with an entry that could not be added.
    incomplete: BTreeSet<VirtualServerKey>,
    /// Addresses that could not be removed.
    standing: BTreeSet<IpAddr>,
    /// Virtual servers with destinations that could not be drained or removed.
    lingering: BTreeSet<VirtualServerKey>,
    /// Virtual servers with entries that could not be removed.
    permitted: BTreeSet<VirtualServerKey>,
    /// Node ports with entries that could not be removed.
    permitted_ports: BTreeSet<NodePort>,
    /// Virtual servers whose guards could not be removed.
    guarded: BTreeSet<VirtualServerKey>,
}

impl Blocked {
    /// Notes that the family's rules are unknown.
    pub(super) fn block_unread(&mut self, family: Family) {
        self.families.insert(family);
        self.unread.insert(family);
    }

    /// True if the change must wait. `cache` is the kernel state after the changes so far.
    pub(super) fn blocks(&mut self, stage: Stage, change: &Change, cache: &Observed) -> bool {
        match change {
            Change::Address(AddressChange::Add(address)) => self.blocks_address(*address),
            Change::Server(ServerChange::Add(key, _)) => {
                let blocked = self.families.contains(&key.family());
                if blocked {
                    self.unmade.insert(*key);
                }
                blocked
            }
            Change::Server(ServerChange::AddDestination(key, ..))
            | Change::Server(ServerChange::UpdateDestination(key, _, weight::SERVING)) => {
                self.blocks_destinations(key, cache)
            }
            // The rules may name a set that could not be created.
            Change::Rules(RulesChange::Write(step)) => {
                self.has_failed(step.family)
                    || (step.moment == Moment::AfterRemoval && self.needs_old_rules(step.family))
            }
            Change::Set(SetChange::AddEntry(set, entry)) => self.blocks_entry(stage, *set, entry),
            Change::Set(SetChange::RemoveEntry(set, entry)) => {
                let blocked = self.blocks_removal(stage, *set, entry, cache);
                if blocked {
                    self.add_permitted(*set, entry);
                }
                blocked
            }
            Change::Server(ServerChange::Remove(key)) => {
                self.lingering.contains(key)
                    || self.permitted.contains(key)
                    || self.permitted_ports.contains(&key.node_port())
            }
            Change::AddDevice
            | Change::RemoveDevice
            | Change::Set(_)
            | Change::RemoveFlow(_)
            | Change::Rules(_)
            | Change::Server(ServerChange::Update(..))
            | Change::Server(ServerChange::UpdateDestination(..))
            | Change::Server(ServerChange::RemoveDestination(..))
            | Change::Address(AddressChange::Remove(_)) => false,
        }
    }

    fn blocks_address(&self, address: IpAddr) -> bool {
        self.families.contains(&Family::of(address)) || self.addresses.contains(&address)
    }

    /// True if the entry must wait. Without its virtual server, the entry would let packets pass to a process
    /// of the host. While the rules are unknown, they may not match the entry yet, so that everything that
    /// needs the entry waits too.
    fn blocks_entry(&mut self, stage: Stage, set: SetKey, entry: &Entry) -> bool {
        let is_unread = self.unread.contains(&set.family);
        if is_unread {
            self.add_missing(set, entry);
        }
        is_unread
            || entry.frontend().is_some_and(|key| self.unmade.contains(&key))
            || (stage == Stage::AddExemptions && self.lingers(set, entry))
    }

    fn blocks_destinations(&self, key: &VirtualServerKey, cache: &Observed) -> bool {
        let takes_none = || {
            let mut found = cache.servers.get(key).into_iter();
            found.all(|server| {
                server.destinations.values().all(|found| found.weight == weight::DRAINING)
            })
        };
        let family = key.family();
        let is_unread = self.unread.contains(&family);
        let lacks_rules = || match is_unread {
            // A virtual server that takes connections has its rules, and no entry is added while the rules
            // are unknown.
            true => takes_none(),
            false => self.has_failed(family) && !self.has_rules(key, cache),
        };
        self.unmade.contains(key)
            || self.servers.contains(key)
            || self.ports.contains(&key.node_port())
            || (self.addresses.contains(&key.address) && takes_none())
            || lacks_rules()
    }

    /// True if only the family's rules of earlier rounds may stand.
    fn has_failed(&self, family: Family) -> bool {
        self.families.contains(&family) || self.partly.contains(&family)
    }

    /// True if rules stand for every set that has an entry of the virtual server or its node port.
    fn has_rules(&self, key: &VirtualServerKey, cache: &Observed) -> bool {
        let mut sets = sets_of(key, cache);
        !self.uncovered.contains(key)
            && sets.all(|set| !self.uncovered_sets.contains(&set) && is_matched(set, cache))
    }

    /// Notes that rules could not be written. Virtual servers that the standing rules cover are still served.
    fn add_rules(&mut self, step: &RulesStep, cache: &Observed) {
        let family = step.family;
        let Some(found) = uncovered(&step.rules, cache.rules.of(family)) else {
            self.families.insert(family);
            return;
        };
        self.partly.insert(family);
        self.uncovered.extend(found.servers);
        let sets = SetName::ALL.map(|name| SetKey { family, name }).into_iter();
        self.uncovered_sets
            .extend(sets.filter(|set| found.sets.contains(set.name.kernel_name(family))));
    }

    /// True if something remains in the kernel that only the old rules protect.
    fn needs_old_rules(&self, family: Family) -> bool {
        let servers =
            [&self.servers, &self.incomplete, &self.lingering, &self.permitted, &self.guarded];
        let mut servers = servers.into_iter().flatten().map(VirtualServerKey::family);
        let mut ports = self.ports.iter().chain(&self.permitted_ports).map(|port| port.family);
        let mut addresses = self.standing.iter().chain(&self.addresses).map(|ip| Family::of(*ip));
        servers.any(|of| of == family)
            || ports.any(|of| of == family)
            || addresses.any(|of| of == family)
    }

    fn blocks_removal(&self, stage: Stage, set: SetKey, entry: &Entry, cache: &Observed) -> bool {
        match stage {
            Stage::RemoveSourceRangeGuards => self.lingers(set, entry),
            Stage::RemoveEntries => {
                self.lingers(set, entry) || self.is_needed_yet(set, entry, cache)
            }
            Stage::RemoveAddressEntries => {
                entry.address().is_some_and(|address| self.standing.contains(&address))
            }
            _ => false,
        }
    }

    /// True if the entry is still needed: its replacement, a set entry or a rule, is missing, or the guard
    /// past which it lets clients still stands. Failed rules keep only entries whose virtual server has
    /// destinations. Otherwise a set whose rules cannot be written would never lose its entries.
    fn is_needed_yet(&self, set: SetKey, entry: &Entry, cache: &Observed) -> bool {
        (self.has_failed(set.family) && is_served(set, entry, cache))
            || entry.frontend().is_some_and(|key| self.incomplete.contains(&key))
            || admits_to(set, entry).is_some_and(|key| self.guarded.contains(&key))
    }

    /// True if the entry must wait for destinations that have not left.
    fn lingers(&self, set: SetKey, entry: &Entry) -> bool {
        match set.node_port(entry) {
            Some(port) => self.lingering.iter().any(|key| key.node_port() == port),
            None => entry.frontend().is_some_and(|key| self.lingering.contains(&key)),
        }
    }

    /// Notes a failed change and what it blocks. `cache` is the kernel state after the changes so far.
    pub(super) fn add(&mut self, stage: Stage, change: &Change, cache: &Observed) {
        match (stage, change) {
            (Stage::AddServers, Change::Server(ServerChange::Add(key, _))) => {
                self.unmade.insert(*key);
            }
            (
                Stage::AddEntries | Stage::AddSourceRangeGuards,
                Change::Set(SetChange::AddEntry(set, entry)),
            ) => {
                self.add_missing(*set, entry);
            }
            // While the exemption stands, endpoints of other nodes would answer the client directly, from the
            // wrong address.
            (Stage::RemoveExemptions, Change::Set(SetChange::RemoveEntry(set, entry))) => {
                match set.node_port(entry) {
                    Some(port) => drop(self.ports.insert(port)),
                    None => self.servers.extend(entry.frontend()),
                }
            }
            (
                Stage::DrainDestinations,
                Change::Server(ServerChange::UpdateDestination(key, ..))
                | Change::Server(ServerChange::RemoveDestination(key, _)),
            ) => {
                self.lingering.insert(*key);
            }
            (
                Stage::RemoveSourceRangeGuards | Stage::RemoveEntries,
                Change::Set(SetChange::RemoveEntry(set, entry)),
            ) => {
                self.add_permitted(*set, entry);
            }
            (Stage::RemoveAddresses, Change::Address(AddressChange::Remove(address))) => {
                self.standing.insert(*address);
            }
            (Stage::WriteRules, Change::Rules(RulesChange::Write(step))) => {
                self.add_rules(step, cache)
            }
            // Each entry that does not fit into the set fails by itself.
            (Stage::CreateSets, Change::Set(SetChange::Grow(..))) => {}
            (Stage::CreateSets | Stage::WriteRules, _) => match change.family() {
                Some(family) => drop(self.families.insert(family)),
                None => self.families.extend(Family::BOTH),
            },
            _ => {}
        }
    }

    /// Notes that an entry could not be removed. Its virtual server has to stay too: without it, the entry
    /// would let packets pass to a process of the host.
    fn add_permitted(&mut self, set: SetKey, entry: &Entry) {
        match set.node_port(entry) {
            Some(port) => drop(self.permitted_ports.insert(port)),
            None => self.permitted.extend(entry.frontend()),
        }
        if role(set.name) == Role::Guard {
            self.guarded.extend(entry.frontend());
        }
    }

    fn add_missing(&mut self, set: SetKey, entry: &Entry) {
        self.incomplete.extend(entry.frontend());
        match role(set.name) {
            Role::Address => self.addresses.extend(entry.address()),
            // The client that the entry would admit stays shut out, which is safe.
            Role::Admission => {}
            Role::Permission | Role::Guard | Role::Exemption => match set.node_port(entry) {
                Some(port) => drop(self.ports.insert(port)),
                None => self.servers.extend(entry.frontend()),
            },
        }
    }
}

/// The sets that have an entry of the virtual server or its node port.
fn sets_of(key: &VirtualServerKey, cache: &Observed) -> impl Iterator<Item = SetKey> {
    let own = Entry::AddressPort(key.address, key.protocol, key.port);
    let port = Entry::Port(key.port);
    let sets = cache.sets.iter().filter(move |(set, entries)| {
        let is_of_port =
            || set.node_port(&port) == Some(key.node_port()) && entries.contains(&port);
        set.family == key.family() && (entries.contains(&own) || is_of_port())
    });
    sets.map(|(set, _)| *set)
}

/// True if a rule stands that matches the set.
fn is_matched(set: SetKey, cache: &Observed) -> bool {
    let table = match role(set.name) {
        Role::Guard => Table::Filter,
        Role::Permission | Role::Exemption | Role::Admission | Role::Address => Table::Nat,
    };
    let name = set.name.kernel_name(set.family);
    let chains = &cache.rules.of(set.family).chains;
    let mut rules = chains.iter().filter(|(chain, _)| chain.table == table);
    rules.any(|(_, rules)| rules.iter().any(|rule| rule.split(' ').any(|word| word == name)))
}

/// True if a virtual server of the entry's frontend or node port has destinations.
fn is_served(set: SetKey, entry: &Entry, cache: &Observed) -> bool {
    let has_some = |server: &ObservedServer| server.destinations.iter().next().is_some();
    match set.node_port(entry) {
        Some(port) => {
            let mut servers = cache.servers.iter().filter(|(key, _)| key.node_port() == port);
            servers.any(|(_, server)| has_some(server))
        }
        None => {
            let server = entry.frontend().and_then(|key| cache.servers.get(&key));
            server.is_some_and(has_some)
        }
    }
}

/// The guarded virtual server to which the entry admits clients; `None` if the set does not admit any.
fn admits_to(set: SetKey, entry: &Entry) -> Option<VirtualServerKey> {
    match set.name {
        SetName::LoadBalancerSourceIp | SetName::LoadBalancerSourceCidr => entry.frontend(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
