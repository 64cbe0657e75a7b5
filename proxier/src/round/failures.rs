//! What a round does about failures.
//!
//! Takes what a walk could not do. Notes it until it is tried again, reads single objects again that are not as
//! believed, and says whether anything is known of the kernel at all. Does not decide when to run.
//!
//! After an answer of the kernel its state is known: it is as it was. Only an answer that contradicts what is
//! believed, and an exchange without an answer, are reasons to read.

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

/// What has become of what was believed in this round.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Whether nothing is known of the kernel any more.
    all: bool,
    /// Virtual servers that were read once because the kernel contradicted what was believed of them. If it does so
    /// again, the change is refused.
    corrected: BTreeSet<VirtualServerKey>,
}

impl Doubts {
    /// Has the kernel be read in whole by the next round.
    pub(super) fn lose_all(&mut self) {
        self.all = true;
    }

    /// True if the kernel has to be read in whole.
    pub(super) fn has_all(&self) -> bool {
        self.all
    }
}

impl Proxier {
    /// The changes for these keys, or for all, but for what was refused and is not to be tried yet. If something that
    /// was refused is no longer wanted, what waited for it is looked at too.
    pub(super) fn find_changes(
        &mut self,
        cache: &Observed,
        is_whole: bool,
        touched: &mut DirtyKeys,
    ) -> ChangeSet {
        loop {
            let extent = if is_whole { Scan::Everything } else { Scan::Dirty(touched) };
            let mut found = self.comparison(cache).changes(extent);
            match self.refused.sift(&mut found.changes, extent, cache) {
                None => return found,
                Some(more) => touched.absorb(more),
            }
        }
    }

