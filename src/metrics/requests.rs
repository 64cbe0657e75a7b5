//! Metrics of requests to the API server, with client-go's names.
//!
//! Takes requests and their results. Keeps counters and histograms. Does not send requests. Does not record how long a
//! watch takes, which only tells when it was ended.
//!
//! Source: spec 11.2.

use std::time::{Duration, SystemTime};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::{Declare, Error, seconds};

/// Metrics of requests. Clones share their values.
#[derive(Clone, Debug)]
pub struct Requests {
    total: IntCounterVec,
    durations: HistogramVec,
    waits: HistogramVec,
    sent: HistogramVec,
    received: HistogramVec,
    contact: GaugeVec,
}

fn timestamps() -> Vec<f64> {
    vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]
}

fn sizes() -> Vec<f64> {
    [1 << 6, 1 << 8, 1 << 9, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24]
        .map(f64::from)
        .to_vec()
}

impl Requests {
    pub(super) fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        let labels = ["verb", "host"];
        Ok(Self {
            total: declare.counters(
                "rest_client_requests_total",
                "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
                &["code", "method", "host"],
            )?,
            durations: declare.histograms(
                "rest_client_request_duration_seconds",
                "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
                &labels,
                timestamps(),
            )?,
            waits: declare.histograms(
                "rest_client_rate_limiter_duration_seconds",
                "[ALPHA] Client side rate limiter latency in seconds. Broken down by verb, and host.",
                &labels,
                timestamps(),
            )?,
            sent: declare.histograms(
                "rest_client_request_size_bytes",
                "[ALPHA] Request size in bytes. Broken down by verb and host.",
                &labels,
                sizes(),
            )?,
            received: declare.histograms(
                "rest_client_response_size_bytes",
                "[ALPHA] Response size in bytes. Broken down by verb and host.",
                &labels,
                sizes(),
            )?,
            contact: declare.timestamps(
                "ipvs_proxy_source_last_contact_timestamp_seconds",
                "When the API server was last heard: an answer, or a part of one; 0 if never",
                &[],
            )?,
        })
    }

    /// Sets the time of the last contact to 0: there is an API server, which has not answered yet.
    pub fn begin(&self) {
        self.contact.with_label_values::<&str>(&[]).set(0.0);
    }

    /// Records that the API server has sent something.
    pub fn heard(&self, now: SystemTime) {
        self.contact.with_label_values::<&str>(&[]).set(seconds(now));
    }

    /// Counts a request with the HTTP status of its answer; `None` if there was no answer.
    pub fn answered(&self, method: &str, host: &str, status: Option<u16>) {
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.to_string());
        self.total.with_label_values(&[&code, method, host]).inc();
    }

    /// Records the duration of a request that is not a watch, and the size of its body in bytes.
    pub fn took(&self, method: &str, host: &str, took: Duration, sent: usize) {
        self.durations.with_label_values(&[method, host]).observe(took.as_secs_f64());
        self.sent.with_label_values(&[method, host]).observe(sent as f64);
    }

    /// Records the size of an answer's body in bytes.
    pub fn received(&self, method: &str, host: &str, bytes: usize) {
        self.received.with_label_values(&[method, host]).observe(bytes as f64);
    }

    /// Records how long the rate limit delayed a request.
    pub fn waited(&self, method: &str, host: &str, waited: Duration) {
        self.waits.with_label_values(&[method, host]).observe(waited.as_secs_f64());
    }
}
