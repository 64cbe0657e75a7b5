//! Turns flags into settings: alone, or over a configuration file.
//!
//! Takes [`Flags`]. Returns the same settings that a file gives. Does not check values.

use std::collections::BTreeMap;

use super::Flags;
use crate::config::GoDuration;
use crate::config::decode::Part as _;
use crate::config::document::{Beside, KubeProxyConfiguration, VModule};
use crate::sloppy;

impl Flags {
    /// Returns the settings when there is no configuration file.
    pub fn settings(&self) -> KubeProxyConfiguration {
        let (defaults, mut settings) = (without_file(), without_file());
        settings.lay_over(self, Beside::Nothing);
        // Beside `--write-config-to` the deprecated port flags do not count (spec 12.4).
        let port = |given: Option<i32>| given.filter(|_| self.process.write_config_to.is_none());
        let serving = &self.serving;
        for (address, default, port) in [
            (
                &mut settings.healthz_bind_address,
                defaults.healthz_bind_address,
                port(serving.healthz_port),
            ),
            (
                &mut settings.metrics_bind_address,
                defaults.metrics_bind_address,
                port(serving.metrics_port),
            ),
        ] {
            if address.is_empty() {
                *address = default;
            }
            complete(address, port);
        }
        settings
    }
}

/// The settings without a file and without flags. One default differs from a file's, because kube-proxy computes a
/// file's before it looks at flags.
pub(super) fn without_file() -> KubeProxyConfiguration {
    let mut settings = KubeProxyConfiguration::default();
    settings.ipvs.min_sync_period = GoDuration::from_secs(1);
    settings
}

/// Completes a bare address with the deprecated port. If the port is 0, there is no address.
fn complete(address: &mut String, port: Option<i32>) {
    match (port, sloppy::address(address)) {
        (Some(0), _) => address.clear(),
        (Some(port), Some(_)) => *address = sloppy::with_port(address, port),
        (None, _) | (Some(_), None) => {}
    }
}

/// A setting that the value of a flag replaces.
pub(in crate::config) trait TakeFlag<T> {
    /// Takes the value of the flag.
    fn take_flag(&mut self, flag: &T);
}

impl<T: Clone> TakeFlag<T> for T {
    fn take_flag(&mut self, flag: &T) {
        self.clone_from(flag);
    }
}

impl TakeFlag<Vec<Vec<String>>> for Option<Vec<String>> {
    /// Takes every word, also empty ones: kube-proxy refuses those by their index.
    fn take_flag(&mut self, flag: &Vec<Vec<String>>) {
        *self = Some(flag.concat());
    }
}

impl TakeFlag<Vec<Option<(String, bool)>>> for BTreeMap<String, bool> {
    fn take_flag(&mut self, flag: &Vec<Option<(String, bool)>>) {
        *self = flag.iter().flatten().cloned().collect();
    }
}

impl TakeFlag<Vec<Option<VModule>>> for Vec<VModule> {
    /// Joins the two lists as kube-proxy does: the first pattern that matches wins.
    fn take_flag(&mut self, flag: &Vec<Option<VModule>>) {
        self.splice(..0, flag.iter().flatten().cloned());
    }
}
