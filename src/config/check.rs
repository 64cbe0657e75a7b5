//! Checks settings and makes a [`Config`] of them.
//!
//! Takes the settings of files and flags. Returns the configuration with every default filled in, or every problem with
//! the field's path as kube-proxy writes it. Does not stop at the first problem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxier::model::{Net, PerFamily};
use proxier::plan::{Compatibility, DrainLimits};

use super::document::{self, ExtensionConfig, KubeProxyConfiguration};
use super::duration::GoDuration;
use super::gates::Gates;
use super::{DEFAULT_MANIFESTS, Environment, Pace, Pod, RawConfig, Source};

pub use self::addresses::{NodePortAddresses, Serving};
pub use self::conntrack::Conntrack;
pub use self::ipvs::Ipvs;
pub use self::logging::{LogFormat, Logging};
pub use self::service_metrics::ServiceMetrics;

mod addresses;
mod conntrack;
pub(super) mod gates;
mod ipvs;
mod logging;
mod service_metrics;

/// The settings of the proxy, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This node's name: trimmed, lower case, never empty.
    pub node_name: Arc<str>,
    /// The source of Services and EndpointSlices.
    pub source: Source,
    /// The way to recognize traffic from this node's pods.
    pub detect_local: DetectLocal,
    /// Bit of the packet mark that asks for masquerading, 0–31.
    pub masquerade_bit: u8,
    /// True if all traffic to Services is masqueraded.
    pub masquerade_all: bool,
    /// Settings of the virtual servers.
    pub ipvs: Ipvs,
    /// The node's addresses that serve node ports.
    pub node_port_addresses: NodePortAddresses,
    /// Limits of connection tracking.
    pub conntrack: Conntrack,
    /// Addresses that the proxy listens on.
    pub serving: Serving,
    /// Settings of the log.
    pub logging: Logging,
    /// `configSyncPeriod`; more than zero. It has no effect: the proxy keeps every object, so none is delivered again.
    pub config_sync_period: Duration,
    /// Score for the out-of-memory killer, -1000–1000.
    pub oom_score_adj: i16,
    /// True if `oom_score_adj` is not the default. A failure to set the default is reported less loudly.
    pub oom_score_adj_is_given: bool,
    /// Feature gates, each on or off.
    pub gates: Gates,
    /// Chooses between kube-proxy's result and the API's promise where they differ.
    pub policy: Compatibility,
    /// The longest times for which destinations may drain.
    pub drain: DrainLimits,
    /// Load-balancer addresses in these networks are treated as those with `ipMode: Proxy`.
    pub ip_mode_proxy: Vec<Net>,
    /// Bounds of the metrics of each Service; `None` if these metrics are off.
    pub service_metrics: Option<ServiceMetrics>,
    /// The path of the local socket at which root reads the names of virtual servers; `None` if there is none.
    pub local_socket: Option<PathBuf>,
    /// The reaction to a change of the configuration files.
    pub on_config_change: OnConfigChange,
}

/// The way to recognize traffic from this node's pods (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// The source is in the cluster's pod network of its family. `None` for a family without such a network.
    ClusterCidr(PerFamily<Option<Net>>),
    /// The source is in the pod network of this node's Node object.
    NodeCidr,
    /// The traffic arrives at this bridge. Not empty. A name longer than [`INTERFACE_NAME_MAX`](super::INTERFACE_NAME_MAX) bytes matches nothing.
    BridgeInterface(String),
    /// The traffic arrives at an interface whose name begins with this prefix. Not empty. A prefix longer than
    /// [`INTERFACE_NAME_MAX`](super::INTERFACE_NAME_MAX) bytes matches nothing.
    InterfaceNamePrefix(String),
}

/// The reaction to a change of the configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConfigChange {
    /// The proxy logs the change, which takes effect at the next start.
    Tell,
    /// The process exits, to be restarted, if a start with the new files would succeed.
    Exit,
}

/// One invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field's path as kube-proxy writes it, such as
    /// `KubeProxyConfiguration.KubeProxyIPVSConfiguration.SyncPeriod`.
    pub field: String,
    /// The value as given.
    pub value: String,
    /// The rule that the value breaks.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, reason } = self;
        write!(f, "{}{field}: Invalid value: {value:?}: {reason}", kind_of(field))
    }
}

