//! Serves health-check node ports, at which load balancers ask whether this node serves a Service.
//!
//! Takes the table of health checks at each change. Keeps one listener per Service, family and address in the table,
//! and changes only those that differ. Reports a port that cannot be bound as an event, repeats the event while the
//! failure lasts, and logs its end. Tries again meanwhile. A listener answers in one family only. No connection
//! outlives its listener.
//!
//! Source: spec 10.2. Departs: each address stands for itself, where upstream gives up a Service's server if one of
//! its addresses cannot be bound. Addresses follow the node, where upstream keeps those of its start (spec 15, Q-43).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use proxier::model::ServiceName;
use tokio::sync::watch;
use tokio::time::Instant;

use self::answer::Shown;
use super::health::ProxyHealth;
use super::listener::{Listener, Wildcard};
use super::table::{HealthTable, Place};
use crate::events::{Event, Kind, Regarding, Sink};
use crate::lasting::{Area, Lasting};

mod answer;

/// The pause before another attempt to bind ports.
const RETRY: Duration = Duration::from_secs(3);

/// The servers of all health-check node ports.
pub struct ServiceHealth {
    node: Arc<str>,
    health: Option<Arc<ProxyHealth>>,
    events: Sink,
    open: BTreeMap<Place, Listener<Shown>>,
    /// The Services that lack a listener.
    failing: Failing,
    lasting: Lasting,
}

/// The interval at which an event of a lasting failure is repeated; kube-proxy does so at each sync. It keeps one
/// series of events alive: [`crate::events`] begins a new one after six minutes, and the API server keeps its object
/// for an hour.
const REPEAT: Duration = Duration::from_secs(5 * 60);

/// The Services that lack a listener, each with the time of its last event.
#[derive(Default)]
struct Failing(BTreeMap<ServiceName, Instant>);

impl Failing {
    /// True if an event is due now. Records it as sent then.
    fn is_event_due(&mut self, service: &ServiceName, is_new: bool, now: Instant) -> bool {
        let last = self.0.get(service);
        let is_due = is_new || last.is_none_or(|last| now >= *last + REPEAT);
        if is_due {
            self.0.insert(service.clone(), now);
        }
        is_due
    }
}

impl ServiceHealth {
    /// Creates the servers, without a listener yet. `node` is this node's name for events. Without `health` the proxy
    /// counts as healthy.
    pub fn new(node: Arc<str>, health: Option<Arc<ProxyHealth>>, events: Sink) -> Self {
        Self {
            node,
            health,
            events,
            open: BTreeMap::new(),
            failing: Failing::default(),
            lasting: Lasting::default(),
        }
    }

    /// Adds lasting failures to `lasting`, for reminders.
    #[must_use]
    pub fn reminding(self, lasting: Lasting) -> Self {
        Self { lasting, ..self }
    }

    /// Follows the table until its writer is gone; then closes all servers.
    pub async fn run(mut self, mut table: watch::Receiver<HealthTable>) {
        loop {
            let places = table.borrow_and_update().places();
            self.follow(places).await;
            let again = Instant::now() + RETRY;
            let is_failing = !self.failing.0.is_empty();
            let changed = tokio::select! {
                changed = table.changed() => changed,
                () = tokio::time::sleep_until(again), if is_failing => Ok(()),
            };
            if changed.is_err() {
                return self.follow(BTreeMap::new()).await;
            }
        }
    }

    /// Brings the listeners in line with `places`. Closes old ones before it opens any, since their ports may be
    /// needed.
    async fn follow(&mut self, places: BTreeMap<Place, usize>) {
        let open = std::mem::take(&mut self.open).into_iter();
        let (staying, going): (BTreeMap<_, _>, BTreeMap<_, _>) =
            open.partition(|(place, _)| places.contains_key(place));
        self.open = staying;
        for (_, listener) in going {
            listener.close().await;
        }
        let mut failures: BTreeMap<ServiceName, Vec<String>> = BTreeMap::new();
        for (place, count) in places {
            if let Some(listener) = self.open.get(&place) {
                listener.answers().tell(count);
                continue;
            }
            match self.open_listener(&place, count) {
                Ok(listener) => drop(self.open.insert(place, listener)),
                Err(reason) => failures.entry(place.0).or_default().push(reason),
            }
        }
        self.report(failures.into_iter().map(|(name, reasons)| (name, reasons.join("; "))));
    }

    fn open_listener(&self, place: &Place, count: usize) -> Result<Listener<Shown>, String> {
        let (service, address) = place;
        let shown = Shown::new(service.clone(), count, self.health.clone());
        Listener::open(*address, Wildcard::OwnFamily, shown).map_err(|error| {
            let holder = self.open.keys().find(|(_, taken)| taken == address);
            match holder {
                Some((holder, _)) if error.kind() == io::ErrorKind::AddrInUse => {
                    format!("{address}: Service {holder} has the same healthCheckNodePort")
                }
                Some(_) | None => format!("{address}: {error}"),
            }
        })
    }

    /// Reports failures that begin or last, and those that have ended.
    fn report(&mut self, failing: impl Iterator<Item = (ServiceName, String)>) {
        let mut lasting = BTreeSet::new();
        for (service, reasons) in failing {
            lasting.insert(service.clone());
            let node = &self.node;
            let event = Event {
                kind: Kind::Warning,
                reason: "FailedToStartServiceHealthcheck",
                action: "Listen",
                regarding: Regarding::Service(service.clone()),
                note: format!("node {node} cannot answer health checks of {service} on {reasons}"),
            };
            let is_new = self.lasting.begin(Area::Ports, service.to_string(), event.to_string());
            // The log has the condition and its reminders, so only the API server gets the event.
            if self.failing.is_event_due(&service, is_new, Instant::now()) {
                self.events.repeat(event);
            }
        }
        self.failing.0.retain(|service, _| {
            let lasts = lasting.contains(service);
            if !lasts {
                self.lasting.end(Area::Ports, &service.to_string());
            }
            lasts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_lasts_is_told_again_now_and_then() {
        let (mut failing, begin) = (Failing::default(), Instant::now());
        let service = ServiceName::new("shop", "web");
        let told = (0..600).map(|turn| begin + RETRY * turn);
        let told = told.filter(|now| failing.is_event_due(&service, false, *now));
        assert_eq!(
            told.map(|now| (now - begin).as_secs()).collect::<Vec<_>>(),
            [0, 300, 600, 900, 1200, 1500]
        );
        let now = begin + RETRY * 600;
        assert!(failing.is_event_due(&service, true, now), "a change at once");
        assert!(!failing.is_event_due(&service, false, now + RETRY));
        assert!(failing.is_event_due(&service, false, now + REPEAT));
    }
}
