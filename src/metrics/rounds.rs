//! Metrics of the sync thread, with kube-proxy's names, and of the time that each stage takes.
//!
//! Takes events that arrive, pending changes and the outcomes of rounds. Keeps counters, gauges and histograms. Decides
//! nothing.
//!
//! Source: spec 8.3, 11.1.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use prometheus::{
    GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, exponential_buckets,
};
use proxier::apply::{Outcome, Part, Stage};
use proxier::diff::Change;
use proxier::model::{Arrived, Family, Pending, PerFamily, TriggerTime};
use proxier::plan::WithoutLocal;

use super::{Declare, Error, number, seconds};

/// The name of the stage in which the whole kernel is read beside the rounds.
const AUDIT: &str = "audit";

/// Metrics of the sync thread.
#[derive(Debug)]
pub struct Rounds {
    families: OnceLock<Vec<Family>>,
    began: SystemTime,
    durations: HistogramVec,
    queued: GaugeVec,
    synced: GaugeVec,
    changes: Changes,
    programming: HistogramVec,
    without_local: IntGaugeVec,
    restore_failures: IntCounterVec,
    flows: Flows,
    parts: HistogramVec,
    differences: IntCounterVec,
}

/// Metrics of changes that arrive and wait.
#[derive(Debug)]
struct Changes {
    slices_pending: IntGauge,
    slices: IntCounter,
    services_pending: IntGauge,
    services: IntCounter,
}

impl Changes {
    fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        Ok(Self {
            slices_pending: declare.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "[ALPHA] Pending proxy rules Endpoint changes",
            )?,
            slices: declare.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "[ALPHA] Cumulative proxy rules Endpoint changes",
            )?,
            services_pending: declare.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "[ALPHA] Pending proxy rules Service changes",
            )?,
            services: declare.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "[ALPHA] Cumulative proxy rules Service changes",
            )?,
        })
    }
}

/// Metrics of the removal of stale flows.
#[derive(Debug)]
struct Flows {
    durations: HistogramVec,
    deleted: IntCounterVec,
}

impl Flows {
    fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        Ok(Self {
            durations: declare.histograms(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds",
                &["ip_family"],
                fine()?,
            )?,
            deleted: declare.counters(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
                &["ip_family"],
            )?,
        })
    }
}

/// The result of one removal of a family's stale flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowPass {
    /// The duration.
    pub took: Duration,
    /// The number of flows that were deleted.
    pub deleted: u64,
}

/// Buckets in seconds: 0.001, 0.002, … 16.384.
fn fine() -> Result<Vec<f64>, Error> {
    exponential_buckets(0.001, 2.0, 15)
}

/// Buckets in seconds, from 0.25 to 300 with growing distances.
fn coarse() -> Vec<f64> {
    let whole = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    [0.25, 0.5].into_iter().chain(whole.map(f64::from)).collect()
}

