//! Measures the time that a round spends in the kernel, and counts the kernel's objects.
//!
//! Takes a kernel. Returns a kernel with the same answers, and the measurements. Does not change an
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proxier::apply::{
    Answered, Cause, Connections, Kernel, KernelReading, Part, Ready, RulesReading,
};
use proxier::diff::{Change, Flow, Observed, ObservedServer, RulesChange};
use proxier::model::{Family, Protocol};
use proxier::plan::{VirtualServerDestination, VirtualServerKey};

use crate::metrics::{FlowPass, ObjectCounts};

/// A kernel whose calls are measured.
pub(super) struct InstrumentedKernel<K> {
    kernel: K,
    stats: RoundStats,
    /// The counts of the kernel's objects, once it has been read.
    tally: Option<ObjectCounts>,
    /// The part of the round that is under way, and its start.
    part: Option<(Part, Instant)>,
}

/// The measurements of a round.
#[derive(Debug, Default)]
pub(super) struct RoundStats {
    /// The time spent in the kernel.
    pub(super) by_kernel: Duration,
    /// The time spent in each part of the round that took place.
    pub(super) parts: BTreeMap<Part, Duration>,
    /// The families whose rules could not be written.
    pub(super) restores_failed: Vec<Family>,
    /// The results of looking for stale flows.
    pub(super) flows: BTreeMap<Family, FlowPass>,
    /// True if the round was only there to count the connections of draining destinations.
    pub(super) only_counts: bool,
}

impl<K: Kernel> InstrumentedKernel<K> {
    pub(super) fn new(kernel: K) -> Self {
        Self { kernel, stats: RoundStats::default(), tally: None, part: None }
    }

    /// Returns the counts of the kernel's objects; `None` if the kernel was never read.
    pub(super) fn tally(&self) -> Option<&ObjectCounts> {
        self.tally.as_ref()
    }

    /// True if the counts may be wrong until the next [`count`](Self::count).
    pub(super) fn is_unsure(&self) -> bool {
        self.tally.as_ref().is_some_and(|tally| tally.is_unsure)
    }

    /// Counts the objects of the cache.
    pub(super) fn count(&mut self, cached: &Observed) {
        self.tally = Some(ObjectCounts::of(cached));
    }

    /// Returns the measurements since the last call.
    pub(super) fn take_stats(&mut self) -> RoundStats {
        self.leave();
        std::mem::take(&mut self.stats)
    }

    /// Notes that a count may be wrong.
    fn doubt_tally(&mut self) {
        if let Some(tally) = &mut self.tally {
            tally.is_unsure = true;
        }
    }

    fn leave(&mut self) {
        if let Some((part, since)) = self.part.take() {
            *self.stats.parts.entry(part).or_default() += since.elapsed();
        }
    }

    fn time<T>(&mut self, work: impl FnOnce(&mut K) -> T) -> (T, Duration) {
        let start = Instant::now();
        let result = work(&mut self.kernel);
        let took = start.elapsed();
        self.stats.by_kernel += took;
        (result, took)
    }

    fn note(&mut self, change: &Change, is_done: bool) {
        match change {
            Change::Rules(RulesChange::Write(step)) if !is_done => {
                self.stats.restores_failed.push(step.family)
            }
            Change::RemoveFlow(flow) if is_done => {
                let family = Family::of(flow.frontend.ip());
                self.stats.flows.entry(family).or_default().deleted += 1;
            }
            _ => {}
        }
        if let (true, Some(tally)) = (is_done, &mut self.tally) {
            tally.record(change);
        }
    }
}

impl<K: Kernel> Kernel for InstrumentedKernel<K> {
    fn enters(&mut self, part: Part) {
        if self.part.is_some_and(|(current, _)| current == part) {
            return;
        }
        self.leave();
        self.part = Some((part, Instant::now()));
    }

    fn prepare(&mut self) -> Result<Ready, Cause> {
        self.time(K::prepare).0
    }

    fn look_again(&mut self) -> Ready {
        self.time(K::look_again).0
    }

    fn observe(&mut self) -> Result<KernelReading, Cause> {
        let result = self.time(K::observe).0;
        if let Ok(reading) = &result {
            self.tally = Some(ObjectCounts::read(reading, self.tally.as_ref()));
        }
        result
    }

    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
        self.doubt_tally();
        self.time(|kernel| kernel.read_server(key)).0
    }

    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
        self.doubt_tally();
        self.time(|kernel| kernel.read_rules(family)).0
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        self.time(|kernel| kernel.count_connections(of)).0
    }

    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        let (result, took) = self.time(|kernel| kernel.flows(of, is_wanted, at_most));
        if result.is_ok() {
            self.stats.flows.entry(of.0).or_default().took += took;
        }
        result
    }

    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>> {
        let (answers, took) = self.time(|kernel| kernel.carry_out(changes));
        for (change, result) in &answers {
            self.note(change, result.is_ok());
        }
        if let Some((Change::RemoveFlow(flow), _)) = answers.first() {
            let family = Family::of(flow.frontend.ip());
            self.stats.flows.entry(family).or_default().took += took;
        }
        answers
    }
}