    /// Makes those ready to be tried again whose time has come.
    pub(super) fn retry_due(
        &mut self,
        cache: &mut KernelCache,
        kernel: &mut dyn Kernel,
        now: Instant,
        touched: &mut DirtyKeys,
    ) -> Vec<Failure> {
        let Some(Due { keys, touched: more }) = self.refused.retry_due(cache.state(), now) else {
            return Vec::new();
        };
        touched.absorb(more);
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

    /// Takes note of which rules could be read with everything else.
    pub(super) fn note_rules_read(
        &mut self,
        unread: PerFamily<Option<Cause>>,
        cache: &Observed,
        now: Instant,
        touched: &mut DirtyKeys,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (family, cause) in [(Family::V4, unread.v4), (Family::V6, unread.v6)] {
            match cause {
                Some(cause) => failures.push(self.fail_rules_read(family, cause, now)),
                None if self.refused.cannot_read_rules(family) => {
                    touched
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

    /// Carries a walk on until the effort is spent, and does what its failures ask for.
    pub(super) fn carry_on(
        &mut self,
        walk: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        mut effort: Budget,
        now: Instant,
    ) {
        while !walk.is_done() && effort.0 > 0 {
            walk.run(kernel, &mut work.cache, &mut effort);
            self.settle(walk, work, kernel, now);
        }
    }

    fn settle(
        &mut self,
        walk: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) {
        walk.take_held_back().iter().for_each(|change| self.refused.wait(change));
        let mut unlike_belief = BTreeSet::new();
        for (stage, change, cause) in walk.take_refused() {
            if shows_no_device(&change, &cause) {
                // Its notice is to come. What else was removed with it nobody knows.
                self.has_interference = true;
                work.doubts.lose_all();
                continue;
            }
            match change.server().filter(|_| cause.contradicts_belief()) {
                Some(server) if unlike_belief.contains(&server) => {}
                Some(server) if work.doubts.corrected.insert(server) => {
                    unlike_belief.insert(server);
                }
                Some(_) | None => self.refuse(stage, change, cause, walk, work, kernel, now),
            }
        }
        if unlike_belief.is_empty() {
            return;
        }
        for key in &unlike_belief {
            match kernel.read_server(key) {
                Ok(found) => work.cache.correct_server(*key, found),
                Err(cause) => {
                    work.doubts.all = true;
                    let operation = format!("read virtual server {key}");
                    walk.outcome.failed.push(Failure { operation, cause });
                }
            }
        }
        self.compare_again(unlike_belief, walk, work);
    }

    /// The changes of these virtual servers are found anew.
    fn compare_again(
        &mut self,
        servers: BTreeSet<VirtualServerKey>,
        walk: &mut Execution,
        work: &mut Work,
    ) {
        let mut touched = DirtyKeys { servers, ..DirtyKeys::default() };
        let mut found = self.find_changes(work.cache.state(), false, &mut touched);
        found.changes.retain(|change| change.is_of(&touched));
        work.suspected.append(&mut self.suspect(&found.changes, work.cache.state()));
        work.due.append(&mut found.draining);
        if let Some(held) = self.refused.take_held() {
            walk.held_by(held);
        }
        walk.discard(|change| {
            change.is_of(&touched) || matches!(change, Change::Set(SetChange::Grow(..)))
        });
        let growth = self.growth(&found.changes, walk, work.cache.state());
        found.changes.extend(growth);
        walk.enqueue(found.changes, work.cache.state());
        work.servers.extend(touched.servers);
    }

    /// Room in the sets for these changes and for those that wait in the walk: a set that is made anew must have room for
    /// both.
    pub(super) fn growth(
        &self,
        changes: &[Change],
        walk: &Execution,
        cache: &Observed,
    ) -> Vec<Change> {
        let mut growth = self.comparison(cache).growth(changes.iter().chain(walk.pending()));
        growth.retain(|change| !self.refused.has_just(change));
        growth
    }

    /// A change has failed and is not tried again in this round.
    #[expect(clippy::too_many_arguments, reason = "all that a failure has to do with")]
    fn refuse(
        &mut self,
        stage: Stage,
        change: Change,
        cause: Cause,
        walk: &mut Execution,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) {
        // If a set or the device is gone, more may be. A second answer of this kind says nothing new.
        let key = change.key();
        let is_gone = cause.contradicts_belief() && change.server().is_none();
        let is_doubtful =
            cause.leaves_state_unknown() || (is_gone && !self.refused.has_failed_before(&key));
        walk.hold(stage, &change, work.cache.state());
        // One of several tables may have been written.
        let unclear = match &change {
            Change::Rules(RulesChange::Write(step)) => Some(step.family),
            _ => None,
        };
        walk.outcome.failed.push(self.refused.refuse(stage, change, cause, now));
        if is_doubtful {
            work.doubts.all = true;
            self.refused.retry_after_reading(&key, now);
        }
        if let Some(family) = unclear
            && let Some(failure) = self.read_rules(family, &mut work.cache, kernel, now)
        {
            walk.hold_unread(family);
            walk.outcome.failed.push(failure);
        }
    }

    /// The kernel could not be read in whole.
    pub(super) fn failed_read(&mut self, cause: Cause, now: Instant) -> Outcome {
        let operation = "read kernel state".into();
        let mut failed = std::mem::take(&mut self.unreported);
        failed.push(self.refused.fail(ObjectKey::Kernel, operation, cause, now));
        let draining = self.drain.standing(now);
        self.complete(Outcome { failed, draining, ..Outcome::default() })
    }

    /// Adds what is refused by now.
    pub(super) fn complete(&mut self, mut outcome: Outcome) -> Outcome {
        outcome.resolved = self.refused.end_round();
        outcome.refused = self.refused.count();
        outcome.next_retry = self.refused.next_retry();
        outcome.blocked = self.refused.blocked();
        outcome.is_in_doubt = self.cache.is_none();
        outcome.reported = self.take_reported(&outcome.blocked);
        outcome
    }

    /// What is in force now. Of a family that is not, the first report of each Service waits: it says for how
    /// long the Service has not been served as it should be.
    fn take_reported(&mut self, blocked: &PerFamily<bool>) -> Vec<TriggerTime> {
        let waits = |reported: &TriggerTime| *blocked.of(reported.family);
        let all = std::mem::take(&mut self.reported);
        let (mut waiting, now): (Vec<_>, _) = all.into_iter().partition(waits);
        waiting.sort_unstable_by(|a, b| {
            (&a.service, a.family, a.at).cmp(&(&b.service, b.family, b.at))
        });
        waiting
            .dedup_by(|next, first| (&next.service, next.family) == (&first.service, first.family));
        self.reported = waiting;
        now
    }

    /// Takes in what was read beside the rounds. The next round compares everything.
    pub fn end_audit(&mut self, found: KernelReading, now: Instant) {
        let KernelReading { observed: mut found, unread } = found;
        let Some(mut cache) = self.cache.take() else { return };
        for family in Family::BOTH {
            if unread.of(family).is_some() {
                // Nothing says that they are otherwise.
                let believed = cache.state().rules.of(family).clone();
                *found.rules.of_mut(family) = believed;
            }
        }
        if cache.end_reading(found) {
            self.compares_all = true;
            self.note_proven(cache.state());
            let mut touched = std::mem::take(&mut self.touched);
            let mut failures = self.note_rules_read(unread, cache.state(), now, &mut touched);
            self.unreported.append(&mut failures);
            self.touched = touched;
        }
        self.cache = Some(cache);
    }
}

/// True if an address could not be put on the dummy device because there is no such device, although one is believed to
/// be there.
fn shows_no_device(change: &Change, cause: &Cause) -> bool {
    let is_absent = cause.kind() == CauseKind::Refused(Refusal::NotThere);
    matches!(change, Change::Address(AddressChange::Add(_))) && is_absent
}
