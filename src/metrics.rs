//! Declares every metric of the proxy, once.
//!
//! Takes calls from the parts of the proxy, a few atomic operations each. Returns the text of a scrape. Names, types,
//! labels and buckets that begin with `kubeproxy_`, `rest_client_`, `kubernetes_` and `process_` are kube-proxy's (spec
//! 11); `ipvs_proxy_` is the prefix of this proxy's own. Does not wait or read the kernel's tables. Declares no metric
//! that a scrape does not show.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::SystemTime;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

pub use self::build::Build;
pub use self::configuration::{ConfigFiles, Configuration};
pub use self::probes::{Probe, Probes};
pub use self::requests::Requests;
pub use self::rounds::{FlowPass, Rounds};
pub use self::tables::{Fill, ObjectCounts, Tables};
pub use prometheus::Error;

mod build;
mod configuration;
pub mod family;
mod probes;
mod process;
mod requests;
mod rounds;
mod tables;
pub mod text;

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Metrics of the sync thread.
    pub rounds: Rounds,
    /// Metrics of the objects that the proxy has in the kernel.
    pub tables: Tables,
    /// Metrics of answers to health probes.
    pub probes: Probes,
    /// Metrics of requests to the API server.
    pub requests: Requests,
    /// Metrics of the configuration files.
    pub configuration: Configuration,
    started: SystemTime,
}

impl Metrics {
    /// Declares all metrics.
    ///
    /// # Errors
    /// If a declaration contradicts itself or another one.
    pub fn new(build: &Build) -> Result<Self, Error> {
        let registry = Registry::new();
        let declare = Declare { registry: &registry, declared: RefCell::default() };
        build.declare(&declare)?;
        let metrics = Self {
            rounds: Rounds::declare(&declare)?,
            tables: Tables::declare(&declare)?,
            probes: Probes::declare(&declare)?,
            requests: Requests::declare(&declare)?,
            configuration: Configuration::declare(&declare)?,
            started: SystemTime::now(),
            registry: registry.clone(),
        };
        build::declare_counts(&declare)?;
        Ok(metrics)
    }

    /// Returns the text of a scrape, with families that the caller has read for it.
    pub fn scrape(&self, more: Vec<MetricFamily>) -> String {
        let mut families = self.registry.gather();
        families.extend(process::families());
        families.extend(more);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        text::encode(&families)
    }

    /// Returns the text of a scrape of service level indicators (`/metrics/slis`).
    pub fn scrape_indicators(&self) -> String {
        let mut families = self.probes.indicators();
        families.extend(process::start_family());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        text::encode(&families)
    }

    /// Returns the time when the process began, in seconds since 1970.
    pub fn process_start(&self) -> u64 {
        process::start_time().map_or_else(|| seconds(self.started) as u64, |start| start as u64)
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A count as the value of a gauge.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Declares metrics, and counts them by the stability level in their help texts.
struct Declare<'a> {
    registry: &'a Registry,
    declared: RefCell<BTreeMap<String, u64>>,
}

impl Declare<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(help, IntCounter::with_opts(Opts::new(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.add(help, IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(help, IntGauge::with_opts(Opts::new(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.add(help, IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Declares a gauge with labels whose values are times, in seconds since 1970 with fractions.
    fn timestamps(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
        self.add(help, GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, Error> {
        self.add(help, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?)
    }

    fn add<C: Collector + Clone + 'static>(&self, help: &str, metric: C) -> Result<C, Error> {
        self.registry.register(Box::new(metric.clone()))?;
        let stability = help.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some((stability, _)) = stability.filter(|(word, _)| !word.is_empty()) {
            *self.declared.borrow_mut().entry(stability.to_owned()).or_default() += 1;
        }
        Ok(metric)
    }
}
