//! Checks the bounds of the metrics of each Service.
//!
//! Takes the proxy's own settings. Returns the bounds, or `None` if these metrics are off.

use super::Check;
use crate::config::ServiceMetrics;
use crate::config::extension::{self, ExtensionConfig};

/// Default of `serviceMetricsLimit`, in Services.
const SERVICES: u32 = 1000;

/// Default of `serviceMetricsInterval`, in seconds.
const SECONDS: i64 = 10;

impl Check {
    pub(super) fn service_metrics(&mut self, own: &ExtensionConfig) -> Option<ServiceMetrics> {
        let field = |name: &str| format!("{}.{name}", extension::KIND);
        let limit = own.service_metrics_limit.unwrap_or(SERVICES);
        if limit == 0 {
            self.refuse(&field("serviceMetricsLimit"), limit, "must be greater than 0");
        }
        let interval = own.service_metrics_interval;
        let interval = self.period(&field("serviceMetricsInterval"), interval, SECONDS);
        (own.service_metrics == Some(true)).then_some(ServiceMetrics { limit, interval })
    }
}
