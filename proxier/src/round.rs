//! One round: take in events, plan, compare, apply.
//!
//! Takes events, and a kernel to read and change. Returns an [`Outcome`] for each round. Does not decide when
//! to run, which needs a clock and is up to the caller.
//!
//! A restart is a round without a cache. Refused changes are tried again when they are due ([`failures`]).
//! Only an exchange without an answer invalidates the cache. The next round then reads the kernel, because
//! the result of the exchange is unknown.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::apply::{
    Budget, Cause, Differences, Execution, Failure, Kernel, KernelReading, Outcome, Part, Ready,
    Refused,
};
use crate::diff::{
    Change, ChangeSet, Comparison, KernelCache, ObjectKey, Observed, Ownership, Proven, Scan,
    SetChange, StaleCandidates,
};
use crate::model::{Arrived, Dirty, Event, Family, Protocol, ServiceName, Store, TriggerTime};
use crate::plan::{
    Desired, DirtyKeys, LocalNode, Owner, Settings, VirtualServerDestination, VirtualServerKey,
    plan_service,
};

use self::drain::Drain;
use self::failures::CacheValidity;

mod drain;
mod failures;
mod flows;
mod others;
mod queries;

/// The state of the proxy: objects, desired state, cache, and what is still to be done.
#[derive(Debug)]
pub struct Proxier {
    settings: Settings,
    store: Store,
    dirty: Dirty,
    desired: Desired,
    dirty_keys: DirtyKeys,
    cache: Option<KernelCache>,
    proven: Proven,
    /// Changes by other programs since the last outcome that reported them.
    differences: Differences,
    /// True if another program removed something: differences that the next reading finds are its work too.
    has_interference: bool,
    /// True if the cache was read from the kernel since it was last compared with the desired state.
    compares_all: bool,
    work: Option<Work>,
    /// Changes and reads that have failed.
    refused: Refused,
    /// Failures between rounds, which the next outcome reports.
    failures_between_rounds: Vec<Failure>,
    drain: Drain,
    stale_candidates: StaleCandidates,
    /// Trigger times from EndpointSlices whose changes are planned and not yet in force.
    trigger_times: Vec<TriggerTime>,
}

/// A round that is under way.
#[derive(Debug)]
struct Work {
    execution: Execution,
    cache: KernelCache,
    /// Destinations whose connections are to be counted at the end of the round.
    due: BTreeSet<VirtualServerDestination>,
    /// True if events arrived during the round.
    is_interrupted: bool,
    /// True if everything was compared, and not only what events have changed.
    is_whole: bool,
    /// Virtual servers that events have changed.
    servers: BTreeSet<VirtualServerKey>,
    /// Families and protocols of the virtual servers that may have stale flows.
    kinds_to_check: BTreeSet<(Family, Protocol)>,
    validity: CacheValidity,
}

/// The most changes that are made before those that already wait.
const MAX_PREEMPTING_CHANGES: usize = 512;

impl Proxier {
    /// Makes a proxy without any objects.
    pub fn new(settings: Settings) -> Self {
        Self {
            store: Store::programming(&settings.families),
            settings,
            dirty: Dirty { everything: true, ..Dirty::default() },
            desired: Desired::default(),
            dirty_keys: DirtyKeys::default(),
            cache: None,
            proven: Proven::default(),
            differences: Differences::default(),
            has_interference: false,
            compares_all: false,
            work: None,
            refused: Refused::default(),
            failures_between_rounds: Vec::new(),
            drain: Drain::default(),
            stale_candidates: StaleCandidates::everything(),
            trigger_times: Vec::new(),
        }
    }

    /// Takes in which features the kernel lacks.
    pub fn set_capabilities(&mut self, ready: &Ready) {
        if self.settings.missing != ready.missing {
            self.settings.missing = ready.missing.clone();
            self.dirty.everything = true;
        }
    }

    /// Returns the number of objects that have arrived since the last call.
    pub fn take_arrived(&mut self) -> Arrived {
        std::mem::take(&mut self.dirty.arrived)
    }

    /// Takes in an event.
    pub fn fold(&mut self, event: Event) {
        match event {
            Event::Removed(removed) => self.note_removed(removed),
            event => self.store.fold(event, &mut self.dirty),
        }
    }

    /// Drops the cache, so that the next round reads and compares everything.
    pub fn invalidate(&mut self) {
        self.cache = None;
    }

    /// Lets the next round count the connections of all draining destinations. Otherwise it counts only those
    /// that begin to drain, so that the cost of a round depends on what changed.
    pub fn look_at_draining(&mut self) {
        self.drain.look_at_all();
    }

