//! The walk itself: stage by stage, in batches.
//!
//! In: changes, the kernel, the belief about it. Out: the outcome; every success is recorded in
//! the belief at once. A long walk is cut wherever its caller wants to look up: between two batches
//! the kernel is in a state that breaks nothing. Never: a retry; what has failed is handed to the caller.

use std::collections::{BTreeSet, VecDeque};

use super::blocked::Blocked;
use super::cause::Cause;
use super::kernel::{FLOWS_AT_ONCE, Kernel, Part};
use super::order::{CurrentState, Stage};
use super::outcome::{Failure, Outcome};
use crate::diff::{
    AddressChange, Change, Flow, KernelCache, Observed, ObservedServer, RulesChange, ServerChange,
    SetChange, leads_elsewhere, new_servers, removals,
};
use crate::model::Family;
use crate::plan::{Entry, ServerSettings, SetKey, VirtualServerKey};

/// Carries out changes in the order that breaks nothing, all of them.
pub fn apply(changes: Vec<Change>, kernel: &mut dyn Kernel, cache: &mut KernelCache) -> Outcome {
    let mut walk = Execution::new(changes, cache.state());
    while !walk.is_done() {
        let mut effort = Budget::MAX;
        walk.run(kernel, cache, &mut effort);
        for (stage, change, cause) in walk.take_refused() {
            walk.hold(stage, &change, cache.state());
            walk.outcome.failed.push(Failure { operation: change.to_string(), cause });
        }
    }
    walk.outcome
}

/// How much is done before somebody may come in between; about the time in microseconds that a
/// processor of today needs for it in a big cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(pub u32);

impl Budget {
    /// Without a pause.
    pub const MAX: Self = Self(u32::MAX);

    /// What a change costs. The kernel walks the device's whole list for each address. For another scheduler it
    /// waits until no processor looks at the old one any more (`synchronize_rcu` in `ip_vs_edit_service`), which
    /// takes some ten milliseconds; deletions in IPVS are put off instead (`call_rcu`).
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
            Change::AddDevice | Change::Set(SetChange::Create(_)) => 16,
            Change::Set(SetChange::Grow(..))
            | Change::Rules(RulesChange::Write(_))
            | Change::Rules(RulesChange::RemoveLegacy(_)) => 1024,
        })
    }
}

/// Changes on their way into the kernel.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// In the order of their stages.
    rest: VecDeque<(Stage, Change)>,
    held: Blocked,
    /// The walk ends before this stage.
    end: Option<Stage>,
    /// Whether nothing had failed before it.
    is_clean: bool,
    /// Changes that have failed and were not taken yet.
    refused: Vec<(Stage, Change, Cause)>,
    /// Changes that were held back and not taken yet.
    held_back: Vec<Change>,
    /// Virtual servers that come, and to which earlier flows have not been forgotten.
    unforgotten: BTreeSet<VirtualServerKey>,
    pub(crate) outcome: Outcome,
}

impl Execution {
    /// Puts changes in order; `standing` is what stands before them.
    pub(crate) fn new(changes: Vec<Change>, standing: &Observed) -> Self {
        let mut standing = CurrentState::new(standing);
        let mut rest: Vec<(Stage, Change)> =
            changes.into_iter().map(|change| (standing.stage(&change), change)).collect();
        rest.sort_by_key(|(stage, _)| *stage);
        let unforgotten = new_servers(rest.iter().map(|(_, change)| change));
        Self {
            rest: rest.into(),
            held: Blocked::default(),
            end: None,
            is_clean: true,
            refused: Vec::new(),
            held_back: Vec::new(),
            unforgotten,
            outcome: Outcome::default(),
        }
    }

    /// What has failed before holds back from now on.
    pub(crate) fn held_by(&mut self, held: Blocked) {
        self.held = held;
    }

    /// What holds back by now.
    pub(crate) fn take_held(&mut self) -> Blocked {
        std::mem::take(&mut self.held)
    }

    /// Says whether anything has failed before; other modes' rules go only when nothing has.
    pub(crate) fn after_failures(&mut self, has_failures: bool) {
        self.is_clean = !has_failures;
    }

    /// The rules of a family are unknown: they are left as they are, and so is all that must not be reached
    /// without them.
    pub(crate) fn hold_unread(&mut self, family: Family) {
        self.held.hold_unread(family);
    }

    /// A change has failed for good, as far as this walk goes.
    pub(crate) fn hold(&mut self, stage: Stage, change: &Change, cache: &Observed) {
        self.held.note(stage, change, cache);
    }