/// The prefix of a field's path: the kind of kube-proxy's document, or nothing for a field of the proxy's own.
fn kind_of(field: &str) -> &'static str {
    if field.starts_with(ExtensionConfig::KIND) { "" } else { "KubeProxyConfiguration." }
}

/// The minor version before the kube-proxy version that this proxy follows.
const PREVIOUS_MINOR: &str = "1.35";

/// Checks all settings. The second value lists values that are accepted, but that other programs may read differently.
pub(super) fn check(
    given: &RawConfig,
    manifests: Option<&Path>,
    here: &Environment,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let RawConfig { settings: raw, own, .. } = given;
    let mut check = Check::default();
    check.mode(raw);
    check.gates(raw);
    let gates = Gates::of(&raw.feature_gates);
    let config = Config {
        node_name: check.node_name(raw, here).into(),
        source: check.source(given, manifests, here),
        detect_local: check.detect_local(raw),
        masquerade_bit: check.int(
            "KubeProxyIPTablesConfiguration.MasqueradeBit",
            raw.iptables.masquerade_bit,
            (0, 31),
        ),
        masquerade_all: raw.iptables.masquerade_all,
        ipvs: check.ipvs(&raw.ipvs),
        node_port_addresses: check.node_port_addresses(raw),
        conntrack: check.conntrack(&raw.conntrack),
        serving: check.serving(raw),
        logging: check.logging(raw, &gates),
        config_sync_period: check.period("ConfigSyncPeriod", raw.config_sync_period),
        oom_score_adj: check.int("OOMScoreAdj", raw.oom_score_adj, (-1000, 1000)),
        oom_score_adj_is_given: raw.oom_score_adj != KubeProxyConfiguration::OOM_SCORE_ADJ,
        gates,
        policy: match own.strict_traffic_policies {
            true => Compatibility::Strict,
            false => Compatibility::AsUpstream,
        },
        drain: check.drain(own),
        ip_mode_proxy: check.nets(
            &format!("{}.ipModeProxyCIDRs", ExtensionConfig::KIND),
            own.ip_mode_proxy_cidrs.as_deref().unwrap_or_default(),
        ),
        service_metrics: check.service_metrics(own),
        local_socket: (!own.local_socket.is_empty()).then(|| PathBuf::from(&own.local_socket)),
        on_config_change: match own.exit_on_config_change {
            true => OnConfigChange::Exit,
            false => OnConfigChange::Tell,
        },
    };
    if check.problems.is_empty() { Ok((config, check.warnings)) } else { Err(check.problems) }
}

/// Checks `ipvs.excludeCIDRs` alone.
pub(super) fn exclude_cidrs(words: &[String]) -> Result<Vec<Net>, Vec<Problem>> {
    let mut check = Check::default();
    let nets = check.nets("KubeProxyIPVSConfiguration.ExcludeCidrs", words);
    if check.problems.is_empty() { Ok(nets) } else { Err(check.problems) }
}

/// Collects problems. Every method returns some value, which is used only if there are no problems at the end.
#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
    /// Values that are accepted, but that other programs may read differently.
    warnings: Vec<String>,
}

impl Check {
    fn refuse(&mut self, field: &str, value: impl fmt::Display, reason: &str) {
        self.problems.push(Problem {
            field: field.to_owned(),
            value: value.to_string(),
            reason: reason.to_owned(),
        });
    }

    fn warn(&mut self, field: &str, text: impl fmt::Display) {
        self.warnings.push(format!("{}{field}: {text}", kind_of(field)));
    }

    fn mode(&mut self, raw: &KubeProxyConfiguration) {
        match raw.mode.as_str() {
            "ipvs" => {}
            mode @ ("iptables" | "nftables") => {
                let reason = format!(
                    "this proxy has the mode ipvs only: for {mode} run kube-proxy itself with \
                     --proxy-mode={mode}"
                );
                self.refuse("Mode", mode, &reason);
            }
            mode => self.refuse("Mode", mode, "must be ipvs (kube-proxy itself has others)"),
        }
        let version = raw.show_hidden_metrics_for_version.as_str();
        if !["", PREVIOUS_MINOR].contains(&version) {
            self.refuse("ShowHiddenMetricsForVersion", version, "must be empty or \"1.35\"");
        }
    }

