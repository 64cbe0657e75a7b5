//! The walk itself: stage by stage, in batches.
//!
//! In: changes, the kernel, the belief about it. Out: the outcome; every success is recorded in
//! the belief at once. A long walk is cut wherever its caller wants to look up: between two batches
//! the kernel is in a state that breaks nothing. Never: a retry; a failure is met by reading the kernel again in a later
//! round.

use std::collections::{BTreeSet, VecDeque};

use super::cause::Cause;
use super::held::Held;
use super::kernel::{FLOWS_AT_ONCE, Kernel, Part};
use super::order::{Stage, Standing};
use super::outcome::{Failure, Outcome};
use crate::diff::{Belief, Change, Flow, Observed, leads_elsewhere, new_servers, removals};
use crate::model::{Family, PerFamily};
use crate::plan::{Entry, SetKey, VirtualServerKey};

/// Carries out changes in the order that breaks nothing, all of them.
pub fn apply(changes: Vec<Change>, kernel: &mut dyn Kernel, belief: &mut Belief) -> Outcome {
    let mut walk = Walk::new(changes, belief.state());
    walk.go_on(kernel, belief, Effort::MAX);
    walk.outcome
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
    /// Virtual servers that come, and to which earlier flows have not been forgotten.
    unforgotten: BTreeSet<VirtualServerKey>,
    pub(crate) outcome: Outcome,
}

impl Walk {
    /// Puts changes in order; `standing` is what stands before them.
    pub(crate) fn new(changes: Vec<Change>, standing: &Observed) -> Self {
        let mut standing = Standing::new(standing);
        let mut rest: Vec<(Stage, Change)> =
            changes.into_iter().map(|change| (standing.stage(&change), change)).collect();
        rest.sort_by_key(|(stage, _)| *stage);
        let unforgotten = new_servers(rest.iter().map(|(_, change)| change));
        Self { rest: rest.into(), held: Held::default(), unforgotten, outcome: Outcome::default() }
    }

    /// The rules of these families are unknown, which is a failure: they are left as they are, and so is all
    /// that must not be reached without them.
    pub(crate) fn without_rules(mut self, unread: PerFamily<Option<Cause>>) -> Self {
        for (family, cause) in [(Family::V4, unread.v4), (Family::V6, unread.v6)] {
            if let Some(cause) = cause {
                self.held.hold_unread(family);
                self.outcome
                    .failed
                    .push(Failure { operation: format!("read rules {family}"), cause });
                self.outcome.block(Some(family));
            }
        }
        self
    }

