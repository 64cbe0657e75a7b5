//! Whether the configuration files still say what is in force.
//!
//! In: what was found in them. Out: two gauges that are there from the start. Never: a path or a value of a setting.

use prometheus::IntGauge;

use super::{Declare, Error};

/// What the configuration files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFiles {
    /// What is in force.
    InForce,
    /// Other settings, which take effect at the next start.
    Pending,
    /// Something with which a start would fail.
    Unusable,
}

/// The gauges.
#[derive(Debug)]
pub struct Configuration {
    pending: IntGauge,
    unusable: IntGauge,
}

impl Configuration {
    pub(super) fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        Ok(Self {
            pending: declare.gauge(
                "ipvs_proxy_config_change_pending",
                "1 if the configuration files hold other settings than those in force, which take \
                 effect at the next start",
            )?,
            unusable: declare.gauge(
                "ipvs_proxy_config_unusable",
                "1 if a start with what the configuration files hold now would fail",
            )?,
        })
    }

    /// The files were looked at.
    pub fn show(&self, found: ConfigFiles) {
        self.pending.set((found != ConfigFiles::InForce).into());
        self.unusable.set((found == ConfigFiles::Unusable).into());
    }
}
