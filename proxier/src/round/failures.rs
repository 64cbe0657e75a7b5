//! The consequences of failures in a round.
//!
//! Takes the changes of an execution that have failed. Notes them until they are tried again, reads single
//! objects again that contradict the cache, and says whether the cache is still valid. Does not decide when
//! to run.
//!
//! After an answer of the kernel its state is known, because a refused change leaves it as it was. The only
//! reasons to read are an answer that contradicts the cache and an exchange without an answer.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Proxier, Work};
use crate::apply::{
    Budget, Cause, CauseKind, Due, Execution, Failure, Kernel, KernelReading, Outcome, Refusal,
    RulesReading, Stage,
};
use crate::diff::{
    AddressChange, Change, ChangeSet, KernelCache, ObjectKey, Observed, RulesChange, Scan,
    SetChange,
};
use crate::model::{Family, PerFamily, TriggerTime};
use crate::plan::{DirtyKeys, VirtualServerKey};

/// The findings of this round about the validity of the cache.
#[derive(Debug, Default)]
pub(super) struct CacheValidity {
    /// True if the kernel state is unknown.
    is_unknown: bool,
    /// Virtual servers that were read again because the kernel contradicted the cache. On a second
    /// contradiction, the change is refused.
    corrected: BTreeSet<VirtualServerKey>,
}

impl CacheValidity {
    /// Has the kernel be read in whole by the next round.
    pub(super) fn require_full_reading(&mut self) {
        self.is_unknown = true;
    }

    /// True if the kernel has to be read in whole.
    pub(super) fn needs_full_reading(&self) -> bool {
        self.is_unknown
    }
}

impl Proxier {
    /// Finds the changes of these keys, or of all keys, without those that were refused and are not due yet.
    /// Adds the keys that waited for a refused change that is no longer needed.
    pub(super) fn find_changes(
        &mut self,
        cache: &Observed,
        is_whole: bool,
        dirty_keys: &mut DirtyKeys,
    ) -> ChangeSet {
        loop {
            let extent = if is_whole { Scan::Everything } else { Scan::Dirty(dirty_keys) };
            let mut found = self.comparison(cache).changes(extent);
            match self.refused.sift(&mut found.changes, extent, cache) {
                None => return found,
                Some(more) => dirty_keys.absorb(more),
            }
        }
    }

    /// Prepares what is due to be tried again, and adds its keys to `dirty_keys`. Returns the reads that have
    /// failed.
    pub(super) fn retry_due(
        &mut self,
        cache: &mut KernelCache,
        kernel: &mut dyn Kernel,
        now: Instant,
        dirty_keys: &mut DirtyKeys,
    ) -> Vec<Failure> {
        let Some(Due { keys, dirty_keys: more }) = self.refused.retry_due(cache.state(), now)
        else {
            return Vec::new();
        };
        dirty_keys.absorb(more);
        let mut failures = Vec::new();
        for key in keys {
            match key {
                ObjectKey::StandingRules(family) => {
                    failures.extend(self.read_rules(family, cache, kernel, now));
                }
                ObjectKey::Connections => self.drain.look_at_all(),
                _ => {}
            }
        }
        failures
    }

    /// Notes which rules could be read together with everything else. Returns those that could not.
    pub(super) fn note_rules_read(
        &mut self,
        unread: PerFamily<Option<Cause>>,
        cache: &Observed,
        now: Instant,
        dirty_keys: &mut DirtyKeys,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (family, cause) in [(Family::V4, unread.v4), (Family::V6, unread.v6)] {
            match cause {
                Some(cause) => failures.push(self.fail_rules_read(family, cause, now)),
                None if self.refused.cannot_read_rules(family) => {
                    dirty_keys
                        .absorb(self.refused.release(&[ObjectKey::StandingRules(family)], cache));
                }
                None => {}
            }
        }
        failures
    }

