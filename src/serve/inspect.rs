//! The metrics server: `/metrics`, and pages about the running process.
//!
//! Takes metrics, the settings in force and the flags. Answers as kube-proxy's metrics server does, at its paths. Shows
//! no secrets. Matches paths exactly, except those of profiles and flags. Does not make the sync thread wait.
//!
//! Source: spec 10.3.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use prometheus::proto::MetricFamily;
use serde_json::Value;

use super::listener::{Answer, Handler};
use super::plain::{self, not_found};
use super::server::{Server, Unbound};
use crate::metrics::{Metrics, text};
use crate::telemetry::Verbosity;
use crate::traffic::Traffic;

mod accepted;
mod configuration;
mod flags;
mod profiles;
mod status;
mod verbosity;

/// The longest time that a scrape waits for the metrics of Services.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Facts about the process that do not change, except its verbosity and the note about its files.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// `kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration` with every default filled in.
    pub settings: Value,
    /// Every flag with its value.
    pub flags: BTreeMap<String, String>,
    /// The version of kube-proxy that this proxy stands for: `v1.36.2`.
    pub kube_proxy: &'static str,
    /// True if profiles and the verbosity are served (`enableProfiling`).
    pub profiling: bool,
    /// True if `/flagz` is served (feature gate `ComponentFlagz`).
    pub flagz: bool,
    /// True if `/statusz` is served (feature gate `ComponentStatusz`).
    pub statusz: bool,
    /// The verbosity of the log, which can be changed.
    pub verbosity: Verbosity,
    /// The note about the configuration files.
    pub configuration: ConfigurationNote,
}

/// A note about configuration files that do not hold the settings in force; `None` if there is nothing to say.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationNote(Arc<Mutex<Option<String>>>);

impl ConfigurationNote {
    /// Replaces the note.
    pub fn set(&self, note: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }

    /// Returns the note.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The handler of the metrics server.
pub struct Inspect {
    metrics: Arc<Metrics>,
    traffic: Option<Traffic>,
    /// True if the last reading of the metrics of Services took too long.
    is_late: AtomicBool,
    configz: Bytes,
    flags: Option<BTreeMap<String, String>>,
    status: Option<status::Status>,
    configuration: ConfigurationNote,
    profiling: bool,
    verbosity: Verbosity,
}

impl Inspect {
    /// Creates the handler. `traffic` is `None` if Services have no metrics of their own.
    pub fn new(process: Process, metrics: Arc<Metrics>, traffic: Option<Traffic>) -> Self {
        let status = || status::Status::new(process.kube_proxy, SystemTime::now(), process.flagz);
        Self {
            metrics,
            traffic,
            is_late: AtomicBool::new(false),
            configz: configuration::body(&process.settings).into(),
            status: process.statusz.then(status),
            configuration: process.configuration,
            flags: process.flagz.then_some(process.flags),
            profiling: process.profiling,
            verbosity: process.verbosity,
        }
    }

    /// Serves until it is cancelled, or returns the error if the port cannot be bound and the process must end.
    pub async fn serve(self, server: Server) -> Unbound {
        server.serve(Arc::new(self)).await
    }

    async fn scrape(&self) -> Answer {
        let more = match &self.traffic {
            Some(traffic) => self.carried(traffic).await,
            None => Vec::new(),
        };
        self.classic(self.metrics.scrape(more))
    }

    /// Returns the metrics of Services. Returns none if they are not read soon, since a scrape has a time limit of its
    /// own and the other metrics still count.
    async fn carried(&self, traffic: &Traffic) -> Vec<MetricFamily> {
        let read = tokio::time::timeout(PATIENCE, traffic.read()).await;
        let was_late = self.is_late.swap(read.is_err(), Ordering::Relaxed);
        match (was_late, &read) {
            (false, Err(_)) => tracing::warn!(
                "what Services carry has not been read within {PATIENCE:?}: scrapes do without it"
            ),
            (true, Ok(_)) => tracing::info!("service metrics recovered"),
            (true, Err(_)) | (false, Ok(_)) => {}
        }
        read.unwrap_or_default()
    }

    fn indicators(&self, method: &Method) -> Answer {
        if method == Method::DELETE {
            self.metrics.probes.forget_pings();
            return plain::text(StatusCode::OK, "metrics reset\n");
        }
        self.classic(self.metrics.scrape_indicators())
    }

    fn classic(&self, body: String) -> Answer {
        let mut response = Response::new(Full::new(body.into()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
        let start = HeaderName::from_static("process-start-time-unix");
        headers.insert(start, self.metrics.process_start().into());
        response
    }

    /// Answers `/healthz`. Its only check always succeeds, because the process answers.
    fn ping(&self, query: Option<&str>) -> Answer {
        self.metrics.probes.pinged();
        let words: Vec<&str> = query.unwrap_or_default().split('&').collect();
        let is_verbose =
            words.iter().any(|word| *word == "verbose" || word.starts_with("verbose="));
        let ping = if words.contains(&"exclude=ping") { "ping excluded: ok" } else { "ping ok" };
        match is_verbose {
            true => plain::text(StatusCode::OK, format!("[+]{ping}\nhealthz check passed\n")),
            false => plain::text(StatusCode::OK, "ok"),
        }
    }
}

impl Handler for Inspect {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let accepts = request.headers().get_all(ACCEPT).iter();
        let accepts: Vec<&str> = accepts.filter_map(|accepts| accepts.to_str().ok()).collect();
        let accepts = accepts.join(",");
        let accepts = Some(accepts.as_str());
        match request.uri().path() {
            "/metrics" => self.scrape().await,
            "/metrics/slis" => self.indicators(request.method()),
            "/healthz" => self.ping(request.uri().query()),
            "/healthz/ping" => plain::text(StatusCode::OK, "ok"),
            "/proxyMode" => plain::text(StatusCode::OK, "ipvs"),
            "/configz" => plain::json(StatusCode::OK, self.configz.clone()),
            "/flagz" => match &self.flags {
                Some(flags) => flags::answer(flags, accepts),
                None => not_found(),
            },
            "/statusz" => match &self.status {
                Some(status) => status.answer(accepts, SystemTime::now(), self.configuration.get()),
                None => not_found(),
            },
            "/debug/flags/v" if self.profiling => verbosity::answer(&self.verbosity, request).await,
            path if self.profiling => profiles::answer(path),
            _ => not_found(),
        }
    }
}
