//! Keeps the traffic counts of Services.
//!
//! Takes owners, draining destinations, readings, and the time. Returns metrics. A virtual server
//! that is created again counts from zero, but its Service does not. Does not read the clock,
//! except to measure a reading.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use proxier::apply::Cause;
use proxier::model::ServiceName;
use proxier::plan::{VirtualServerDestination, VirtualServerKey};

use super::{Counters, Limits, Owners, Reading};
use crate::metrics::family::{Family, Kind};

/// The counts of all Services.
#[derive(Debug)]
pub(super) struct Accounts {
    limits: Limits,
    owners: Owners,
    draining: BTreeMap<VirtualServerDestination, Instant>,
    services: BTreeMap<ServiceName, Account>,
    /// The last counters of each virtual server. One that is missing in a reading may still exist
    /// with all that it has counted so far.
    last: BTreeMap<VirtualServerKey, Counters>,
    left_out: usize,
    read_at: Option<Instant>,
    took: Duration,
    failures: u64,
}

/// The counts of one Service.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    total: Counters,
    active: u64,
    inactive: u64,
}

impl Counters {
    /// Returns what was added since `last`. Returns everything if the counters have started again.
    fn since(self, last: Self) -> Self {
        let has_restarted = self.connections < last.connections
            || self.packets_in < last.packets_in
            || self.bytes_in < last.bytes_in
            || self.packets_out < last.packets_out
            || self.bytes_out < last.bytes_out;
        let last = if has_restarted { Self::default() } else { last };
        Self {
            connections: self.connections - last.connections,
            packets_in: self.packets_in - last.packets_in,
            packets_out: self.packets_out - last.packets_out,
            bytes_in: self.bytes_in - last.bytes_in,
            bytes_out: self.bytes_out - last.bytes_out,
        }
    }