    /// True if nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The changes that wait, in the order of their stages.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Change> {
        self.rest.iter().map(|(_, change)| change)
    }

    /// The entries of these virtual servers, and of their node ports, that wait to be added or removed. Whoever
    /// changes the destinations of such a virtual server first has to change these entries too, each at
    /// its stage: an exemption that waits to go would keep a new destination's clients from being masqueraded.
    pub(crate) fn pending_entries_of(
        &self,
        servers: &BTreeSet<VirtualServerKey>,
    ) -> BTreeSet<(SetKey, Entry)> {
        let ports: BTreeSet<_> = servers.iter().map(VirtualServerKey::node_port).collect();
        let entries = self.pending().filter_map(|change| match change {
            Change::AddEntry(set, entry) | Change::RemoveEntry(set, entry) => Some((*set, *entry)),
            _ => None,
        });
        let is_theirs = |(set, entry): &(SetKey, Entry)| {
            entry.frontend().is_some_and(|key| servers.contains(&key))
                || set.node_port(entry).is_some_and(|port| ports.contains(&port))
        };
        entries.filter(is_theirs).collect()
    }

    /// Leaves out what others have taken charge of.
    pub(crate) fn leave_out(&mut self, is_others: impl Fn(&Change) -> bool) {
        self.rest.retain(|(_, change)| !is_others(change));
    }

    /// Takes more changes in, each at its stage, behind those that are there.
    pub(crate) fn join(&mut self, more: Vec<Change>, standing: &Observed) {
        self.take_in(Self::new(more, standing));
    }

    fn take_in(&mut self, more: Self) {
        self.unforgotten.extend(more.unforgotten);
        self.rest.extend(more.rest);
        self.rest.make_contiguous().sort_by_key(|(stage, _)| *stage);
    }

    /// Carries out other changes first, up to the destinations that leave: entries, virtual servers and addresses go
    /// together with those of this walk, because something that is to go here may need them yet. What
    /// has failed so far holds them back as well, and what fails of them holds back what is left here.
    pub(crate) fn let_pass(
        &mut self,
        changes: Vec<Change>,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
    ) {
        let mut other = Self::new(changes, belief.state());
        let last = other.rest.partition_point(|(stage, _)| *stage < Stage::GuardsGone);
        let later = other.rest.split_off(last);
        // What has come without destinations so far, and gets some now.
        let served = other.rest.iter().filter_map(|(_, change)| change.new_destination());
        let new: BTreeSet<_> = served.filter_map(|(key, _)| self.unforgotten.take(&key)).collect();
        other.unforgotten.extend(new);
        other.held = std::mem::take(&mut self.held);
        other.go_on(kernel, belief, Effort::MAX);
        self.held = std::mem::take(&mut other.held);
        self.outcome.absorb(std::mem::take(&mut other.outcome));
        other.rest = later;
        self.take_in(other);
    }

    /// Carries out the next changes until the effort is spent.
    pub(crate) fn go_on(&mut self, kernel: &mut dyn Kernel, belief: &mut Belief, effort: Effort) {
        let mut left = effort.0;
        loop {
            let next = self.rest.front().map(|(stage, _)| *stage);
            if next.is_none_or(|stage| stage >= Stage::Servers) {
                self.forget_earlier_flows(kernel);
            }
            let Some(stage) = next.filter(|_| left > 0) else { return };
            let ready = self.next_batch(stage, belief.state(), &mut left);
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
                    Err(cause) => {
                        self.held.note(stage, change, cause, belief.state(), &mut self.outcome);
                    }
                }
            }
        }
    }

    /// Changes of one stage that may be carried out, as far as the effort goes.
    fn next_batch(&mut self, stage: Stage, belief: &Observed, left: &mut u32) -> Vec<Change> {
        let mut ready = Vec::new();
        while *left > 0 && self.rest.front().is_some_and(|(next, _)| *next == stage) {
            let Some((_, change)) = self.rest.pop_front() else { break };
            // Other modes' rules go when nothing depends on them: after a whole success.
            let too_soon = stage == Stage::LeftoversGone && !self.outcome.is_whole();
            if too_soon || self.held.holds(stage, &change, belief) {
                self.outcome.held_back += 1;
            } else {
                *left = left.saturating_sub(Effort::of(&change).0);
                ready.push(change);
            }
        }
        ready
    }

    /// Forgets flows that were sent to an address before it is a virtual server. What was decided for
    /// them then holds as long as they last, masquerading too.
    ///
    /// This is done while the virtual server stands without destinations, with its entries, rules and address: what
    /// is sent to it is refused, so that no flow begins anew in the old way. Later would be too late for
    /// some: the answer that is under way when its flow is forgotten begins a flow of its own, the
    /// other way round, and then the client's packets count as answers, which no rule translates.
    ///
    /// What fails, or is too much for one look, is looked at again after all other changes.
    fn forget_earlier_flows(&mut self, kernel: &mut dyn Kernel) {
        let new = std::mem::take(&mut self.unforgotten);
        if new.is_empty() {
            return;
        }
        kernel.enters(Part::Flows);
        let destinations = self.rest.iter().filter_map(|(_, change)| change.new_destination());
        let destinations = destinations.filter(|(key, _)| new.contains(key)).collect();
        let kinds: BTreeSet<_> = new.iter().map(|key| (key.family(), key.protocol)).collect();
        let is_earlier = |flow: &Flow| leads_elsewhere(flow, &new, &destinations);
        for kind in kinds {
            let earlier = kernel.flows(kind, &is_earlier, FLOWS_AT_ONCE).unwrap_or_default();
            if !earlier.is_empty() {
                let results = kernel.carry_out(&removals(earlier));
                self.outcome.done += results.iter().filter(|result| result.is_ok()).count();
            }
        }
    }
}

#[cfg(test)]
mod tests;