    fn fail_rules_read(&mut self, family: Family, cause: Cause, now: Instant) -> Failure {
        let operation = format!("read rules {family}");
        self.refused.fail(ObjectKey::StandingRules(family), operation, cause, now)
    }

    fn read_rules(
        &mut self,
        family: Family,
        cache: &mut KernelCache,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) -> Option<Failure> {
        match kernel.read_rules(family) {
            Ok(RulesReading { rules, has_legacy_rules }) => {
                cache.correct_rules(family, rules, has_legacy_rules);
                None
            }
            Err(cause) => Some(self.fail_rules_read(family, cause, now)),
        }
    }

    /// Runs an execution until the budget is spent or it is done, and deals with its failures.
    pub(super) fn carry_on(
        &mut self,
        execution: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        mut budget: Budget,
        now: Instant,
    ) {
        while !execution.is_done() && budget.0 > 0 {
            execution.run(kernel, &mut work.cache, &mut budget);
            self.settle(execution, work, kernel, now);
        }
    }

    fn settle(
        &mut self,
        execution: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) {
        execution.take_held_back().iter().for_each(|change| self.refused.wait(change));
        let mut contradicting = BTreeSet::new();
        for (stage, change, cause) in execution.take_refused() {
            if shows_no_device(&change, &cause) {
                // The kernel's notice is to come. What else was removed with the device is unknown.
                self.has_interference = true;
                work.validity.require_full_reading();
                continue;
            }
            match change.server().filter(|_| cause.contradicts_cache()) {
                Some(server) if contradicting.contains(&server) => {}
                Some(server) if work.validity.corrected.insert(server) => {
                    contradicting.insert(server);
                }
                Some(_) | None => self.refuse(stage, change, cause, execution, work, kernel, now),
            }
        }
        if contradicting.is_empty() {
            return;
        }
        for key in &contradicting {
            match kernel.read_server(key) {
                Ok(found) => work.cache.correct_server(*key, found),
                Err(cause) => {
                    work.validity.is_unknown = true;
                    let operation = format!("read virtual server {key}");
                    execution.outcome.failed.push(Failure { operation, cause });
                }
            }
        }
        self.compare_again(contradicting, execution, work);
    }

    /// The changes of these virtual servers are found anew.
    fn compare_again(
        &mut self,
        servers: BTreeSet<VirtualServerKey>,
        execution: &mut Execution,
        work: &mut Work,
    ) {
        let mut dirty_keys = DirtyKeys { servers, ..DirtyKeys::default() };
        let mut found = self.find_changes(work.cache.state(), false, &mut dirty_keys);
        found.changes.retain(|change| change.is_of(&dirty_keys));
        work.kinds_to_check
            .append(&mut self.stale_candidates.note(&found.changes, work.cache.state()));
        work.due.append(&mut found.draining);
        if let Some(blocked) = self.refused.take_blocked() {
            execution.blocked_by(blocked);
        }
        execution.discard(|change| {
            change.is_of(&dirty_keys) || matches!(change, Change::Set(SetChange::Grow(..)))
        });
        let growth = self.growth(&found.changes, execution, work.cache.state());
        found.changes.extend(growth);
        execution.enqueue(found.changes, work.cache.state());
        work.servers.extend(dirty_keys.servers);
    }

    /// Room in the sets for these changes and for those that wait in the execution. A set that is made anew
    /// must have room for both.
    pub(super) fn growth(
        &self,
        changes: &[Change],
        execution: &Execution,
        cache: &Observed,
    ) -> Vec<Change> {
        let mut growth = self.comparison(cache).growth(changes.iter().chain(execution.pending()));
        growth.retain(|change| !self.refused.has_just(change));
        growth
    }

