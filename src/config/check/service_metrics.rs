//! Checks the bounds of the metrics of each Service.
//!
//! Takes the proxy's own settings. Returns the bounds, or `None` if these metrics are off.

use std::time::Duration;

use super::Check;
use crate::config::document::ExtensionConfig;

/// Bounds of the metrics of each Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceMetrics {
    /// The largest number of Services that have metrics of their own; more than zero.
    pub limit: u32,
    /// The time for which a reading of the kernel's counters stays valid; more than zero.
    pub interval: Duration,
}

impl Check {
    pub(super) fn service_metrics(&mut self, own: &ExtensionConfig) -> Option<ServiceMetrics> {
        let field = |name: &str| format!("{}.{name}", ExtensionConfig::KIND);
        let limit = own.service_metrics_limit;
        if limit == 0 {
            self.refuse(&field("serviceMetricsLimit"), limit, "must be greater than 0");
        }
        let interval = own.service_metrics_interval;
        let interval = self.period(&field("serviceMetricsInterval"), interval);
        own.service_metrics.then_some(ServiceMetrics { limit, interval })
    }
}
