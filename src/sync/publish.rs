//! What the sync thread leaves behind for those who answer and tell.
//!
//! In: what the core says after a round. Out: the health table, where it differs from the last one;
//! whether the proxy keeps up; log lines and events. Never: a wait for any reader.

use std::sync::Arc;

use proxier::Proxier;
use proxier::apply::Outcome;
use proxier::model::PerFamily;
use proxier::plan::Contested;
use tokio::sync::watch;

use super::contested;
use crate::events::Sink;
use crate::serve::{HealthTable, Moment, ProxyHealth};

/// How many claims that begin or end a round tells one by one.
const TOLD: usize = 20;

/// Where the outcome of rounds goes.
#[derive(Debug)]
pub struct Publish {
    health: Arc<ProxyHealth>,
    checks: watch::Sender<HealthTable>,
    events: Sink,
    contested: Contested,
}

impl Publish {
    /// Nothing has been left behind yet: to `health` whether the proxy keeps up, to `checks` the
    /// health checks of Services, to `events` what Services are to be warned of.
    pub fn new(health: Arc<ProxyHealth>, checks: watch::Sender<HealthTable>, events: Sink) -> Self {
        Self { health, checks, events, contested: Contested::new() }
    }

    /// Facts have arrived that no round has seen.
    pub(super) fn queued(&self) {
        self.health.queued(Moment::now());
    }

    /// A round has ended. Its health checks count unless something failed that all Services need: a
    /// load balancer must not be sent where the way is not laid. A single object that fails, for ever
    /// perhaps, makes nobody else unhealthy (spec 8.4).
    pub(super) fn round(&mut self, proxier: &Proxier, outcome: &Outcome) {
        self.tell_of_contested(proxier.contested());
        if !outcome.is_blocked {
            self.health.updated(Moment::now());
            self.publish(HealthTable {
                checks: Arc::clone(proxier.desired().health_checks()),
                addresses: PerFamily::from_fn(|family| proxier.health_check_addresses(family)),
            });
        }
    }

    fn publish(&self, table: HealthTable) {
        self.checks.send_if_modified(|current| {
            let differs = *current != table;
            if differs {
                *current = table;
            }
            differs
        });
    }

    fn tell_of_contested(&mut self, now: &Contested) {
        if self.contested == *now {
            return;
        }
        let news = contested::news(&self.contested, now);
        for news in news.iter().take(TOLD) {
            match news.event() {
                // An event is a log line too.
                Some(event) => self.events.tell(event),
                None => tracing::info!("{news}"),
            }
        }
        if news.len() > TOLD {
            tracing::warn!("and {} changes of contested addresses more", news.len() - TOLD);
        }
        self.contested.clone_from(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxier::model::ServiceName;
    use proxier::plan::{HealthCheck, HealthCheckAddresses};

    use super::*;

    #[test]
    fn a_table_is_published_only_when_it_differs() {
        let (checks, mut seen) = watch::channel(HealthTable::default());
        let health = ProxyHealth::new(&PerFamily { v4: true, v6: true }, Duration::from_secs(30));
        let publish = Publish::new(Arc::new(health), checks, Sink::log());
        publish.publish(HealthTable::default());
        assert!(!seen.has_changed().unwrap());
        let web = ServiceName::new("shop", "web");
        let local_endpoints = PerFamily { v4: Some(1), v6: None };
        let checks = Arc::new([(web, HealthCheck { port: 31000, local_endpoints })].into());
        let mut table = HealthTable { checks, ..HealthTable::default() };
        publish.publish(table.clone());
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), table);
        table.addresses.v6 = HealthCheckAddresses::These([].into());
        publish.publish(table.clone());
        assert_eq!(*seen.borrow_and_update(), table);
        publish.publish(table);
        assert!(!seen.has_changed().unwrap());
    }
}
