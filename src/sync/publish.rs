//! What the sync thread leaves behind for those who answer and tell.
//!
//! In: what the core says after a round. Out: the health table, where it differs from the last one;
//! whether the proxy keeps up; log lines and events. Never: a wait for any reader.

use proxier::model::{PerFamily, ServiceName};
use proxier::plan::{Contested, HealthCheck, HealthCheckAddresses};
use tokio::sync::watch;

use super::contested;
use crate::events::Sink;
use crate::serve::{HealthTable, Moment, ProxyHealth};

/// How many claims that begin or end a round tells one by one.
const TOLD: usize = 20;

/// Where the outcome of rounds goes.
#[derive(Debug)]
pub struct Publish {
    /// Whether the proxy keeps up.
    pub health: std::sync::Arc<ProxyHealth>,
    /// The health checks of Services.
    pub checks: watch::Sender<HealthTable>,
    /// Where trouble with Services is told.
    pub events: Sink,
}

impl Publish {
    /// Facts have arrived that no round has seen.
    pub fn queued(&self) {
        self.health.queued(Moment::now());
    }

    /// A round has brought the kernel up to date.
    pub fn updated(&self) {
        self.health.updated(Moment::now());
    }

    /// The health checks after a round that succeeded.
    pub fn health_checks<'a>(
        &self,
        checks: impl Iterator<Item = (&'a ServiceName, &'a HealthCheck)>,
        addresses: PerFamily<HealthCheckAddresses>,
    ) {
        let checks = checks.map(|(service, check)| (service.clone(), check.clone())).collect();
        let table = HealthTable { checks, addresses };
        self.checks.send_if_modified(|current| {
            let differs = *current != table;
            if differs {
                *current = table;
            }
            differs
        });
    }

    /// The contested virtual servers before and after a round, whatever came of it.
    pub fn contested(&self, before: &Contested, after: &Contested) {
        let news = contested::news(before, after);
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
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_table_is_published_only_when_it_differs() {
        let (checks, mut seen) = watch::channel(HealthTable::default());
        let health = ProxyHealth::new(&PerFamily { v4: true, v6: true }, Duration::from_secs(30));
        let publish = Publish { health: Arc::new(health), checks, events: Sink::log() };
        let every = || PerFamily::from_fn(|_| HealthCheckAddresses::Every);
        publish.health_checks([].into_iter(), every());
        assert!(!seen.has_changed().unwrap());
        let web = ServiceName::new("shop", "web");
        let local_endpoints = PerFamily { v4: Some(1), v6: None };
        let check = HealthCheck { port: 31000, local_endpoints };
        publish.health_checks([(&web, &check)].into_iter(), every());
        assert!(seen.has_changed().unwrap());
        assert_eq!(seen.borrow_and_update().checks[&web], check);
        publish.health_checks([(&web, &check)].into_iter(), every());
        assert!(!seen.has_changed().unwrap());
    }
}
