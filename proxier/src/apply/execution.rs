//! Carries out changes stage by stage, in batches.
//!
//! Takes changes, the kernel and the cache. Gives the outcome, and records each success in the cache at once.
//! The caller can interrupt an execution between two batches, when every service address still works. Does
//! not retry; failed changes go back to the caller.

use std::collections::{BTreeSet, VecDeque};

use super::blocked::Blocked;
use super::cause::Cause;
use super::kernel::{Kernel, Part};
use super::order::{Stage, in_stages};
use super::outcome::{Failure, Outcome};
use crate::diff::{
    AddressChange, Change, FLOWS_AT_ONCE, Flow, KernelCache, NewServers, Observed, ObservedServer,
    ServerChange, SetChange, removals,
};
use crate::model::Family;
use crate::plan::{Entry, ServerSettings, SetKey, VirtualServerKey};

/// Carries out all changes, in an order that keeps service addresses working.
pub fn apply(changes: Vec<Change>, kernel: &mut dyn Kernel, cache: &mut KernelCache) -> Outcome {
    let mut execution = Execution::new(changes, cache.state());
    while !execution.is_done() {
        let mut budget = Budget::MAX;
        execution.run(kernel, cache, &mut budget);
        for (stage, change, cause) in execution.take_refused() {
            execution.hold(stage, &change, cache.state());
            execution.outcome.failed.push(Failure { operation: change.to_string(), cause });
        }
    }
    execution.outcome
}

/// The work that may be done before the caller may interrupt. One unit is about one microsecond on a current
/// processor in a big cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(pub u32);

impl Budget {
    /// No limit.
    pub const MAX: Self = Self(u32::MAX);

    /// The cost of a change. The kernel searches the device's whole list for each address. For another
    /// scheduler it waits until no processor uses the old one any more (`synchronize_rcu` in
    /// `ip_vs_edit_service`), which takes some ten milliseconds. IPVS defers deletions instead (`call_rcu`).
    fn of(change: &Change, cache: &Observed) -> Self {
        let schedules_otherwise = |key, settings: &ServerSettings| {
            let server: Option<&ObservedServer> = cache.servers.get(key);
            server.is_none_or(|server| server.settings.scheduler != settings.scheduler)
        };
        Self(match change {
            Change::Server(ServerChange::Update(key, settings))
                if schedules_otherwise(key, settings) =>
            {
                16_384
            }
            Change::Address(AddressChange::Add(_)) | Change::Address(AddressChange::Remove(_)) => {
                16
            }
            Change::Server(ServerChange::Add(..)) | Change::Server(ServerChange::Remove(_)) => 4,
            Change::Set(SetChange::AddEntry(..))
            | Change::Set(SetChange::RemoveEntry(..))
            | Change::RemoveFlow(_) => 1,
            Change::Server(ServerChange::AddDestination(..))
            | Change::Server(ServerChange::UpdateDestination(..))
            | Change::Server(ServerChange::RemoveDestination(..))
            | Change::Server(ServerChange::Update(..)) => 1,
            Change::AddDevice
            | Change::RemoveDevice
            | Change::Set(SetChange::Create(_) | SetChange::Destroy(_)) => 16,
            Change::Set(SetChange::Grow(..)) | Change::Rules(_) => 1024,
        })
    }
}

/// Changes that are being carried out, and their results so far.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// The changes that wait, in the order of their stages.
    rest: VecDeque<(Stage, Change)>,
    blocked: Blocked,
    /// The stage before which the execution ends; `None` if it runs to the end.
    end: Option<Stage>,
    /// True if nothing had failed before this execution.
    is_clean: bool,
    /// Failed changes that the caller has not taken yet.
    refused: Vec<(Stage, Change, Cause)>,
    /// Changes held back that the caller has not taken yet.
    held_back: Vec<Change>,
    /// New virtual servers of tracked protocols whose earlier flows have not been removed yet.
    unforgotten: BTreeSet<VirtualServerKey>,
    pub(crate) outcome: Outcome,
}

