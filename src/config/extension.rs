//! `IPVSProxyConfiguration`: settings that kube-proxy does not have.
//!
//! In: a document of a configuration file, or a file of its own. Out: an [`ExtensionConfig`] with every field
//! that it sets. Never: a field of kube-proxy's; that document stays valid for kube-proxy itself.

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
    /// The API's promise instead of upstream's result: no fall-back to other nodes' endpoints under
    /// local internal traffic policy, source ranges of the other family alone close this one, no
    /// node ports in a family for which `primary` finds no address. Default false.
    pub strict_traffic_policies: Option<bool>,
    /// How long a destination that has left may keep its connections; 0 is without limit, and the
    /// default.
    pub graceful_termination_timeout: Option<GoDuration>,
    /// The same for a destination on a node that is gone or not ready, if it is shorter; 0 makes no
    /// difference, and is the default.
    pub unreachable_node_termination_timeout: Option<GoDuration>,
    /// Whether what each Service carries is told by `/metrics`. Default false.
    pub service_metrics: Option<bool>,
    /// Of how many Services it is told at most, in the order of their names. Default 1000.
    pub service_metrics_limit: Option<u32>,
    /// How long a reading of the kernel's counters is good for. Default 10 s.
    pub service_metrics_interval: Option<GoDuration>,
    /// Networks in which load-balancer addresses are treated as those with `ipMode: Proxy`. Default none.
    #[serde(rename = "ipModeProxyCIDRs")]
    pub ip_mode_proxy_cidrs: Option<Vec<String>>,
    /// The path of the socket at which root learns the names of virtual servers; empty for none.
    /// Default `/run/ipvs-proxy/ipvs-proxy.sock`.
    pub local_socket: Option<PathBuf>,
    /// Whether the process ends once its configuration files have changed and a start with them would succeed,
    /// so that it is started again with them. Default false.
    pub exit_on_config_change: Option<bool>,
}

/// What a change of the configuration files leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConfigChange {
    /// It is told, and takes effect at the next start.
    Tell,
    /// The process ends, to be started again, if a start would succeed.
    Exit,
}

impl ExtensionConfig {
    /// `exitOnConfigChange` or its default.
    pub(super) fn on_config_change(&self) -> OnConfigChange {
        match self.exit_on_config_change {
            Some(true) => OnConfigChange::Exit,
            Some(false) | None => OnConfigChange::Tell,
        }
    }

    /// `localSocket` or its default, unless there is to be none.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let path = self.local_socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into());
        (!path.as_os_str().is_empty()).then_some(path)
    }
}
