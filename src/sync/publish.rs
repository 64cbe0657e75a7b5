//! What the sync thread leaves behind for those who answer and tell.
//!
//! In: what arrives, and what the core says after a round. Out: the health table, where it differs from
//! the last one; whether the proxy keeps up; metrics; log lines and events. Never: a wait for any reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proxier::Proxier;
use proxier::apply::Outcome;
use proxier::model::{Event, Family, ForeignAddress, Pending, PerFamily, Update};
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

/// How many claims that begin or end a round tells one by one.
const MAX_LOGGED_CONFLICTS: usize = 20;

/// Where the outcome of rounds goes.
#[derive(Debug)]
pub struct Publish {
    health: Arc<ProxyHealth>,
    metrics: Arc<Metrics>,
    checks: watch::Sender<HealthTable>,
    events: Sink,
    conflicts: Conflicts,
    foreign: BTreeSet<ForeignAddress>,
    /// Who counts what Services carry, if somebody does.
    traffic: Option<Traffic>,
    /// Who wants to know of the first sync.
    first: Option<oneshot::Sender<()>>,
    /// What was last said to be in the kernel.
    shown: Option<ObjectCounts>,
    /// Where questions for names arrive.
    questions: Questions,
    /// Where what fails is kept for reminders.
    lasting: Lasting,
}

impl Publish {
    /// Nothing has been left behind yet: to `health` whether the proxy keeps up, to `metrics` what is
    /// counted, to `checks` the health checks of Services, to `events` what Services are to be warned of.
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

    /// The first round in which nothing failed that all Services need is told here.
    pub fn first_sync_to(self, first: oneshot::Sender<()>) -> Self {
        Self { first: Some(first), ..self }
    }

    /// What Services carry is counted there.
    pub fn with_traffic(self, traffic: Option<Traffic>) -> Self {
        Self { traffic, ..self }
    }

    /// What fails in the kernel is kept there for reminders.
    #[must_use]
    pub fn reminding(self, lasting: Lasting) -> Self {
        Self { lasting, ..self }
    }

    /// Where what fails is kept.
    pub(super) fn lasting(&self) -> Lasting {
        self.lasting.clone()
    }

    /// A source says something.
    pub(super) fn record_event(&self, event: &Event) {
        match event {
            Event::Service(update) => self.metrics.rounds.services_arrived(objects(update)),
            Event::Slice(update) => self.metrics.rounds.slices_arrived(objects(update)),
            Event::Node(Some(node)) => self.health.saw_node(node),
            Event::Together(events) => events.iter().for_each(|event| self.record_event(event)),
            Event::Node(None)
            | Event::NodeReadiness(_)
            | Event::Addresses(_)
            | Event::ApiServer(_)
            | Event::Removed(_) => {}
        }
    }

    /// Answers these questions too.
    #[must_use]
    pub fn answering(self, questions: Questions) -> Self {
        Self { questions, ..self }
    }

    /// Where questions for names arrive.
    pub(super) fn questions(&mut self) -> &mut Questions {
        &mut self.questions
    }

    /// A round begins. What it has to do waits from now on, so that one that never ends is seen by
    /// whoever asks for the proxy's health.
    pub(super) fn round_started(&self) {
        self.health.queued(Moment::now());
    }

    /// A part of a round has ended, and there is more to do.
    pub(super) fn progressed(&self) {
        self.health.progressed(Moment::now());
    }

    /// The whole kernel was read beside the rounds, for so long.
    pub(super) fn audit_read(&self, took: Duration) {
        self.metrics.rounds.audit_read(took);
    }

    /// Facts have arrived that no round has seen.
    pub(super) fn queued(&self, pending: Pending) {
        let now = Moment::now();
        self.health.queued(now);
        self.metrics.rounds.queued(pending, now.wall);
    }

    /// A round has ended. Its health checks count unless something failed that all Services need: a
    /// load balancer must not be sent where the way is not laid. A single object that fails, for ever
    /// perhaps, makes nobody else unhealthy (spec 8.4).
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
            // Where nothing is wanted of a family, nothing fails that anybody would notice.
            if !is_blocked || !is_wanted(proxier, family) {
                self.health.updated(family, now);
            }
            if !is_blocked && !stats.only_counts {
                let without = proxier.desired().without_local(family);
                self.metrics.rounds.synced(family, &without, now.wall);
            }
        }
        self.metrics.rounds.programmed(&outcome.reported, now.wall);
        self.tell_first(&outcome.blocked);
        self.publish(
            HealthTable {
                checks: Arc::clone(proxier.desired().health_checks()),
                addresses: PerFamily::from_fn(|family| proxier.health_check_addresses(family)),
            },
            &outcome.blocked,
        );
        // Whoever sees what is in the kernel now finds the rest told too.
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

    /// A virtual server may pass from one Service to another without a change in the kernel.
    fn tell_traffic(&self, proxier: &Proxier, outcome: &Outcome) {
        let Some(traffic) = &self.traffic else { return };
        let owned = |key: &VirtualServerKey| (*key, proxier.desired().owner(key).cloned());
        if !outcome.touched.is_empty() {
            traffic.owners(outcome.touched.iter().map(owned).collect());
        }
        traffic.draining(&outcome.draining);
    }

    /// Whoever waits for the first sync is told when a family is served that can be: one in which
    /// everything fails must not keep the other's clients from being told so.
    fn tell_first(&mut self, blocked: &PerFamily<bool>) {
        if !self.health.serves(blocked) {
            return;
        }
        self.health.synced();
        if let Some(first) = self.first.take() {
            // Nobody has to be there to hear it.
            let _ = first.send(());
        }
    }

    /// What was published of a blocked family stays.
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
                // An event is a log line too.
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

/// True if any virtual server of the family is wanted.
fn is_wanted(proxier: &Proxier, family: Family) -> bool {
    proxier.desired().servers().any(|(key, _)| key.family() == family)
}

/// How many objects an update speaks of.
fn objects<K, V>(update: &Update<K, V>) -> usize {
    match update {
        Update::Listed(objects) => objects.len(),
        Update::Put(_) | Update::Gone(_) => 1,
    }
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
