//! Destinations that drain: they take no new connections and wait for theirs to end.
//!
//! Takes the destinations at weight 0 that are not wanted, and the time. Removes those whose connections have
//! ended or whose time is up. The weight in the kernel shows what drains, so that a restart loses only the
//! time since when. Does not look at all draining destinations in a round that changes few of them.
//!
//! Sources: spec 3.6; kubernetes/kubernetes#84322, #89392.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Proxier, Work};
use crate::apply::{Budget, Draining, Execution, Kernel, Outcome};
use crate::diff::{Change, ObjectKey, Observed, ServerChange};
use crate::plan::{DrainLimits, VirtualServerDestination, VirtualServerKey, weight};

/// The smallest socket address.
const LEAST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The destinations that drain.
#[derive(Debug, Default)]
pub(super) struct Drain {
    known: BTreeMap<VirtualServerDestination, Since>,
    /// The limits of those that have one, the earliest first.
    ends: BTreeSet<(Instant, VirtualServerDestination)>,
    /// True if the next round is to count all of them.
    all: bool,
}

/// The time since when a destination drains, its node if known, and its limit if it has one.
#[derive(Clone, Debug)]
struct Since {
    at: Instant,
    node: Option<Arc<str>>,
    end: Option<Instant>,
}

impl Drain {
    /// Lets the next round count all draining destinations.
    pub(super) fn look_at_all(&mut self) {
        self.all = true;
    }

    /// True if the destination is known to drain.
    pub(super) fn has(&self, leaving: &VirtualServerDestination) -> bool {
        self.known.contains_key(leaving)
    }

    /// The draining destinations to be counted: all if `whole` or if a caller has asked for it, and otherwise
    /// none.
    pub(super) fn due(&mut self, whole: bool) -> BTreeSet<VirtualServerDestination> {
        if std::mem::take(&mut self.all) || whole {
            self.known.keys().copied().collect()
        } else {
            BTreeSet::new()
        }
    }

    /// The number of draining destinations and their next limit, without any that begin or end.
    pub(super) fn standing(&self, now: Instant) -> Draining {
        // A destination whose limit has passed failed to be removed and is retried like other failures.
        let mut ends = self.ends.iter().map(|(end, _)| *end);
        let next_end = ends.find(|end| *end > now);
        Draining { count: self.known.len(), next_end, ..Draining::default() }
    }

    fn of<'a>(
        &'a self,
        key: &'a VirtualServerKey,
    ) -> impl Iterator<Item = VirtualServerDestination> + 'a {
        let more = self.known.range((*key, LEAST)..).map(|(leaving, _)| *leaving);
        more.take_while(move |(other, _)| other == key)
    }

    fn put(&mut self, leaving: VirtualServerDestination, since: Since) {
        self.ends.extend(since.end.map(|end| (end, leaving)));
        self.known.insert(leaving, since);
    }

    fn remove(&mut self, leaving: &VirtualServerDestination) -> bool {
        let since = self.known.remove(leaving);
        if let Some(end) = since.as_ref().and_then(|since| since.end) {
            self.ends.remove(&(end, *leaving));
        }
        since.is_some()
    }

    fn overdue(&self, now: Instant) -> BTreeSet<VirtualServerDestination> {
        let past = self.ends.iter().take_while(|(end, _)| *end <= now);
        past.map(|(_, leaving)| *leaving).collect()
    }
}

impl Proxier {
    /// Counts connections of draining destinations, which get no new ones any more. Removes those that have
    /// none or whose limit has passed.
    pub(super) fn finish_draining(
        &mut self,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
        outcome: &mut Outcome,
    ) {
        let mut news = Draining::default();
        self.end_draining(self.may_have_ended(work), work.cache.state(), &mut news);
        let mut due = std::mem::take(&mut work.due);
        due.retain(|leaving| self.is_draining(work.cache.state(), leaving));
        due.iter().for_each(|leaving| self.begin_draining(leaving, now, &mut news));
        let mut going = self.drain.overdue(now);
        due.retain(|leaving| !going.contains(leaving));
        going.extend(self.idle(due, kernel, now, outcome));
        going.retain(|(key, at)| !self.refused.has(&ObjectKey::Destination(*key, *at)));
        let removal = |(key, at): &VirtualServerDestination| {
            Change::Server(ServerChange::RemoveDestination(*key, *at))
        };
        let mut execution = Execution::new(going.iter().map(removal).collect(), work.cache.state());
        execution.blocked_by(work.execution.take_blocked());
        self.carry_on(&mut execution, work, kernel, Budget::MAX, now);
        work.execution.blocked_by(execution.take_blocked());
        outcome.absorb(std::mem::take(&mut execution.outcome));
        self.end_draining(going, work.cache.state(), &mut news);
        if !work.validity.needs_full_reading() && !self.refused.has_leaving() {
            // A destination that could not get weight 0 drains later and its node is looked up then.
            self.store.forget_departed();
        }
        outcome.draining =
            Draining { begun: news.begun, ended: news.ended, ..self.drain.standing(now) };
    }

