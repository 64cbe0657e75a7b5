//! WHAT IS COUNTED: every metric of the proxy, declared once.
//!
//! In: what happens, told by who does it: a few atomic operations each. Out: the text of a scrape.
//! Names, types, labels and buckets that begin with `kubeproxy_`, `rest_client_`, `kubernetes_` and
//! `process_` are kube-proxy's (spec 11); `ipvs_proxy_` is our own. Never: a wait, a reading of the
//! kernel's tables, or a metric that is counted and not scraped.

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

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the sync thread does.
    pub rounds: Rounds,
    /// What it leaves in the kernel.
    pub tables: Tables,
    /// Who asks how the proxy is.
    pub probes: Probes,
    /// What is asked of the API server.
    pub requests: Requests,
    /// What the configuration files say.
    pub configuration: Configuration,
    started: SystemTime,
}

impl Metrics {
    /// Nothing has happened yet.
    ///
    /// # Errors
    /// A declaration that contradicts itself or another one.
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

    /// The text of a scrape, with what others have read for it.
    pub fn scrape(&self, more: Vec<MetricFamily>) -> String {
        let mut families = self.registry.gather();
        families.extend(process::families());
        families.extend(more);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        text::encode(&families)
    }

    /// The text of a scrape of what says whether the proxy can be relied on (`/metrics/slis`).
    pub fn scrape_indicators(&self) -> String {
        let mut families = self.probes.indicators();
        families.extend(process::start_family());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        text::encode(&families)
    }

    /// When the process began, in seconds since 1970.
    pub fn process_start(&self) -> u64 {
        process::start_time().map_or_else(|| seconds(self.started) as u64, |start| start as u64)
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A count as a gauge takes it.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Declares metrics, and counts them by how stable they are said to be.
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

    fn times(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, Error> {
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
