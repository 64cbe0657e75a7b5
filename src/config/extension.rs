//! `IPVSProxyConfiguration`: settings that kube-proxy does not have.
//!
//! Takes a document of a configuration file, or of a file of its own, by way of serde. Returns an [`ExtensionConfig`]
//! with the fields that it sets. Adds no field to kube-proxy's document, which stays valid for kube-proxy itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

/// The `apiVersion` of the document.
pub const API_VERSION: &str = "ipvs-proxy.io/v1alpha1";
/// The group of [`API_VERSION`].
pub const GROUP: &str = "ipvs-proxy.io";
/// The default of `localSocket`.
pub const DEFAULT_SOCKET: &str = "/run/ipvs-proxy/ipvs-proxy.sock";
/// The `kind` of the document.
pub const KIND: &str = "IPVSProxyConfiguration";

/// The fields of `ipvs-proxy.io/v1alpha1 IPVSProxyConfiguration`; `None` means unset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionConfig {
    /// `ipvs-proxy.io/v1alpha1`.
    pub api_version: Option<String>,
    /// `IPVSProxyConfiguration`.
    pub kind: Option<String>,
    /// True for the API's promise instead of kube-proxy's result. Then local internal traffic policy does not fall back
    /// to other nodes' endpoints; source ranges of one family alone close the other one; and there are no node ports in
    /// a family for which `primary` finds no address. Default false.
    pub strict_traffic_policies: Option<bool>,
    /// The time for which a removed destination may keep its connections. 0 means no limit, and is the default.
    pub graceful_termination_timeout: Option<GoDuration>,
    /// The time for a removed destination on a node that is gone or not ready. Counts only if it is shorter than the
    /// other limit. 0 means no separate limit, and is the default.
    pub unreachable_node_termination_timeout: Option<GoDuration>,
    /// True if `/metrics` has counters of each Service. Default false.
    pub service_metrics: Option<bool>,
    /// The largest number of Services that have such counters, in the order of their names. Default 1000.
    pub service_metrics_limit: Option<u32>,
    /// The time for which a reading of the kernel's counters stays valid. Default 10 s.
    pub service_metrics_interval: Option<GoDuration>,
    /// Networks in which load-balancer addresses are treated as those with `ipMode: Proxy`. Default none.
    #[serde(rename = "ipModeProxyCIDRs")]
    pub ip_mode_proxy_cidrs: Option<Vec<String>>,
    /// The path of the socket at which root reads the names of virtual servers; empty for none.
    /// Default `/run/ipvs-proxy/ipvs-proxy.sock`.
    pub local_socket: Option<PathBuf>,
    /// True if the process exits after its configuration files have changed, so that it is restarted with them. It
    /// exits only if a start with the new files would succeed. Default false.
    pub exit_on_config_change: Option<bool>,
}

/// The reaction to a change of the configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConfigChange {
    /// The proxy logs the change, which takes effect at the next start.
    Tell,
    /// The process exits, to be restarted, if a start with the new files would succeed.
    Exit,
}

impl ExtensionConfig {
    /// Returns `exitOnConfigChange` or its default.
    pub(super) fn on_config_change(&self) -> OnConfigChange {
        match self.exit_on_config_change {
            Some(true) => OnConfigChange::Exit,
            Some(false) | None => OnConfigChange::Tell,
        }
    }

    /// Returns `localSocket` or its default; `None` if it is set to the empty path.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let path = self.local_socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into());
        (!path.as_os_str().is_empty()).then_some(path)
    }
}
