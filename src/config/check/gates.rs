//! What feature gates may be set to.
//!
//! In: the gates that are set. Out: problems. Never: a refusal of a name; any is admitted, as upstream.

use super::Check;
use crate::config::file::Raw;
use crate::config::gates::{EXTERNAL_IPS, FLAGZ, LOGGING_ALPHA, LOGGING_BETA, STATUSZ};

/// The gates that mean something here.
pub(in crate::config) const GATES: &[&str] =
    &["AllAlpha", "AllBeta", EXTERNAL_IPS, FLAGZ, LOGGING_ALPHA, LOGGING_BETA, STATUSZ];
/// Gates that cannot be switched off any more.
const LOCKED: &[&str] = &["MultiCIDRServiceAllocator", "PreferSameTrafficDistribution"];

impl Check {
    /// A locked gate has one value only (spec 12.7).
    pub(super) fn gates(&mut self, raw: &Raw) {
        for (gate, on) in raw.feature_gates.iter().flatten() {
            if LOCKED.contains(&gate.as_str()) && !on {
                self.refuse(&format!("FeatureGates[{gate}]"), on, "is locked to true");
            }
        }
    }
}