    /// The changes that have failed since this was asked last.
    pub(crate) fn take_refused(&mut self) -> Vec<(Stage, Change, Cause)> {
        std::mem::take(&mut self.refused)
    }

    /// The changes that were held back since this was asked last.
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

    /// The entries of these virtual servers, and of their node ports, that wait to be added or removed. Whoever
    /// changes the destinations of such a virtual server first has to change these entries too, each at
    /// its stage: an exemption that waits to go would keep a new destination's clients from being masqueraded.
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

    /// Leaves out what others have taken charge of.
    pub(crate) fn discard(&mut self, is_others: impl Fn(&Change) -> bool) {
        self.rest.retain(|(_, change)| !is_others(change));
    }

    /// Takes more changes in, each at its stage, behind those that are there.
    pub(crate) fn enqueue(&mut self, more: Vec<Change>, standing: &Observed) {
        self.take_in(Self::new(more, standing));
    }

    fn take_in(&mut self, more: Self) {
        self.unforgotten.extend(more.unforgotten);
        self.rest.extend(more.rest);
        self.rest.make_contiguous().sort_by_key(|(stage, _)| *stage);
    }

    /// Other changes that are to be carried out before the rest of these, up to the destinations that leave: entries,
    /// virtual servers and addresses go together with those of this walk, because something that is to go here may need
    /// them yet. What has failed so far holds them back as well; [`rejoin`](Self::rejoin) has to follow.
    pub(crate) fn fork(&mut self, changes: Vec<Change>, standing: &Observed) -> Self {
        let mut other = Self::new(changes, standing);
        other.end = Some(Stage::RemoveSourceRangeGuards);
        // What has come without destinations so far, and gets some now.
        let served = other.rest.iter().filter_map(|(_, change)| change.new_destination());
        let new: BTreeSet<_> = served.filter_map(|(key, _)| self.unforgotten.take(&key)).collect();
        other.unforgotten.extend(new);
        other.held = std::mem::take(&mut self.held);
        other
    }

    /// Takes in what is left of other changes; what has failed of them holds back what is left here.
    pub(crate) fn rejoin(&mut self, mut other: Self) {
        self.held = std::mem::take(&mut other.held);
        self.outcome.absorb(std::mem::take(&mut other.outcome));
        self.take_in(other);
    }

    /// Carries out the next changes until the effort is spent, or until an answer of the kernel shows that it is not as
    /// believed: then what comes next may depend on what it really holds.
    pub(crate) fn run(
        &mut self,
        kernel: &mut dyn Kernel,
        cache: &mut KernelCache,
        effort: &mut Budget,
    ) {
        loop {
            let next = self.next_stage();
            if next.is_none_or(|stage| stage >= Stage::AddDestinations) {
                self.forget_earlier_flows(kernel);
            }
            let Some(stage) = next.filter(|_| effort.0 > 0) else { return };
            let ready = self.next_batch(stage, cache.state(), &mut effort.0);
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
                if cause.contradicts_belief() {
                    is_contradicted = true;
                } else {
                    self.held.note(stage, &change, cache.state());
                }
                self.refused.push((stage, change, cause));
            }
            if is_contradicted {
                return;
            }
        }
    }

    /// Changes of one stage that may be carried out, as far as the effort goes.
    fn next_batch(&mut self, stage: Stage, cache: &Observed, left: &mut u32) -> Vec<Change> {
        let mut ready = Vec::new();
        while *left > 0 && self.rest.front().is_some_and(|(next, _)| *next == stage) {
            let Some((_, change)) = self.rest.pop_front() else { break };
            // Other modes' rules go when nothing depends on them: after a whole success.
            let is_clean = self.is_clean && self.outcome.is_whole() && self.refused.is_empty();
            let too_soon = stage == Stage::RemoveLegacyRules && !is_clean;
            let has_no_set = matches!(&change, Change::Set(SetChange::AddEntry(set, _)) if !cache.sets.contains_key(set));
            if too_soon || has_no_set || self.held.holds(stage, &change, cache) {
                self.outcome.held_back += 1;
                self.held_back.push(change);
            } else {
                *left = left.saturating_sub(Budget::of(&change, cache).0);
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
                let answers = kernel.carry_out(removals(earlier));
                self.outcome.done += answers.iter().filter(|(_, result)| result.is_ok()).count();
            }
        }
    }
}

#[cfg(test)]
mod tests;