    /// Plans what has changed. [`round`](Self::round) calls it; a dry run calls it alone.
    pub fn plan(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if dirty.has_other_nodes {
            self.see_nodes();
        }
        self.trigger_times
            .retain(|trigger| !dirty.outdated_trigger_times.contains(&trigger.service));
        self.trigger_times.append(&mut dirty.trigger_times);
        let mut names: BTreeSet<ServiceName> = dirty.services;
        if dirty.everything {
            names.extend(self.store.services().map(|service| service.name.clone()));
        }
        let here = LocalNode::new(self.store.node(), self.store.addresses(), &self.settings);
        for name in &names {
            let planned = self.store.service(name).map(|service| {
                let slices: Vec<_> = self.store.slices_of(name).collect();
                let wanted = plan_service(service, &slices, &here, &self.settings);
                (Owner { created: service.created, service: name.clone() }, wanted)
            });
            self.desired.replace(name, planned, &mut self.dirty_keys);
        }
        if dirty.everything || dirty.rules {
            self.desired.invalidate_rules();
        }
        self.desired.replace_rules(&self.settings, self.store.node());
        self.proven.plan(&self.dirty_keys.servers, &self.desired, &self.settings);
    }

    /// Brings the kernel to the desired state, except for changes that fail. `now` serves to tell how long
    /// destinations have been draining, and which failures are due.
    pub fn round(&mut self, kernel: &mut dyn Kernel, now: Instant) -> Outcome {
        loop {
            if let Some(outcome) = self.step(kernel, now, Budget::MAX) {
                return outcome;
            }
        }
    }

    /// Runs a piece of a round, within the budget. Returns the outcome of the whole round with its last
    /// piece.
    ///
    /// Events that arrive between two pieces do not wait for the end of the round. Their changes are carried
    /// out first, and the others afterwards.
    pub fn step(
        &mut self,
        kernel: &mut dyn Kernel,
        now: Instant,
        budget: Budget,
    ) -> Option<Outcome> {
        let mut work = match self.work.take() {
            Some(mut work) => {
                if self.is_dirty() {
                    self.preempt(&mut work, kernel, now);
                }
                work
            }
            None => match self.begin(kernel, now) {
                Ok(work) => work,
                Err(cause) => return Some(self.failed_read(cause, now)),
            },
        };
        let mut execution = std::mem::take(&mut work.execution);
        self.carry_on(&mut execution, &mut work, kernel, budget, now);
        work.execution = execution;
        if work.execution.is_done() && work.is_interrupted {
            // Rules are written at the end, when everything that needs the old ones has gone.
            work.is_interrupted = false;
            let nothing = DirtyKeys::default();
            let mut rest = self.comparison(work.cache.state()).changes(Scan::Dirty(&nothing));
            // A change that was refused in this form has been tried already.
            rest.changes.retain(|change| !self.refused.has_just(change));
            work.execution.enqueue(rest.changes, work.cache.state());
        }
        if !work.execution.is_done() {
            self.work = Some(work);
            return None;
        }
        Some(self.finish(work, kernel, now))
    }

    /// True between two pieces of a round.
    pub fn is_at_work(&self) -> bool {
        self.work.is_some()
    }

    /// Plans, reads the kernel if necessary, and finds the changes.
    fn begin(&mut self, kernel: &mut dyn Kernel, now: Instant) -> Result<Work, Cause> {
        kernel.enters(Part::Plan);
        let has_news = self.is_dirty();
        self.plan();
        let has_interference = std::mem::take(&mut self.has_interference);
        let audited = std::mem::take(&mut self.compares_all) || has_interference;
        let mut failures = std::mem::take(&mut self.failures_between_rounds);
        let (mut cache, is_whole) = match self.cache.take() {
            Some(cache) => (cache, audited),
            None => {
                kernel.enters(Part::Read);
                let KernelReading { observed, unread } = kernel.observe()?;
                self.refused.succeed(&ObjectKey::Kernel);
                let mut dirty_keys = std::mem::take(&mut self.dirty_keys);
                let mut unread = self.note_rules_read(unread, &observed, now, &mut dirty_keys);
                failures.append(&mut unread);
                self.dirty_keys = dirty_keys;
                self.note_proven(&observed);
                (KernelCache::new(observed), true)
            }
        };
        let mut dirty_keys = std::mem::take(&mut self.dirty_keys);
        failures.append(&mut self.retry_due(&mut cache, kernel, now, &mut dirty_keys));
        kernel.enters(Part::Compare);
        if is_whole {
            dirty_keys.absorb(self.refused.take_waiting());
        }
        let ChangeSet { changes, draining } =
            self.find_changes(cache.state(), is_whole, &mut dirty_keys);
        let kinds_to_check = self.stale_candidates.note(&changes, cache.state());
        let mut due = draining;
        due.append(&mut self.drain.due(is_whole));
        if audited {
            self.note_differences(&changes, &dirty_keys, has_news);
        }
        let servers_of_others = match is_whole {
            true => self.servers_of_others(&changes, &dirty_keys, cache.state()),
            false => Vec::new(),
        };
        let mut execution = Execution::new(changes, cache.state());
        execution.blocked_by(self.refused.take_blocked().unwrap_or_default());
        execution.after_failures(!self.refused.is_empty());
        let unread = Family::BOTH.into_iter().filter(|f| self.refused.cannot_read_rules(*f));
        unread.for_each(|family| execution.block_unread(family));
        execution.outcome.failed = failures;
        execution.outcome.differences = std::mem::take(&mut self.differences);
        execution.outcome.servers_of_others = servers_of_others;
        let (servers, validity) = (dirty_keys.servers, CacheValidity::default());
        let is_interrupted = false;
        Ok(Work {
            execution,
            cache,
            due,
            is_interrupted,
            is_whole,
            servers,
            kinds_to_check,
            validity,
        })
    }