    fn add(&mut self, more: Self) {
        self.connections = self.connections.saturating_add(more.connections);
        self.packets_in = self.packets_in.saturating_add(more.packets_in);
        self.packets_out = self.packets_out.saturating_add(more.packets_out);
        self.bytes_in = self.bytes_in.saturating_add(more.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(more.bytes_out);
    }
}

/// A metric of each account: name, help, kind, and the function that returns its value.
type Column = (&'static str, &'static str, Kind, fn(&Account) -> u64);

const COLUMNS: [Column; 7] = [
    (
        "ipvs_proxy_service_connections_total",
        "Connections to a Service that began",
        Kind::Counter,
        |account| account.total.connections,
    ),
    (
        "ipvs_proxy_service_packets_in_total",
        "Packets from clients to a Service",
        Kind::Counter,
        |account| account.total.packets_in,
    ),
    (
        "ipvs_proxy_service_packets_out_total",
        "Packets from a Service to clients",
        Kind::Counter,
        |account| account.total.packets_out,
    ),
    (
        "ipvs_proxy_service_bytes_in_total",
        "Bytes from clients to a Service",
        Kind::Counter,
        |account| account.total.bytes_in,
    ),
    (
        "ipvs_proxy_service_bytes_out_total",
        "Bytes from a Service to clients",
        Kind::Counter,
        |account| account.total.bytes_out,
    ),
    (
        "ipvs_proxy_service_active_connections",
        "Connections to a Service that are established",
        Kind::Gauge,
        |account| account.active,
    ),
    (
        "ipvs_proxy_service_inactive_connections",
        "Connections to a Service that are ending, and flows without connections",
        Kind::Gauge,
        |account| account.inactive,
    ),
];

impl Accounts {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            owners: Owners::new(),
            draining: BTreeMap::new(),
            services: BTreeMap::new(),
            last: BTreeMap::new(),
            left_out: 0,
            read_at: None,
            took: Duration::ZERO,
            failures: 0,
        }
    }

    pub(super) fn note_owners(&mut self, owners: Vec<(VirtualServerKey, Option<ServiceName>)>) {
        for (server, owner) in owners {
            match owner {
                Some(owner) => drop(self.owners.insert(server, owner)),
                None => {
                    self.owners.remove(&server);
                    self.last.remove(&server);
                }
            }
        }
    }

    pub(super) fn note_draining(
        &mut self,
        begun: BTreeSet<VirtualServerDestination>,
        ended: &BTreeSet<VirtualServerDestination>,
        now: Instant,
    ) {
        for leaving in ended {
            self.draining.remove(leaving);
        }
        self.draining.extend(begun.into_iter().map(|leaving| (leaving, now)));
    }

    /// Reads the counters if the last reading is too old.
    pub(super) fn refresh(
        &mut self,
        now: Instant,
        mut read: impl FnMut(&BTreeSet<VirtualServerKey>) -> Result<Vec<Reading>, Cause>,
    ) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < self.limits.interval;
        if self.read_at.is_some_and(is_fresh) {
            return;
        }
        let servers = self.within_limits();
        self.last.retain(|server, _| servers.contains(server));
        self.read_at = Some(now);
        match read(&servers) {
            Ok(readings) => self.take(readings),
            Err(cause) => {
                self.failures += 1;
                tracing::debug!("what Services carry cannot be read: {cause}");
            }
        }
        self.took = now.elapsed();
    }

    /// Returns the virtual servers of as many Services as the limit allows. Removes the accounts of
    /// the others.
    fn within_limits(&mut self) -> BTreeSet<VirtualServerKey> {
        let names: BTreeSet<&ServiceName> = self.owners.values().collect();
        let told: BTreeSet<ServiceName> =
            names.iter().take(self.limits.services).map(|name| (*name).clone()).collect();
        self.left_out = names.len() - told.len();
        self.services.retain(|name, _| told.contains(name));
        let servers = self.owners.iter().filter(|(_, owner)| told.contains(*owner));
        servers.map(|(server, _)| *server).collect()
    }

    fn take(&mut self, readings: Vec<Reading>) {
        for account in self.services.values_mut() {
            (account.active, account.inactive) = (0, 0);
        }
        for reading in readings {
            let Some(owner) = self.owners.get(&reading.server) else { continue };
            let before = self.last.insert(reading.server, reading.counters).unwrap_or_default();
            let account = self.services.entry(owner.clone()).or_default();
            account.total.add(reading.counters.since(before));
            account.active += reading.active;
            account.inactive += reading.inactive;
        }
    }

    /// Returns all metrics.
    pub(super) fn families(&self, now: Instant) -> Vec<MetricFamily> {
        let mut told = self.counted();
        told.extend(self.drained(now));
        told.push(Family::single(
            "ipvs_proxy_service_metrics_left_out",
            "Services beyond the limit, of which no metrics are told",
            Kind::Gauge,
            self.left_out as f64,
        ));
        told.push(Family::single(
            "ipvs_proxy_service_metrics_read_duration_seconds",
            "Time that the last reading of virtual servers for metrics took",
            Kind::Gauge,
            self.took.as_secs_f64(),
        ));
        told.push(Family::single(
            "ipvs_proxy_service_metrics_read_failures_total",
            "Readings of virtual servers for metrics that failed",
            Kind::Counter,
            self.failures as f64,
        ));
        told
    }

    fn counted(&self) -> Vec<MetricFamily> {
        let family = |(name, help, kind, value): Column| {
            let mut family = Family::new(name, help, kind);
            for (service, account) in &self.services {
                family.push(&labels(service), value(account) as f64);
            }
            family.into()
        };
        COLUMNS.map(family).into()
    }

    fn drained(&self, now: Instant) -> [MetricFamily; 2] {
        let mut drains: BTreeMap<&ServiceName, (u32, Duration)> = BTreeMap::new();
        for ((server, _), since) in &self.draining {
            let Some(owner) = self.owners.get(server) else { continue };
            if self.services.contains_key(owner) {
                let drain = drains.entry(owner).or_default();
                drain.0 += 1;
                drain.1 = drain.1.max(now.saturating_duration_since(*since));
            }
        }
        let mut number = Family::new(
            "ipvs_proxy_service_draining_destinations",
            "Destinations of a Service that only finish their connections",
            Kind::Gauge,
        );
        let mut age = Family::new(
            "ipvs_proxy_service_draining_oldest_seconds",
            "For how long the first of them has been finishing its connections",
            Kind::Gauge,
        );
        for service in self.services.keys() {
            let (count, oldest) = drains.get(service).copied().unwrap_or_default();
            number.push(&labels(service), count.into());
            age.push(&labels(service), oldest.as_secs_f64());
        }
        [number.into(), age.into()]
    }
}

fn labels(service: &ServiceName) -> [(&str, &str); 2] {
    [("namespace", &service.namespace), ("service", &service.name)]
}

#[cfg(test)]
mod tests;
