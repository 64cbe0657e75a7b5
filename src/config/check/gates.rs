//! Checks feature gates.
//!
//! Takes the gates that are set. Adds problems. Does not refuse unknown names: kube-proxy accepts any.

use super::Check;
use crate::config::document::KubeProxyConfiguration;
use crate::config::gates::{EXTERNAL_IPS, FLAGZ, LOGGING_ALPHA, LOGGING_BETA, STATUSZ};

/// The gates that have an effect in this proxy.
pub(in crate::config) const GATES: &[&str] =
    &["AllAlpha", "AllBeta", EXTERNAL_IPS, FLAGZ, LOGGING_ALPHA, LOGGING_BETA, STATUSZ];
/// Gates that can no longer be switched off.
const LOCKED: &[&str] = &["MultiCIDRServiceAllocator", "PreferSameTrafficDistribution"];

impl Check {
    /// Refuses a locked gate that is set to false (spec 12.7).
    pub(super) fn gates(&mut self, raw: &KubeProxyConfiguration) {
        for (gate, on) in &raw.feature_gates {
            if LOCKED.contains(&gate.as_str()) && !on {
                self.refuse(&format!("FeatureGates[{gate}]"), on, "is locked to true");
            }
        }
    }
}