impl Execution {
    /// Sorts changes by stage. `standing` is the kernel state before them.
    pub(crate) fn new(changes: Vec<Change>, standing: &Observed) -> Self {
        let rest = in_stages(changes, standing);
        let unforgotten = NewServers::among(rest.iter().map(|(_, change)| change));
        Self {
            rest: rest.into(),
            blocked: Blocked::default(),
            end: None,
            is_clean: true,
            refused: Vec::new(),
            held_back: Vec::new(),
            unforgotten,
            outcome: Outcome::default(),
        }
    }

    /// Sets the failures that hold changes back from now on.
    pub(crate) fn blocked_by(&mut self, blocked: Blocked) {
        self.blocked = blocked;
    }

    /// Takes the failures that hold changes back.
    pub(crate) fn take_blocked(&mut self) -> Blocked {
        std::mem::take(&mut self.blocked)
    }

    /// Notes whether anything has failed before. Rules of other modes are removed only if nothing has.
    pub(crate) fn after_failures(&mut self, has_failures: bool) {
        self.is_clean = !has_failures;
    }

    /// Notes that the rules of a family are unknown. Holds back their writing and everything that needs them.
    pub(crate) fn block_unread(&mut self, family: Family) {
        self.blocked.block_unread(family);
    }

    /// Notes that a change has failed and is not tried again in this execution.
    pub(crate) fn hold(&mut self, stage: Stage, change: &Change, cache: &Observed) {
        self.blocked.add(stage, change, cache);
    }

    /// Takes the changes that have failed since the last call.
    pub(crate) fn take_refused(&mut self) -> Vec<(Stage, Change, Cause)> {
        std::mem::take(&mut self.refused)
    }

