//! The walk itself: stage by stage, in batches.
//!
//! In: changes, the kernel, the belief about it. Out: the outcome; every success is recorded in
//! the belief at once. A long walk is cut wherever its caller wants to look up: between two batches
//! the kernel is in a state that breaks nothing. Never: a retry; a failure is met by reading the kernel again in a later
//! round.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use super::kernel::{Cause, Kernel, Part};
use super::order::{Stage, Standing};
use super::outcome::{Failure, Outcome};
use crate::diff::{Belief, Change, Moment, Observed, earlier_flows, new_servers};
use crate::model::{Family, PerFamily};
use crate::plan::{Entry, VirtualServerKey};

/// Carries out changes in the order that breaks nothing, all of them.
pub fn apply(changes: Vec<Change>, kernel: &mut dyn Kernel, belief: &mut Belief) -> Outcome {
    Walk::new(changes, belief.state()).carry_out(kernel, belief)
}

/// How much is done before somebody may come in between; about the time in microseconds that a
/// processor of today needs for it in a big cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effort(pub u32);

impl Effort {
    /// Without a pause.
    pub const MAX: Self = Self(u32::MAX);

    /// What a change costs. The kernel walks the device's whole list for each address.
    fn of(change: &Change) -> Self {
        Self(match change {
            Change::AddAddress(_) | Change::RemoveAddress(_) => 16,
            Change::AddServer(..) | Change::RemoveServer(_) => 4,
            Change::AddEntry(..) | Change::RemoveEntry(..) | Change::RemoveFlow(_) => 1,
            Change::AddDestination(..)
            | Change::UpdateDestination(..)
            | Change::RemoveDestination(..)
            | Change::UpdateServer(..) => 1,
            Change::AddLink | Change::AddSet(_) => 16,
            Change::GrowSet(..) | Change::WriteRules(_) | Change::RemoveLeftovers(_) => 1024,
        })
    }
}

/// Changes on their way into the kernel.
#[derive(Debug)]
pub(crate) struct Walk {
    /// In the order of their stages.
    rest: VecDeque<(Stage, Change)>,
    held: Held,
    /// Whether flows to virtual servers that come have been forgotten.
    has_forgotten: bool,
    pub(crate) outcome: Outcome,
}

impl Walk {
    /// Puts changes in order; `standing` is what stands before them.
    pub(crate) fn new(changes: Vec<Change>, standing: &Observed) -> Self {
        let mut standing = Standing::new(standing);
        let mut rest: Vec<(Stage, Change)> =
            changes.into_iter().map(|change| (standing.stage(&change), change)).collect();
        rest.sort_by_key(|(stage, _)| *stage);
        Self {
            rest: rest.into(),
            held: Held::default(),
            has_forgotten: false,
            outcome: Outcome::default(),
        }
    }

    /// The rules of these families are unknown: they are left as they are, and so is all that must
    /// not be reached without them.
    pub(crate) fn without_rules(mut self, unread: &PerFamily<Option<Cause>>) -> Self {
        for family in Family::BOTH {
            if unread.of(family).is_some() {
                self.held.families.insert(family);
            }
        }
        self
    }

    /// True if nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Leaves out what others have taken charge of.
    pub(crate) fn leave_out(&mut self, is_others: impl Fn(&Change) -> bool) {
        self.rest.retain(|(_, change)| !is_others(change));
    }

    /// Takes more changes in, each at its stage, behind those that are there.
    pub(crate) fn join(&mut self, more: Vec<Change>, standing: &Observed) {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend(Self::new(more, standing).rest);
        rest.make_contiguous().sort_by_key(|(stage, _)| *stage);
        self.rest = rest;
    }

    /// Carries out everything.
    pub(crate) fn carry_out(mut self, kernel: &mut dyn Kernel, belief: &mut Belief) -> Outcome {
        self.go_on(kernel, belief, Effort::MAX);
        self.outcome
    }

    /// Carries out the next changes until the effort is spent.
    pub(crate) fn go_on(&mut self, kernel: &mut dyn Kernel, belief: &mut Belief, effort: Effort) {
        let mut left = effort.0;
        while left > 0 {
            let Some((stage, _)) = self.rest.front() else { return };
            let stage = *stage;
            if stage == Stage::Servers && !std::mem::replace(&mut self.has_forgotten, true) {
                let servers = self.rest.iter().take_while(|(other, _)| *other == stage);
                let changes = servers.map(|(_, change)| change);
                kernel.enters(Part::Flows);
                self.outcome.done += forget_earlier_flows(changes, kernel);
            }
            let ready = self.next_batch(stage, &mut left);
            if ready.is_empty() {
                continue;
            }
            kernel.enters(Part::Change(stage));
            let results = kernel.carry_out(&ready);
            for (change, result) in ready.iter().zip(results) {
                match result {
                    Ok(()) => {
                        self.outcome.done += 1;
                        belief.record(change);
                    }
                    Err(cause) => self.held.note(stage, change, cause, &mut self.outcome),
                }
            }
        }
    }

    /// Changes of one stage that may be carried out, as far as the effort goes.
    fn next_batch(&mut self, stage: Stage, left: &mut u32) -> Vec<Change> {
        let mut ready = Vec::new();
        while *left > 0 && self.rest.front().is_some_and(|(next, _)| *next == stage) {
            let Some((_, change)) = self.rest.pop_front() else { break };
            // Other modes' rules go when nothing depends on them: after a whole success.
            let too_soon = stage == Stage::LeftoversGone && !self.outcome.is_whole();
            if too_soon || self.held.holds(&change) {
                self.outcome.held_back += 1;
            } else {
                *left = left.saturating_sub(Effort::of(&change).0);
                ready.push(change);
            }
        }
        ready
    }
}

/// Forgets flows that were sent to an address before it is a virtual server. What was decided for
/// them then holds as long as they last, masquerading too. Later would be too late for some: the
/// answer that is under way when its flow is forgotten begins a flow of its own, the other way
/// round, and then the client's packets count as answers, which no rule translates. Before the
/// virtual server stands nobody answers.
///
/// Out: how many are forgotten. What fails is tried again after all other changes.
fn forget_earlier_flows<'a>(
    changes: impl Iterator<Item = &'a Change>,
    kernel: &mut dyn Kernel,
) -> usize {
    let new = new_servers(changes);
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
#[derive(Debug, Default)]
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
        if matches!(stage, Stage::Ground | Stage::Rules | Stage::RulesGone) {
            outcome.block(change.family());
        }
        outcome.failed.push(Failure { operation: change.to_string(), cause });
    }
}

#[cfg(test)]
mod tests;
