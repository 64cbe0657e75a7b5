//! The walk itself: stage by stage, each one batch.
//!
//! In: changes, the kernel, the belief about it. Out: the outcome; every success is recorded in
//! the belief at once. Never: a retry; a failure is met by reading the kernel again in a later
//! round.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::kernel::{Cause, Kernel};
use super::order::{Stage, Standing};
use super::outcome::{Failure, Outcome};
use crate::diff::{Change, Moment, Observed, earlier_flows, new_servers};
use crate::model::Family;
use crate::plan::{Entry, VirtualServerKey};

/// Carries out changes in the order that breaks nothing.
pub fn apply(changes: Vec<Change>, kernel: &mut dyn Kernel, belief: &mut Observed) -> Outcome {
    let mut standing = Standing::new(belief);
    let mut staged: Vec<(Stage, Change)> =
        changes.into_iter().map(|change| (standing.stage(&change), change)).collect();
    staged.sort_by_key(|(stage, _)| *stage);
    let mut outcome = Outcome::default();
    let mut held = Held::default();
    let mut rest = staged.into_iter().peekable();
    while let Some((stage, first)) = rest.next() {
        let mut ready = Vec::new();
        let mut next = Some(first);
        while let Some(change) = next {
            // Other modes' rules go when nothing depends on them: after a whole success.
            let too_soon = stage == Stage::LeftoversGone && !outcome.is_whole();
            if too_soon || held.holds(&change) {
                outcome.held_back += 1;
            } else {
                ready.push(change);
            }
            next = rest.next_if(|(other, _)| *other == stage).map(|(_, change)| change);
        }
        if ready.is_empty() {
            continue;
        }
        if stage == Stage::Servers {
            outcome.done += forget_earlier_flows(&ready, kernel);
        }
        let results = kernel.carry_out(&ready);
        for (change, result) in ready.iter().zip(results) {
            match result {
                Ok(()) => {
                    outcome.done += 1;
                    belief.record(change);
                }
                Err(cause) => held.note(stage, change, cause, &mut outcome),
            }
        }
    }
    outcome
}

/// Forgets flows that were sent to an address before it is a virtual server. What was decided for
/// them then holds as long as they last, masquerading too. Later would be too late for some: the
/// answer that is under way when its flow is forgotten begins a flow of its own, the other way
/// round, and then the client's packets count as answers, which no rule translates. Before the
/// virtual server stands nobody answers.
///
/// Out: how many are forgotten. What fails is tried again after all other changes.
fn forget_earlier_flows(ready: &[Change], kernel: &mut dyn Kernel) -> usize {
    let new = new_servers(ready);
    let kinds: BTreeSet<_> = new.keys().map(|key| (key.family(), key.protocol)).collect();
    if kinds.is_empty() {
        return 0;
    }
    let Ok(flows) = kernel.flows(&kinds) else { return 0 };
    let earlier = earlier_flows(&new, flows);
    if earlier.is_empty() {
        return 0;
    }
    kernel.carry_out(&earlier).iter().filter(|result| result.is_ok()).count()
}

/// What must not become reachable in this round, because something it needs has failed; and what
/// must keep its guard, because it could not be removed.
#[derive(Default)]
struct Held {
    families: BTreeSet<Family>,
    addresses: BTreeSet<IpAddr>,
    servers: BTreeSet<VirtualServerKey>,
    ports: BTreeSet<u16>,
    standing: BTreeSet<IpAddr>,
}

impl Held {
    fn holds(&mut self, change: &Change) -> bool {
        match change {
            Change::AddAddress(address) => self.holds_address(*address),
            Change::AddServer(key, _) => {
                let held = self.holds_address(key.address) || self.ports.contains(&key.port);
                if held {
                    self.servers.insert(*key);
                }
                held
            }
            Change::AddDestination(key, ..) => {
                self.servers.contains(key) || self.ports.contains(&key.port)
            }
            // The rules still name the set that could not be made, or guard what still stands.
            Change::WriteRules(step) => {
                let stands = |address: &IpAddr| Family::of(*address) == step.family;
                self.families.contains(&step.family)
                    || (step.moment == Moment::AfterRemoval && self.standing.iter().any(stands))
            }
            Change::RemoveEntry(_, entry) => {
                entry.address().is_some_and(|address| self.standing.contains(&address))
            }
            Change::AddLink
            | Change::GrowSet(..)
            | Change::RemoveFlow(_)
            | Change::RemoveLeftovers(_)
            | Change::AddSet(_)
            | Change::AddEntry(..)
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

    /// Notes a failure and what follows from it.
    fn note(&mut self, stage: Stage, change: &Change, cause: Cause, outcome: &mut Outcome) {
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
            (Stage::Entries | Stage::Guards, Change::AddEntry(_, entry)) => {
                self.addresses.extend(entry.address());
                self.ports.extend(entry.node_port());
            }
            // Destinations elsewhere would answer to the wrong address while it stands.
            (Stage::ExemptionsGone, Change::RemoveEntry(_, entry)) => match *entry {
                Entry::AddressPort(address, protocol, port) => {
                    self.servers.insert(VirtualServerKey { protocol, address, port });
                }
                _ => self.ports.extend(entry.node_port()),
            },
            (Stage::AddressesGone, Change::RemoveAddress(address)) => {
                self.standing.insert(*address);
            }
            (Stage::ServersGone, Change::RemoveServer(key)) => {
                self.standing.insert(key.address);
            }
            (Stage::Ground | Stage::Rules, _) => match change.family() {
                Some(family) => {
                    self.families.insert(family);
                }
                None => self.families.extend(Family::BOTH),
            },
            _ => {}
        }
        outcome.is_blocked |= matches!(stage, Stage::Ground | Stage::Rules | Stage::RulesGone);
        outcome.failed.push(Failure { operation: change.to_string(), cause });
    }
}

#[cfg(test)]
mod tests;
