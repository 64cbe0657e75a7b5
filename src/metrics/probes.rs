//! Who has asked how the proxy is, and what was answered.
//!
//! In: answers of the health server and the metrics server. Out: counters. Never: an answer.
//!
//! Source: spec 10.1, 10.3, 11.1.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::IntCounterVec;
use prometheus::proto::MetricFamily;

use super::family::{Family, Kind};
use super::{Declare, Error};

/// Counters of answers.
#[derive(Debug)]
pub struct Probes {
    healthz: IntCounterVec,
    livez: IntCounterVec,
    pings: AtomicU64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz` of the health server.
    Healthz,
    /// `/livez`.
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

    /// A probe was answered with this status.
    pub fn answered(&self, probe: Probe, status: u16) {
        let counters = match probe {
            Probe::Healthz => &self.healthz,
            Probe::Livez => &self.livez,
        };
        counters.with_label_values(&[&status.to_string()]).inc();
    }

    /// `/healthz` of the metrics server was answered.
    pub fn pinged(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets how often that was (`DELETE /metrics/slis`).
    pub fn forget_pings(&self) {
        self.pings.store(0, Ordering::Relaxed);
    }

    /// What `/metrics/slis` says of them; nothing before the first one.
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