    /// Notes that a change has failed and is not tried again in this round.
    #[expect(clippy::too_many_arguments, reason = "all that a failure has to do with")]
    fn refuse(
        &mut self,
        stage: Stage,
        change: Change,
        cause: Cause,
        execution: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) {
        // If a set or the device is gone, others may be gone too. A second such answer says nothing new.
        let key = change.key();
        let is_gone = cause.contradicts_cache() && change.server().is_none();
        let is_doubtful =
            cause.leaves_state_unknown() || (is_gone && !self.refused.has_failed_before(&key));
        execution.hold(stage, &change, work.cache.state());
        // The write may have changed some of the tables.
        let unclear = match &change {
            Change::Rules(RulesChange::Write(step)) => Some(step.family),
            _ => None,
        };
        execution.outcome.failed.push(self.refused.refuse(stage, change, cause, now));
        if is_doubtful {
            work.validity.is_unknown = true;
            self.refused.retry_after_reading(&key, now);
        }
        if let Some(family) = unclear
            && let Some(failure) = self.read_rules(family, &mut work.cache, kernel, now)
        {
            execution.block_unread(family);
            execution.outcome.failed.push(failure);
        }
    }

    /// Completes the outcome of a round in which the kernel could not be read in whole.
    pub(super) fn failed_read(&mut self, cause: Cause, now: Instant) -> Outcome {
        let operation = "read kernel state".into();
        let mut failed = std::mem::take(&mut self.failures_between_rounds);
        failed.push(self.refused.fail(ObjectKey::Kernel, operation, cause, now));
        let draining = self.drain.standing(now);
        self.complete(Outcome { failed, draining, ..Outcome::default() })
    }

    /// Adds to the outcome what is refused now.
    pub(super) fn complete(&mut self, mut outcome: Outcome) -> Outcome {
        outcome.resolved = self.refused.end_round();
        outcome.refused = self.refused.count();
        outcome.next_retry = self.refused.next_retry();
        outcome.blocked = self.refused.blocked();
        outcome.needs_full_reading = self.cache.is_none();
        outcome.trigger_times = self.take_trigger_times(&outcome.blocked);
        outcome
    }

    /// Takes the trigger times whose changes are in force. In a blocked family, the first one of each Service
    /// is kept. It tells for how long the Service has not been served as it should be.
    fn take_trigger_times(&mut self, blocked: &PerFamily<bool>) -> Vec<TriggerTime> {
        let waits = |trigger: &TriggerTime| *blocked.of(trigger.family);
        let all = std::mem::take(&mut self.trigger_times);
        let (mut waiting, now): (Vec<_>, _) = all.into_iter().partition(waits);
        waiting.sort_unstable_by(|a, b| {
            (&a.service, a.family, a.at).cmp(&(&b.service, b.family, b.at))
        });
        waiting
            .dedup_by(|next, first| (&next.service, next.family) == (&first.service, first.family));
        self.trigger_times = waiting;
        now
    }

    /// Ends an audit with what was read. The next round compares everything.
    pub fn end_audit(&mut self, found: KernelReading, now: Instant) {
        let KernelReading { observed: mut found, unread } = found;
        let Some(mut cache) = self.cache.take() else { return };
        for family in Family::BOTH {
            if unread.of(family).is_some() {
                // Nothing shows that these rules have changed.
                let cached = cache.state().rules.of(family).clone();
                *found.rules.of_mut(family) = cached;
            }
        }
        if cache.end_reading(found) {
            self.compares_all = true;
            self.note_proven(cache.state());
            let mut dirty_keys = std::mem::take(&mut self.dirty_keys);
            let mut failures = self.note_rules_read(unread, cache.state(), now, &mut dirty_keys);
            self.failures_between_rounds.append(&mut failures);
            self.dirty_keys = dirty_keys;
        }
        self.cache = Some(cache);
    }
}

/// True if an address was refused because the dummy device does not exist, although the cache has it.
fn shows_no_device(change: &Change, cause: &Cause) -> bool {
    let is_absent = cause.kind() == CauseKind::Refused(Refusal::NotThere);
    matches!(change, Change::Address(AddressChange::Add(_))) && is_absent
}
