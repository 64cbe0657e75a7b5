//! Metrics of the configuration files.
//!
//! Takes the conclusion from reading the files. Sets two gauges that exist from the start. Does not show paths or
//! values of settings.

use prometheus::IntGauge;

use super::{Declare, Error};

/// The state of the configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigFiles {
    /// The files hold the settings in force.
    InForce,
    /// The files hold other settings, which take effect at the next start.
    Pending,
    /// A start with the files would fail.
    Unusable,
}

/// The gauges of the configuration files.
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

    /// Sets the gauges to a state.
    pub fn show(&self, found: ConfigFiles) {
        self.pending.set((found != ConfigFiles::InForce).into());
        self.unusable.set((found == ConfigFiles::Unusable).into());
    }
}