    /// Takes the changes that were held back since the last call.
    pub(crate) fn take_held_back(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.held_back)
    }

    /// True if nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.next_stage().is_none()
    }

    fn next_stage(&self) -> Option<Stage> {
        let (stage, _) = self.rest.front()?;
        Some(*stage).filter(|stage| self.end.is_none_or(|end| *stage < end))
    }

    /// The changes that wait, in the order of their stages.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Change> {
        self.rest.iter().map(|(_, change)| change)
    }

    /// The waiting additions and removals of entries of these virtual servers and their node ports. A caller
    /// that changes the destinations of such a virtual server first has to change these entries too, each at
    /// its stage. Otherwise an exemption that waits to be removed would keep clients of a new destination
    /// from being masqueraded.
    pub(crate) fn pending_entries_of(
        &self,
        servers: &BTreeSet<VirtualServerKey>,
    ) -> BTreeSet<(SetKey, Entry)> {
        let ports: BTreeSet<_> = servers.iter().map(VirtualServerKey::node_port).collect();
        let entries = self.pending().filter_map(|change| match change {
            Change::Set(SetChange::AddEntry(set, entry))
            | Change::Set(SetChange::RemoveEntry(set, entry)) => Some((*set, *entry)),
            _ => None,
        });
        let is_theirs = |(set, entry): &(SetKey, Entry)| {
            entry.frontend().is_some_and(|key| servers.contains(&key))
                || set.node_port(entry).is_some_and(|port| ports.contains(&port))
        };
        entries.filter(is_theirs).collect()
    }

    /// Drops the waiting changes for which `is_others` holds, because another execution makes them.
    pub(crate) fn discard(&mut self, is_others: impl Fn(&Change) -> bool) {
        self.rest.retain(|(_, change)| !is_others(change));
    }

    /// Adds changes, each behind those of its stage. `standing` is the kernel state before them.
    pub(crate) fn enqueue(&mut self, more: Vec<Change>, standing: &Observed) {
        self.take_in(Self::new(more, standing));
    }

    fn take_in(&mut self, more: Self) {
        self.unforgotten.extend(more.unforgotten);
        self.rest.extend(more.rest);
        self.rest.make_contiguous().sort_by_key(|(stage, _)| *stage);
    }

    /// Makes an execution of other changes that are to be carried out before the rest of this one. It ends
    /// after the stages that drain destinations and add exemptions. Its entries, virtual servers and
    /// addresses that go are removed together with those of this execution, which may still need them. It
    /// inherits what failures hold back. The caller has to call [`rejoin`](Self::rejoin) afterwards.
    pub(crate) fn fork(&mut self, changes: Vec<Change>, standing: &Observed) -> Self {
        let mut other = Self::new(changes, standing);
        other.end = Some(Stage::RemoveSourceRangeGuards);
        // These virtual servers were added here without destinations and get their first ones in `other`.
        let served = other.rest.iter().filter_map(|(_, change)| change.new_destination());
        let new: BTreeSet<_> = served.filter_map(|(key, _)| self.unforgotten.take(&key)).collect();
        other.unforgotten.extend(new);
        other.blocked = std::mem::take(&mut self.blocked);
        other
    }

    /// Takes over the rest of another execution. Its failures hold back changes here too.
    pub(crate) fn rejoin(&mut self, mut other: Self) {
        self.blocked = std::mem::take(&mut other.blocked);
        self.outcome.absorb(std::mem::take(&mut other.outcome));
        self.take_in(other);
    }

    /// Carries out changes until the budget is spent or an answer of the kernel contradicts the cache. In the
    /// second case the caller has to correct the cache first, because the next changes may depend on it.
    pub(crate) fn run(
        &mut self,
        kernel: &mut dyn Kernel,
        cache: &mut KernelCache,
        budget: &mut Budget,
    ) {
        loop {
            let next = self.next_stage();
            if next.is_none_or(|stage| stage >= Stage::AddDestinations) {
                self.forget_earlier_flows(kernel);
            }
            let Some(stage) = next.filter(|_| budget.0 > 0) else { return };
            let ready = self.next_batch(stage, cache.state(), &mut budget.0);
            if ready.is_empty() {
                continue;
            }
            kernel.enters(Part::Change(stage));
            let answers = kernel.carry_out(ready);
            let mut is_contradicted = false;
            for (change, result) in answers {
                let Err(cause) = result else {
                    self.outcome.done += 1;
                    cache.record(&change);
                    continue;
                };
                if cause.contradicts_cache() {
                    is_contradicted = true;
                } else {
                    self.blocked.add(stage, &change, cache.state());
                }
                self.refused.push((stage, change, cause));
            }
            if is_contradicted {
                return;
            }
        }
    }

    /// Takes the next changes of one stage that may be carried out, within the budget.
    fn next_batch(&mut self, stage: Stage, cache: &Observed, left: &mut u32) -> Vec<Change> {
        let mut ready = Vec::new();
        while *left > 0 && self.rest.front().is_some_and(|(next, _)| *next == stage) {
            let Some((_, change)) = self.rest.pop_front() else { break };
            // Rules of other modes may still serve as protection until everything else has succeeded.
            let is_clean = self.is_clean && self.outcome.is_whole() && self.refused.is_empty();
            let too_soon = stage == Stage::RemoveLegacyRules && !is_clean;
            let has_no_set = matches!(&change, Change::Set(SetChange::AddEntry(set, _)) if !cache.sets.contains_key(set));
            if too_soon || has_no_set || self.blocked.blocks(stage, &change, cache) {
                self.outcome.held_back += 1;
                self.held_back.push(change);
            } else {
                *left = left.saturating_sub(Budget::of(&change, cache).0);
                ready.push(change);
            }
        }
        ready
    }

    /// Removes flows that clients began to an address before it had a virtual server ([`NewServers`]).
    ///
    /// The virtual server has its entries, rules and address at this time, but no destinations. It refuses
    /// packets, so that no flow begins in the old way again. Removing flows later would miss some. A reply
    /// that is under way when its flow is removed begins a flow in the opposite direction. The client's
    /// packets then count as replies, which no rule translates.
    ///
    /// Flows that could not be read or removed, or that exceed [`FLOWS_AT_ONCE`], are looked for again after
    /// all other changes.
    fn forget_earlier_flows(&mut self, kernel: &mut dyn Kernel) {
        let new = std::mem::take(&mut self.unforgotten);
        if new.is_empty() {
            return;
        }
        kernel.enters(Part::Flows);
        let new = NewServers::new(new, self.pending());
        let is_earlier = |flow: &Flow| new.has_earlier(flow);
        for kind in new.kinds() {
            let earlier = kernel.flows(kind, &is_earlier, FLOWS_AT_ONCE).unwrap_or_default();
            if !earlier.is_empty() {
                let answers = kernel.carry_out(removals(earlier));
                self.outcome.done += answers.iter().filter(|(_, result)| result.is_ok()).count();
            }
        }
    }
}

#[cfg(test)]
mod tests;
