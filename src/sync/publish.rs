//! Publishes the state of the sync thread to other threads.
//!
//! Takes events that arrive, and the core's results after a round. Publishes the health table if it
//! has changed, the proxy's own health, metrics, log lines and events. Does not wait for a reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proxier::Proxier;
use proxier::apply::Outcome;
use proxier::model::{Arrived, Family, ForeignAddress, Node, Pending, PerFamily};
use proxier::plan::{Conflicts, VirtualServerKey};
use tokio::sync::{oneshot, watch};

use super::instrumented::RoundStats;
use super::{conflicts, foreign};
use crate::dump::Questions;
use crate::events::Sink;
use crate::lasting::Lasting;
use crate::metrics::{Metrics, ObjectCounts};
use crate::serve::{HealthTable, Moment, ProxyHealth};
use crate::traffic::Traffic;

/// The number of conflicts that begin or end which a round logs one by one.
const MAX_LOGGED_CONFLICTS: usize = 20;

/// The places to which the results of rounds go.
#[derive(Debug)]
pub struct Publish {
    health: Arc<ProxyHealth>,
    metrics: Arc<Metrics>,
    checks: watch::Sender<HealthTable>,
    events: Sink,
    conflicts: Conflicts,
    foreign: BTreeSet<ForeignAddress>,
    /// The thread that counts the traffic of Services, if it is enabled.
    traffic: Option<Traffic>,
    /// The receiver that waits for the first sync.
    first: Option<oneshot::Sender<()>>,
    /// The last published counts of the kernel's objects.
    shown: Option<ObjectCounts>,
    /// The queue of questions for names.
    questions: Questions,
    /// The register in which failures are kept for reminders.
    lasting: Lasting,
}

impl Publish {
    /// Starts with nothing published. `health` gets the proxy's own health, `metrics` the counts,
    /// `checks` the health checks of Services, and `events` the warnings about Services.
    pub fn new(
        health: Arc<ProxyHealth>,
        metrics: Arc<Metrics>,
        checks: watch::Sender<HealthTable>,
        events: Sink,
    ) -> Self {
        Self {
            health,
            metrics,
            checks,
            events,
            conflicts: Conflicts::new(),
            foreign: BTreeSet::new(),
            traffic: None,
            first: None,
            shown: None,
            questions: Questions::channel(1).1,
            lasting: Lasting::default(),
        }
    }

    /// Notifies `first` after the first round in which nothing failed that all Services need.
    pub fn first_sync_to(self, first: oneshot::Sender<()>) -> Self {
        Self { first: Some(first), ..self }
    }

    /// Sends the owners of virtual servers and draining destinations to `traffic`.
    pub fn with_traffic(self, traffic: Option<Traffic>) -> Self {
        Self { traffic, ..self }
    }

    /// Sets the register in which kernel failures are kept for reminders.
    #[must_use]
    pub fn reminding(self, lasting: Lasting) -> Self {
        Self { lasting, ..self }
    }

    /// Returns the register in which failures are kept.
    pub(super) fn lasting(&self) -> Lasting {
        self.lasting.clone()
    }

    /// Records the present state of this node's Node object.
    pub(super) fn saw_node(&self, node: &Node) {
        self.health.saw_node(node);
    }

    /// Counts objects that have arrived.
    pub(super) fn arrived(&self, arrived: Arrived) {
        self.metrics.rounds.arrived(arrived);
    }

    /// Sets the queue of questions that the sync thread answers.
    #[must_use]
    pub fn answering(self, questions: Questions) -> Self {
        Self { questions, ..self }
    }

    /// Returns the queue of questions for names.
    pub(super) fn questions(&mut self) -> &mut Questions {
        &mut self.questions
    }

    /// Records the start of a round. Its work counts as queued from now on, so that the proxy's
    /// health shows a round that never ends.
    pub(super) fn round_started(&self) {
        self.health.queued(Moment::now());
    }

    /// Records that a part of a round has ended and there is more to do.
    pub(super) fn progressed(&self) {
        self.health.progressed(Moment::now());
    }

    /// Records how long it took to read the whole kernel beside the rounds.
    pub(super) fn record_audit_duration(&self, took: Duration) {
        self.metrics.rounds.record_audit_duration(took);
    }

    /// Records that facts have arrived that no round has seen.
    pub(super) fn queued(&self, pending: Pending) {
        let now = Moment::now();
        self.health.queued(now);
        self.metrics.rounds.queued(pending, now.wall);
    }