impl Rounds {
    pub(super) fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        let family = ["ip_family"];
        let rounds = Self {
            families: OnceLock::new(),
            began: SystemTime::now(),
            durations: declare.histograms(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "[ALPHA] SyncProxyRules latency in seconds",
                &family,
                fine()?,
            )?,
            queued: declare.timestamps(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "[ALPHA] The last time a sync of proxy rules was queued",
                &family,
            )?,
            synced: declare.timestamps(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "[ALPHA] The last time proxy rules were successfully synced",
                &family,
            )?,
            changes: Changes::declare(declare)?,
            programming: declare.histograms(
                "kubeproxy_network_programming_duration_seconds",
                "[ALPHA] In Cluster Network Programming Latency in seconds",
                &family,
                coarse(),
            )?,
            without_local: declare.gauges(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "[ALPHA] Number of services with a Local traffic policy and no endpoints",
                &["traffic_policy", "ip_family"],
            )?,
            restore_failures: declare.counters(
                "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
                "[ALPHA] Cumulative proxy iptables restore failures",
                &family,
            )?,
            flows: Flows::declare(declare)?,
            parts: declare.histograms(
                "ipvs_proxy_sync_stage_duration_seconds",
                "Time spent in each stage of a sync that had something to do in it",
                &["stage"],
                exponential_buckets(0.0001, 4.0, 10)?,
            )?,
            differences: declare.counters(
                "ipvs_proxy_audit_differences_total",
                "Kernel objects that the periodic comparison found other than the proxy left them",
                &["kind"],
            )?,
        };
        rounds.show_zeros();
        Ok(rounds)
    }

    /// Creates the values of this proxy's own metrics with 0. A counter that first appears above 0 would hide its first
    /// increase from a query for rates.
    fn show_zeros(&self) {
        let parts = [Part::Plan, Part::Read, Part::Compare, Part::Drain, Part::Flows];
        let stages = Stage::ALL.map(Part::Change);
        let names = parts.into_iter().chain(stages).map(Part::name).chain([AUDIT]);
        names.for_each(|name| drop(self.parts.with_label_values(&[name])));
        Change::OBJECTS.iter().for_each(|kind| drop(self.differences.with_label_values(&[kind])));
    }

    /// Sets the families that the proxy programs. Counts as a request for a sync (spec 8.3).
    pub fn begin(&self, families: &PerFamily<bool>) {
        let of = Family::BOTH.into_iter().filter(|family| *families.of(*family)).collect();
        // Only the first call counts.
        let _ = self.families.set(of);
        self.queued(Pending::default(), SystemTime::now());
    }

    fn families(&self) -> &[Family] {
        self.families.get().map_or(&[], Vec::as_slice)
    }

    /// Counts objects that have arrived, changed or not.
    pub fn arrived(&self, Arrived { services, slices }: Arrived) {
        self.changes.services.inc_by((services * self.families().len()) as u64);
        self.changes.slices.inc_by(slices as u64);
    }

    /// Records the changes that wait for a round, and the time when a round was requested.
    pub fn queued(&self, pending: Pending, now: SystemTime) {
        self.families().iter().for_each(|family| of(&self.queued, *family).set(seconds(now)));
        self.await_round(pending);
    }

    fn await_round(&self, pending: Pending) {
        self.changes.services_pending.set(number(pending.services));
        self.changes.slices_pending.set(number(pending.slices));
    }

    /// Records the end of a round. `took` is the duration of a sync, and `None` if the round was not one. `parts` has
    /// the time of each part, and `pending` the changes that have arrived meanwhile.
    pub fn ended(
        &self,
        outcome: &Outcome,
        took: Option<Duration>,
        parts: &BTreeMap<Part, Duration>,
        pending: Pending,
    ) {
        self.await_round(pending);
        if let Some(took) = took {
            let observe = |family: &Family| {
                self.durations
                    .with_label_values(&[&family.to_string()])
                    .observe(took.as_secs_f64());
            };
            self.families().iter().for_each(observe);
        }
        for (part, took) in parts {
            self.parts.with_label_values(&[part.name()]).observe(took.as_secs_f64());
        }
        for (kind, number) in &outcome.differences.counts {
            self.differences.with_label_values(&[kind]).inc_by(*number as u64);
        }
    }

    /// Records how long it took to read the whole kernel beside the rounds.
    pub fn record_audit_duration(&self, took: Duration) {
        self.parts.with_label_values(&[AUDIT]).observe(took.as_secs_f64());
    }

    /// Records that a family's kernel state is in sync, except for single objects at most.
    pub fn synced(&self, family: Family, without_local: &WithoutLocal, now: SystemTime) {
        if !self.families().contains(&family) {
            return;
        }
        of(&self.synced, family).set(seconds(now));
        let name = family.to_string();
        let WithoutLocal { internal, external } = *without_local;
        for (policy, count) in [("internal", internal), ("external", external)] {
            self.without_local.with_label_values(&[policy, &name]).set(number(count));
        }
    }

    /// Records the latency of endpoint changes that have now been programmed.
    pub fn programmed(&self, triggers: &[TriggerTime], now: SystemTime) {
        // Changes from before the start of the proxy say nothing about its latency (spec 6.5).
        let (now, began) = (seconds(now), seconds(self.began));
        for trigger in triggers {
            let at = trigger.at as f64 / 1e9;
            if at > began {
                let family = trigger.family.to_string();
                self.programming.with_label_values(&[&family]).observe((now - at).max(0.0));
            }
        }
    }

    /// Counts a failure to write the rules of a family.
    pub fn restore_failed(&self, family: Family) {
        self.restore_failures.with_label_values(&[&family.to_string()]).inc();
    }

    /// Records a removal of a family's stale flows.
    pub fn looked_for_flows(&self, family: Family, pass: FlowPass) {
        let family = family.to_string();
        self.flows.durations.with_label_values(&[&family]).observe(pass.took.as_secs_f64());
        self.flows.deleted.with_label_values(&[&family]).inc_by(pass.deleted);
    }
}

fn of(gauges: &GaugeVec, family: Family) -> prometheus::Gauge {
    gauges.with_label_values(&[&family.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_buckets_are_those_of_upstream() {
        let buckets = coarse();
        assert_eq!(buckets.len(), 80);
        assert_eq!(
            buckets.iter().rev().take(3).copied().collect::<Vec<_>>(),
            [300.0, 270.0, 240.0]
        );
        assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