    /// Plans events that have arrived meanwhile. Carries their changes out at once if they are few. Otherwise
    /// they join the changes that wait.
    fn preempt(&mut self, work: &mut Work, kernel: &mut dyn Kernel, now: Instant) {
        kernel.enters(Part::Plan);
        self.plan();
        kernel.enters(Part::Compare);
        let mut dirty_keys = std::mem::take(&mut self.dirty_keys);
        dirty_keys.entries.extend(work.execution.pending_entries_of(&dirty_keys.servers));
        let ChangeSet { mut changes, mut draining } =
            self.find_changes(work.cache.state(), false, &mut dirty_keys);
        if let Some(blocked) = self.refused.take_blocked() {
            work.execution.blocked_by(blocked);
        }
        work.kinds_to_check.append(&mut self.stale_candidates.note(&changes, work.cache.state()));
        work.due.append(&mut draining);
        work.execution.discard(|change| change.is_of(&dirty_keys) || change.is_always_compared());
        work.is_interrupted = true;
        changes.retain(|change| {
            !change.is_last() && !matches!(change, Change::Set(SetChange::Grow(..)))
        });
        changes.extend(self.growth(&changes, &work.execution, work.cache.state()));
        work.servers.extend(&dirty_keys.servers);
        if changes.len() > MAX_PREEMPTING_CHANGES {
            work.execution.enqueue(changes, work.cache.state());
        } else {
            let mut other = work.execution.fork(changes, work.cache.state());
            self.carry_on(&mut other, work, kernel, Budget::MAX, now);
            work.execution.rejoin(other);
        }
    }

    fn finish(&mut self, mut work: Work, kernel: &mut dyn Kernel, now: Instant) -> Outcome {
        kernel.enters(Part::Drain);
        let mut outcome = std::mem::take(&mut work.execution.outcome);
        self.finish_draining(&mut work, kernel, now, &mut outcome);
        kernel.enters(Part::Flows);
        self.forget_stale_flows(&mut work, kernel, now, &mut outcome);
        self.refused.put_blocked(work.execution.take_blocked());
        let looked_at = (!work.is_whole).then_some(&work.servers);
        self.proven.forget_gone(looked_at, work.cache.state(), &self.desired);
        if work.is_whole {
            work.cache.share_all(&self.desired);
        } else {
            work.servers.iter().for_each(|key| work.cache.share(key, &self.desired));
        }
        self.cache = (!work.validity.needs_full_reading()).then_some(work.cache);
        outcome.changed_servers = work.servers;
        self.complete(outcome)
    }

    /// True if the next round compares everything with the kernel.
    pub fn compares_everything(&self) -> bool {
        self.cache.is_none() || self.compares_all
    }

    /// Begins an audit: the caller reads the kernel for [`end_audit`](Self::end_audit). Returns false if
    /// there is no cache; the next round then reads the kernel itself.
    pub fn begin_audit(&mut self) -> bool {
        self.cache.as_mut().map(KernelCache::begin_reading).is_some()
    }

    fn comparison<'a>(&'a self, observed: &'a Observed) -> Comparison<'a> {
        Comparison {
            desired: &self.desired,
            observed,
            settings: &self.settings,
            ownership: Ownership::Planned(&self.proven),
            node: self.store.node(),
        }
    }
}

#[cfg(test)]
mod tests;
