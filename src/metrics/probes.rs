//! Counters of answers to health probes.
//!
//! Takes the status of each answer of the health server and the metrics server. Counts it. Does not answer.
//!
//! Source: spec 10.1, 10.3, 11.1.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::IntCounterVec;
use prometheus::proto::MetricFamily;

use super::family::{Family, Kind};
use super::{Declare, Error};

/// Counters of answers to health probes.
#[derive(Debug)]
pub struct Probes {
    healthz: IntCounterVec,
    livez: IntCounterVec,
    pings: AtomicU64,
}

/// The kind of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz` of the health server.
    Healthz,
    /// `/livez` of the health server.
    Livez,
}

impl Probes {
    pub(super) fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        Ok(Self {
            healthz: declare.counters(
                "kubeproxy_proxy_healthz_total",
                "[ALPHA] Cumulative proxy healthz HTTP status",
                &["code"],
            )?,
            livez: declare.counters(
                "kubeproxy_proxy_livez_total",
                "[ALPHA] Cumulative proxy livez HTTP status",
                &["code"],
            )?,
            pings: AtomicU64::new(0),
        })
    }

    /// Counts an answer to a probe, with its HTTP status.
    pub fn answered(&self, probe: Probe, status: u16) {
        let counters = match probe {
            Probe::Healthz => &self.healthz,
            Probe::Livez => &self.livez,
        };
        counters.with_label_values(&[&status.to_string()]).inc();
    }

    /// Counts an answer to `/healthz` of the metrics server.
    pub fn pinged(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    /// Resets the count of [`pinged`](Self::pinged) to 0 (`DELETE /metrics/slis`).
    pub fn forget_pings(&self) {
        self.pings.store(0, Ordering::Relaxed);
    }

    /// Returns the families of `/metrics/slis`; none before the first [`pinged`](Self::pinged).
    pub(super) fn indicators(&self) -> Vec<MetricFamily> {
        let pings = self.pings.load(Ordering::Relaxed);
        if pings == 0 {
            return Vec::new();
        }
        let mut check = Family::new(
            "kubernetes_healthcheck",
            "[STABLE] This metric records the result of a single healthcheck.",
            Kind::Gauge,
        );
        check.push(&[("name", "ping"), ("type", "healthz")], 1.0);
        let mut checks = Family::new(
            "kubernetes_healthchecks_total",
            "[STABLE] This metric records the results of all healthcheck.",
            Kind::Counter,
        );
        let labels = [("name", "ping"), ("status", "success"), ("type", "healthz")];
        checks.push(&labels, pings as f64);
        vec![check.into(), checks.into()]
    }
}
