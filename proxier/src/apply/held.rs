//! What must wait because something it needs has failed.
//!
//! In: the changes of a round that failed, each with its stage. Out: which later ones must not be
//! carried out: nothing becomes reachable without what protects it, and nothing loses its protection
//! while it stands. Never: a memory beyond the round; the next one reads what there really is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::cause::Cause;
use super::order::Stage;
use super::outcome::{Failure, Outcome};
use crate::diff::{Change, Moment};
use crate::model::Family;
use crate::plan::{Entry, NodePort, SetKey, SetName, VirtualServerKey};

/// What has failed, by what depends on it.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Whose sets or rules are missing.
    families: BTreeSet<Family>,
    /// Whose entries are missing.
    addresses: BTreeSet<IpAddr>,
    /// Which could not be made, or must not get further destinations.
    servers: BTreeSet<VirtualServerKey>,
    /// Whose entries are missing, or must not get further destinations.
    ports: BTreeSet<NodePort>,
    /// Which should have gone, or have virtual servers that should have.
    standing: BTreeSet<IpAddr>,
    /// Of the virtual servers that should have gone.
    standing_ports: BTreeSet<NodePort>,
    /// Which have destinations that should have left.
    lingering: BTreeSet<VirtualServerKey>,
    /// Whose guards should have gone and are still there.
    guarded: BTreeSet<VirtualServerKey>,
}

impl Held {
    /// The family's rules are unknown.
    pub(super) fn hold_family(&mut self, family: Family) {
        self.families.insert(family);
    }

    /// True if the change must wait.
    pub(super) fn holds(&mut self, stage: Stage, change: &Change) -> bool {
        match change {
            Change::AddAddress(address) => self.holds_address(*address),
            Change::AddServer(key, _) => {
                let held = self.holds_address(key.address) || self.holds_port(key);
                if held {
                    self.servers.insert(*key);
                }
                held
            }
            Change::AddDestination(key, ..) => self.servers.contains(key) || self.holds_port(key),
            // The rules still name the set that could not be made.
            Change::WriteRules(step) => {
                self.families.contains(&step.family)
                    || (step.moment == Moment::AfterRemoval && self.needs_old_rules(step.family))
            }
            Change::AddEntry(set, entry) => stage == Stage::Late && self.lingers(*set, entry),
            Change::RemoveEntry(set, entry) => {
                stage == Stage::EntriesGone && self.is_needed_yet(*set, entry)
                    || entry.address().is_some_and(|address| self.standing.contains(&address))
                    || set.node_port(entry).is_some_and(|port| self.standing_ports.contains(&port))
            }
            Change::AddLink
            | Change::GrowSet(..)
            | Change::RemoveFlow(_)
            | Change::RemoveLeftovers(_)
            | Change::AddSet(_)
            | Change::UpdateServer(..)
            | Change::UpdateDestination(..)
            | Change::RemoveDestination(..)
            | Change::RemoveAddress(_)
            | Change::RemoveServer(_) => false,
        }
    }

    fn holds_address(&self, address: IpAddr) -> bool {
        self.families.contains(&Family::of(address)) || self.addresses.contains(&address)
    }

    fn holds_port(&self, key: &VirtualServerKey) -> bool {
        self.ports.contains(&key.node_port())
    }

    /// True if something stands that only the rules of before protect.
    fn needs_old_rules(&self, family: Family) -> bool {
        let guarded = self.guarded.iter().map(|key| &key.address);
        let mut addresses = self.standing.iter().chain(&self.addresses).chain(guarded);
        addresses.any(|address| Family::of(*address) == family)
    }

    /// True if what was to come in the entry's place has not come, be it rules, or what it lets somebody past
    /// stands.
    fn is_needed_yet(&self, set: SetKey, entry: &Entry) -> bool {
        self.families.contains(&set.family)
            || entry.address().is_some_and(|address| self.addresses.contains(&address))
            || admits_to(set, entry).is_some_and(|key| self.guarded.contains(&key))
    }

    /// True if the entry waits for destinations that have not left.
    fn lingers(&self, set: SetKey, entry: &Entry) -> bool {
        match set.node_port(entry) {
            Some(port) => self.lingering.iter().any(|key| key.node_port() == port),
            None => entry.frontend().is_some_and(|key| self.lingering.contains(&key)),
        }
    }

    /// Notes a failure and what follows from it.
    pub(super) fn note(
        &mut self,
        stage: Stage,
        change: &Change,
        cause: Cause,
        outcome: &mut Outcome,
    ) {
        match (stage, change) {
            // A destination cannot be added to a virtual server that was not made in the same
            // batch: a consequence, not a second failure.
            (Stage::Servers, Change::AddDestination(key, ..)) if self.servers.contains(key) => {
                outcome.held_back += 1;
                return;
            }
            (Stage::Servers, Change::AddServer(key, _)) => {
                self.servers.insert(*key);
            }
            (Stage::Entries | Stage::Guards, Change::AddEntry(set, entry)) => {
                self.note_missing(*set, entry);
            }
            // Destinations elsewhere would answer to the wrong address while it stands.
            (Stage::ExemptionsGone, Change::RemoveEntry(set, entry)) => {
                match set.node_port(entry) {
                    Some(port) => drop(self.ports.insert(port)),
                    None => self.servers.extend(entry.frontend()),
                }
            }
            (
                Stage::Leaving,
                Change::UpdateDestination(key, ..) | Change::RemoveDestination(key, _),
            ) => {
                self.lingering.insert(*key);
            }
            (Stage::AddressesGone, Change::RemoveAddress(address)) => {
                self.standing.insert(*address);
            }
            (Stage::ServersGone, Change::RemoveServer(key)) => {
                self.standing.insert(key.address);
                self.standing_ports.insert(key.node_port());
            }
            (Stage::GuardsGone, Change::RemoveEntry(_, entry)) => {
                self.guarded.extend(entry.frontend());
            }
            (Stage::Ground | Stage::Rules, _) => match change.family() {
                Some(family) => self.hold_family(family),
                None => self.families.extend(Family::BOTH),
            },
            _ => {}
        }
        if matches!(stage, Stage::Ground | Stage::Rules | Stage::RulesGone) {
            outcome.block(change.family());
        }
        outcome.failed.push(Failure { operation: change.to_string(), cause });
    }

    fn note_missing(&mut self, set: SetKey, entry: &Entry) {
        match set.node_port(entry) {
            Some(port) => drop(self.ports.insert(port)),
            // No virtual server is reached through that set.
            None if set.name == SetName::HealthCheckNodePort => {}
            None => self.addresses.extend(entry.address()),
        }
    }
}

/// The guarded virtual server to which an entry admits somebody.
fn admits_to(set: SetKey, entry: &Entry) -> Option<VirtualServerKey> {
    match set.name {
        SetName::LoadBalancerSourceIp | SetName::LoadBalancerSourceCidr => entry.frontend(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
