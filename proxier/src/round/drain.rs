//! Destinations that only finish their connections.
//!
//! In: which destinations stand at weight 0 without being wanted, and the time. Out: those that
//! go: their connections have ended, or their time is up. Never: a memory that a restart would
//! miss: what drains is known by its weight in the kernel, and only its time begins anew.
//!
//! Sources: spec 3.6; kubernetes/kubernetes#84322, #89392.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::Proxier;
use crate::apply::{Failure, Kernel, Outcome, apply};
use crate::diff::{Belief, Change, Observed};
use crate::plan::{VirtualServerKey, weight};

/// A destination of a virtual server.
pub(super) type Leaving = (VirtualServerKey, SocketAddr);

/// What drains, and since when.
#[derive(Debug, Default)]
pub(super) struct Drain {
    since: BTreeMap<Leaving, Instant>,
    all: bool,
}

impl Drain {
    /// Lets the next round count everything that drains.
    pub(super) fn look_at_all(&mut self) {
        self.all = true;
    }

    /// True if it is known to drain.
    pub(super) fn has(&self, leaving: &Leaving) -> bool {
        self.since.contains_key(leaving)
    }

    /// What is to be counted besides what begins to drain.
    pub(super) fn due(&mut self, whole: bool) -> BTreeSet<Leaving> {
        if std::mem::take(&mut self.all) || whole {
            self.since.keys().copied().collect()
        } else {
            BTreeSet::new()
        }
    }
}

impl Proxier {
    /// Counts what drains, now that weight 0 keeps new connections away, and removes what is done
    /// or has had its time.
    pub(super) fn finish_draining(
        &mut self,
        mut due: BTreeSet<Leaving>,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
        now: Instant,
        outcome: &mut Outcome,
    ) {
        due.retain(|leaving| self.is_draining(belief.state(), leaving));
        let mut since = std::mem::take(&mut self.drain.since);
        since.retain(|leaving, _| self.is_draining(belief.state(), leaving));
        for leaving in &due {
            since.entry(*leaving).or_insert(now);
        }
        let overdue = |(leaving, since): (&Leaving, &Instant)| {
            self.deadline(leaving, *since).is_some_and(|end| end <= now).then_some(*leaving)
        };
        let mut going: BTreeSet<Leaving> = since.iter().filter_map(overdue).collect();
        due.retain(|leaving| !going.contains(leaving));
        if !due.is_empty() {
            match kernel.count_connections(&due) {
                Ok(counts) => {
                    let is_idle =
                        |leaving: &_| counts.get(leaving).is_some_and(|count| *count == 0);
                    going.extend(due.into_iter().filter(is_idle));
                }
                Err(cause) => {
                    outcome.failed.push(Failure { operation: "count connections".into(), cause });
                }
            }
        }
        let removals =
            going.into_iter().map(|(key, server)| Change::RemoveDestination(key, server));
        outcome.absorb(apply(removals.collect(), kernel, belief));
        since.retain(|leaving, _| self.is_draining(belief.state(), leaving));
        outcome.draining = since.keys().copied().collect();
        outcome.drain_ends =
            since.iter().filter_map(|(leaving, since)| self.deadline(leaving, *since)).min();
        let addresses = since.keys().map(|(_, server)| server.ip()).collect();
        self.store.forget_departed(&addresses);
        self.drain.since = since;
    }

    /// When a destination goes even with connections, if ever.
    fn deadline(&self, (key, server): &Leaving, since: Instant) -> Option<Instant> {
        let limits = self.settings.drain;
        let is_dead = || {
            let service = self.desired.owner(key);
            service.is_some_and(|service| self.store.is_on_dead_node(service, server.ip()))
        };
        let short = limits.dead_node.filter(|_| is_dead());
        let limit = [limits.usual, short].into_iter().flatten().min()?;
        since.checked_add(limit)
    }

    /// True if the destination stands at weight 0 and is not wanted.
    fn is_draining(&self, belief: &Observed, (key, server): &Leaving) -> bool {
        let stands = belief
            .servers
            .get(key)
            .and_then(|found| found.destinations.get(server))
            .is_some_and(|found| found.weight == weight::DRAINING);
        let wanted =
            self.desired.server(key).is_some_and(|wanted| wanted.destinations.contains(server));
        stands && !wanted
    }
}
