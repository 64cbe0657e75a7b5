//! What metrics of each Service may cost.
//!
//! In: the proxy's own settings. Out: bounds, if such metrics are asked for. Never: no bound.

use super::Check;
use crate::config::ServiceMetrics;
use crate::config::extension::{self, ExtensionConfig};

/// Services that are told of, unless somebody says otherwise.
const SERVICES: u32 = 1000;

/// Seconds for which a reading is good, unless somebody says otherwise.
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