    /// Publishes the result of a round. A family's health checks change only if nothing failed that
    /// all its Services need: a load balancer must not send clients to a node that is not ready. A
    /// single object that fails, perhaps forever, does not make other Services unhealthy
    /// (spec 8.4).
    pub(super) fn round(
        &mut self,
        proxier: &Proxier,
        outcome: &Outcome,
        took: Duration,
        stats: &RoundStats,
        tally: Option<&ObjectCounts>,
    ) {
        self.tell_traffic(proxier, outcome);
        self.tell_of_contested(proxier.conflicts());
        let foreign = proxier.foreign_addresses();
        foreign::tell(&self.foreign, &foreign, &self.events);
        self.foreign = foreign;
        self.count(outcome, took, stats, proxier.pending());
        let now = Moment::now();
        self.health.round_ended();
        for family in Family::BOTH {
            let is_blocked = *outcome.blocked.of(family);
            // In a family without virtual servers a failure has no effect that a client could
            // notice.
            if !is_blocked || !is_wanted(proxier, family) {
                self.health.updated(family, now);
            }
            if !is_blocked && !stats.only_counts {
                let without = proxier.desired().without_local(family);
                self.metrics.rounds.synced(family, &without, now.wall);
            }
        }
        self.metrics.rounds.programmed(&outcome.trigger_times, now.wall);
        self.tell_first(&outcome.blocked);
        self.publish(
            HealthTable {
                checks: Arc::clone(proxier.desired().health_checks()),
                addresses: PerFamily::from_fn(|family| proxier.health_check_addresses(family)),
            },
            &outcome.blocked,
        );
        // The counts come last: a reader that sees them finds the rest published too.
        if let Some(tally) = tally.filter(|tally| self.shown.as_ref() != Some(*tally)) {
            self.metrics.tables.show(tally);
            self.shown = Some(tally.clone());
        }
    }

    fn count(&self, outcome: &Outcome, took: Duration, stats: &RoundStats, pending: Pending) {
        let rounds = &self.metrics.rounds;
        rounds.ended(outcome, (!stats.only_counts).then_some(took), &stats.parts, pending);
        stats.restores_failed.iter().for_each(|family| rounds.restore_failed(*family));
        stats.flows.iter().for_each(|(family, pass)| rounds.looked_for_flows(*family, *pass));
    }

    /// Sends the owners of changed virtual servers. One may pass from one Service to another
    /// without a change in the kernel.
    fn tell_traffic(&self, proxier: &Proxier, outcome: &Outcome) {
        let Some(traffic) = &self.traffic else { return };
        let owned = |key: &VirtualServerKey| (*key, proxier.desired().owner(key).cloned());
        if !outcome.changed_servers.is_empty() {
            traffic.owners(outcome.changed_servers.iter().map(owned).collect());
        }
        traffic.draining(&outcome.draining);
    }

    /// Notifies the receiver of the first sync when a family that can be served is served. A family
    /// in which everything fails does not delay the other one.
    fn tell_first(&mut self, blocked: &PerFamily<bool>) {
        if !self.health.serves(blocked) {
            return;
        }
        self.health.synced();
        if let Some(first) = self.first.take() {
            // The receiver may be gone.
            let _ = first.send(());
        }
    }

    /// Publishes the health table. A blocked family keeps what was last published.
    fn publish(&self, mut table: HealthTable, blocked: &PerFamily<bool>) {
        self.checks.send_if_modified(|current| {
            table.keep(current, blocked);
            let differs = *current != table;
            if differs {
                *current = table;
            }
            differs
        });
    }

    fn tell_of_contested(&mut self, now: &Conflicts) {
        if self.conflicts == *now {
            return;
        }
        let news = conflicts::news(&self.conflicts, now);
        for news in news.iter().take(MAX_LOGGED_CONFLICTS) {
            match news.event() {
                // Telling an event logs it too.
                Some(event) => self.events.tell(event),
                None => tracing::info!("{news}"),
            }
        }
        if news.len() > MAX_LOGGED_CONFLICTS {
            tracing::warn!(
                "and {} changes of contested addresses more",
                news.len() - MAX_LOGGED_CONFLICTS
            );
        }
        self.conflicts.clone_from(now);
    }
}

/// True if any virtual server of the family is planned.
fn is_wanted(proxier: &Proxier, family: Family) -> bool {
    proxier.desired().servers().any(|(key, _)| key.family() == family)
}

#[cfg(test)]
mod tests {
    use proxier::model::ServiceName;
    use proxier::plan::{HealthCheck, HealthCheckAddresses};

    use super::*;
    use crate::metrics::Build;

    const NONE: PerFamily<bool> = PerFamily { v4: false, v6: false };

    #[test]
    fn a_table_is_published_only_when_it_differs() {
        let (checks, mut stats) = watch::channel(HealthTable::default());
        let health = ProxyHealth::new(&PerFamily { v4: true, v6: true }, Duration::from_secs(30));
        let metrics = Metrics::new(&Build::default()).unwrap();
        let publish = Publish::new(Arc::new(health), Arc::new(metrics), checks, Sink::log());
        publish.publish(HealthTable::default(), &NONE);
        assert!(!stats.has_changed().unwrap());
        let web = ServiceName::new("shop", "web");
        let local_endpoints = PerFamily { v4: Some(1), v6: None };
        let checks = Arc::new([(web, HealthCheck { port: 31000, local_endpoints })].into());
        let mut table = HealthTable { checks, ..HealthTable::default() };
        publish.publish(table.clone(), &NONE);
        assert!(stats.has_changed().unwrap());
        assert_eq!(*stats.borrow_and_update(), table);
        table.addresses.v6 = HealthCheckAddresses::These([].into());
        publish.publish(table.clone(), &NONE);
        assert_eq!(*stats.borrow_and_update(), table);
        publish.publish(table.clone(), &NONE);
        assert!(!stats.has_changed().unwrap());
    }
}