    /// The destinations among these that have no connections.
    fn idle(
        &mut self,
        mut of: BTreeSet<VirtualServerDestination>,
        kernel: &mut dyn Kernel,
        now: Instant,
        outcome: &mut Outcome,
    ) -> BTreeSet<VirtualServerDestination> {
        if of.is_empty() {
            self.refused.succeed(&ObjectKey::Connections);
            return of;
        }
        match kernel.count_connections(&of) {
            Ok(counts) => {
                self.refused.succeed(&ObjectKey::Connections);
                of.retain(|leaving| counts.get(leaving).is_some_and(|count| *count == 0));
            }
            Err(cause) => {
                of.clear();
                let operation = "count connections".into();
                let failure = self.refused.fail(ObjectKey::Connections, operation, cause, now);
                outcome.failed.push(failure);
            }
        }
        of
    }

    /// Draining destinations that this round may have brought back or removed.
    fn may_have_ended(&self, work: &Work) -> BTreeSet<VirtualServerDestination> {
        if work.is_whole {
            self.drain.known.keys().copied().collect()
        } else {
            work.servers.iter().flat_map(|key| self.drain.of(key)).collect()
        }
    }

    fn end_draining(
        &mut self,
        of: BTreeSet<VirtualServerDestination>,
        cache: &Observed,
        news: &mut Draining,
    ) {
        for leaving in of {
            // A destination that began and ended to drain in the same round is not reported.
            if !self.is_draining(cache, &leaving)
                && self.drain.remove(&leaving)
                && !news.begun.remove(&leaving)
            {
                news.ended.insert(leaving);
            }
        }
    }

    fn begin_draining(
        &mut self,
        leaving: &VirtualServerDestination,
        now: Instant,
        news: &mut Draining,
    ) {
        if self.drain.has(leaving) {
            return;
        }
        let limits = self.settings.drain;
        let service = self.desired.owner(&leaving.0);
        let node = match limits.dead_node {
            Some(_) => self.store.node_of(service, leaving.1.ip()).cloned(),
            None => None,
        };
        let end = self.end(now, node.as_deref(), limits);
        self.drain.put(*leaving, Since { at: now, node, end });
        news.begun.insert(*leaving);
    }

    /// Computes the limits anew, because nodes have changed.
    pub(super) fn see_nodes(&mut self) {
        if self.settings.drain.dead_node.is_none() {
            return;
        }
        self.drain.ends.clear();
        for (leaving, mut since) in std::mem::take(&mut self.drain.known) {
            since.end = self.end(since.at, since.node.as_deref(), self.settings.drain);
            self.drain.put(leaving, since);
        }
    }

    /// The time at which a destination is removed even with connections; `None` if there is no limit.
    fn end(&self, since: Instant, node: Option<&str>, limits: DrainLimits) -> Option<Instant> {
        let is_dead = || node.is_some_and(|node| self.store.is_dead(node));
        let short = limits.dead_node.filter(|_| is_dead());
        let limit: Duration = [limits.usual, short].into_iter().flatten().min()?;
        since.checked_add(limit)
    }

    /// True if the destination has weight 0 in the kernel and is not in the desired state.
    fn is_draining(&self, cache: &Observed, (key, destination): &VirtualServerDestination) -> bool {
        let stands = cache
            .servers
            .get(key)
            .and_then(|found| found.destinations.get(destination))
            .is_some_and(|found| found.weight == weight::DRAINING);
        let desired = self.desired.server(key);
        let is_desired = desired.is_some_and(|server| server.destinations.contains(destination));
        stands && !is_desired
    }
}