    fn node_name(&mut self, raw: &KubeProxyConfiguration, here: &Environment) -> String {
        let given = Some(&raw.hostname_override).filter(|name| !name.is_empty());
        let name = given.unwrap_or(&here.host_name).trim().to_lowercase();
        if name.is_empty() {
            self.refuse("HostnameOverride", "", "the node's name is empty");
        }
        name
    }

    fn source(
        &mut self,
        given: &RawConfig,
        manifests: Option<&Path>,
        here: &Environment,
    ) -> Source {
        let document::ClientConnection { qps, burst, ref kubeconfig, .. } =
            given.settings.client_connection;
        if !qps.is_finite() {
            self.refuse("ClientConnection.QPS", qps, "must be a number");
        }
        let pace = Pace { qps, burst: self.int("ClientConnection.Burst", burst, (0, i32::MAX)) };
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let (kubeconfig, master) = (named(kubeconfig), named(&given.master));
        match (manifests, here.pod) {
            (Some(path), _) => Source::Manifests(path.to_owned()),
            (None, _) if kubeconfig.is_some() || master.is_some() => {
                Source::ApiServer { kubeconfig: kubeconfig.map(PathBuf::from), master, pace }
            }
            (None, Pod::Inside) => Source::InCluster(pace),
            (None, Pod::Outside) => Source::Manifests(DEFAULT_MANIFESTS.into()),
        }
    }

    fn detect_local(&mut self, raw: &KubeProxyConfiguration) -> DetectLocal {
        match raw.detect_local_mode.as_str() {
            "ClusterCIDR" => DetectLocal::ClusterCidr(self.cluster_cidrs(raw)),
            "NodeCIDR" => DetectLocal::NodeCidr,
            "BridgeInterface" => DetectLocal::BridgeInterface(self.interface(
                "DetectLocal.BridgeInterface",
                raw.detect_local.bridge_interface.clone(),
            )),
            "InterfaceNamePrefix" => DetectLocal::InterfaceNamePrefix(self.interface(
                "DetectLocal.InterfaceNamePrefix",
                raw.detect_local.interface_name_prefix.clone(),
            )),
            other => {
                self.refuse(
                    "DetectLocalMode",
                    other,
                    "must be ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or empty",
                );
                DetectLocal::NodeCidr
            }
        }
    }

    /// Returns a whole number from `lowest` to `highest`, in a type that holds them.
    fn int<T: TryFrom<i32> + Default>(
        &mut self,
        field: &str,
        value: i32,
        (lowest, highest): (i32, i32),
    ) -> T {
        if (lowest..=highest).contains(&value)
            && let Ok(value) = T::try_from(value)
        {
            return value;
        }
        let reason = if highest == i32::MAX {
            format!("must be greater than or equal to {lowest}")
        } else {
            format!("must be from {lowest} to {highest}")
        };
        self.refuse(field, value, &reason);
        T::default()
    }

    /// Returns a duration that is not negative.
    fn time(&mut self, field: &str, value: GoDuration) -> Duration {
        value.checked().unwrap_or_else(|| {
            self.refuse(field, value, "must be greater than or equal to 0");
            Duration::ZERO
        })
    }

    /// Returns a duration greater than zero.
    fn period(&mut self, field: &str, value: GoDuration) -> Duration {
        value.checked().filter(|period| !period.is_zero()).unwrap_or_else(|| {
            self.refuse(field, value, "must be greater than 0");
            Duration::MAX
        })
    }

    /// Returns whole seconds, rounded down, as the kernel takes them. The kernel refuses more than it can count, and
    /// that error is reported when the value is set.
    fn seconds(&mut self, field: &str, value: GoDuration) -> u32 {
        u32::try_from(self.time(field, value).as_secs()).unwrap_or(u32::MAX)
    }
}
