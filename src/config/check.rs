//! Checks settings and makes a [`Config`] of them.
//!
//! Takes the settings of files and flags. Returns the configuration with every default filled in, or every problem with
//! the field's path as kube-proxy writes it. Does not stop at the first problem.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxier::model::{Family, Net};
use proxier::plan::{Compatibility, DrainLimits};

use super::duration::GoDuration;
use super::extension::{self, ExtensionConfig};
use super::file::{self, Raw};
use super::gates::Gates;
use super::{
    Config, DEFAULT_MANIFESTS, DetectLocal, Environment, Ipvs, Pace, Pod, Source, defaults,
};
use crate::sloppy;

mod addresses;
mod conntrack;
pub(super) mod gates;
mod logging;
mod service_metrics;

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
    if field.starts_with(extension::KIND) { "" } else { "KubeProxyConfiguration." }
}

/// The minor version before the kube-proxy version that this proxy follows.
const PREVIOUS_MINOR: &str = "1.35";

/// Checks all settings. The second value lists values that are accepted, but that other programs may read differently.
pub(super) fn check(
    raw: &Raw,
    manifests: Option<&Path>,
    here: &Environment,
) -> Result<(Config, Vec<String>), Vec<Problem>> {
    let mut check = Check::default();
    check.mode(raw);
    check.gates(raw);
    let gates = Gates::of(raw.feature_gates.as_ref());
    let config = Config {
        node_name: check.node_name(raw, here).into(),
        source: check.source(raw, manifests, here),
        detect_local: check.detect_local(raw),
        masquerade_bit: check.int(
            "KubeProxyIPTablesConfiguration.MasqueradeBit",
            raw.iptables.masquerade_bit.unwrap_or(defaults::MASQUERADE_BIT),
            (0, 31),
        ),
        masquerade_all: raw.iptables.masquerade_all.unwrap_or_default(),
        ipvs: check.ipvs(&raw.ipvs),
        node_port_addresses: check.node_port_addresses(raw),
        conntrack: check.conntrack(&raw.conntrack),
        serving: check.serving(raw),
        logging: check.logging(raw, &gates),
        config_sync_period: check.period(
            "ConfigSyncPeriod",
            raw.config_sync_period,
            defaults::CONFIG_SYNC_PERIOD,
        ),
        oom_score_adj: check.int(
            "OOMScoreAdj",
            raw.oom_score_adj.unwrap_or(defaults::OOM_SCORE_ADJ),
            (-1000, 1000),
        ),
        oom_score_adj_is_given: raw.oom_score_adj.is_some(),
        gates,
        policy: match raw.own.strict_traffic_policies {
            Some(true) => Compatibility::Strict,
            Some(false) | None => Compatibility::AsUpstream,
        },
        drain: check.drain(&raw.own),
        ip_mode_proxy: check.nets(
            &format!("{}.ipModeProxyCIDRs", extension::KIND),
            raw.own.ip_mode_proxy_cidrs.as_deref().unwrap_or_default(),
        ),
        service_metrics: check.service_metrics(&raw.own),
        local_socket: raw.own.socket(),
        on_config_change: raw.own.on_config_change(),
    };
    if check.problems.is_empty() { Ok((config, check.warnings)) } else { Err(check.problems) }
}

/// Checks `ipvs.excludeCIDRs` alone.
pub(super) fn exclude_cidrs(words: &[String]) -> Result<Vec<Net>, Vec<Problem>> {
    let mut check = Check::default();
    let nets = check.nets("KubeProxyIPVSConfiguration.ExcludeCidrs", words);
    if check.problems.is_empty() { Ok(nets) } else { Err(check.problems) }
}

/// The default addresses of the health server (all addresses) and of the metrics server (loopback), in the family of
/// the bind address.
pub(super) fn listeners(raw: &Raw) -> (&'static str, &'static str) {
    let bind = sloppy::address(raw.bind_address.as_deref().unwrap_or_default());
    match bind.map(|bind| Family::of(bind.value)) {
        Some(Family::V6) => ("::", "::1"),
        Some(Family::V4) | None => ("0.0.0.0", "127.0.0.1"),
    }
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

    fn mode(&mut self, raw: &Raw) {
        match raw.mode.as_deref().unwrap_or_default() {
            "" | "ipvs" => {}
            mode @ ("iptables" | "nftables") => {
                let reason = format!(
                    "this proxy has the mode ipvs only: for {mode} run kube-proxy itself with \
                     --proxy-mode={mode}"
                );
                self.refuse("Mode", mode, &reason);
            }
            mode => self.refuse("Mode", mode, "must be ipvs (kube-proxy itself has others)"),
        }
        if let Some(version) = raw.show_hidden_metrics_for_version.as_deref()
            && !["", PREVIOUS_MINOR].contains(&version)
        {
            self.refuse("ShowHiddenMetricsForVersion", version, "must be empty or \"1.35\"");
        }
    }

    fn node_name(&mut self, raw: &Raw, here: &Environment) -> String {
        let given = raw.hostname_override.as_deref().filter(|name| !name.is_empty());
        let name = given.unwrap_or(&here.host_name).trim().to_lowercase();
        if name.is_empty() {
            self.refuse("HostnameOverride", "", "the node's name is empty");
        }
        name
    }

    fn source(&mut self, raw: &Raw, manifests: Option<&Path>, here: &Environment) -> Source {
        let client = &raw.client_connection;
        let burst = client.burst.unwrap_or(defaults::BURST);
        let qps = client.qps.unwrap_or(defaults::QPS);
        if !qps.is_finite() {
            self.refuse("ClientConnection.QPS", qps, "must be a number");
        }
        let pace = Pace { qps, burst: self.int("ClientConnection.Burst", burst, (0, i32::MAX)) };
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (kubeconfig, master) = (given(&client.kubeconfig), given(&raw.master));
        match (manifests, here.pod) {
            (Some(path), _) => Source::Manifests(path.to_owned()),
            (None, _) if kubeconfig.is_some() || master.is_some() => {
                Source::ApiServer { kubeconfig: kubeconfig.map(PathBuf::from), master, pace }
            }
            (None, Pod::Inside) => Source::InCluster(pace),
            (None, Pod::Outside) => Source::Manifests(DEFAULT_MANIFESTS.into()),
        }
    }

    fn detect_local(&mut self, raw: &Raw) -> DetectLocal {
        let detail = |text: &Option<String>| text.clone().unwrap_or_default();
        match raw.detect_local_mode.as_deref().unwrap_or_default() {
            "" | "ClusterCIDR" => DetectLocal::ClusterCidr(self.cluster_cidrs(raw)),
            "NodeCIDR" => DetectLocal::NodeCidr,
            "BridgeInterface" => DetectLocal::BridgeInterface(self.interface(
                "DetectLocal.BridgeInterface",
                detail(&raw.detect_local.bridge_interface),
            )),
            "InterfaceNamePrefix" => DetectLocal::InterfaceNamePrefix(self.interface(
                "DetectLocal.InterfaceNamePrefix",
                detail(&raw.detect_local.interface_name_prefix),
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

    fn ipvs(&mut self, raw: &file::Ipvs) -> Ipvs {
        const AT: &str = "KubeProxyIPVSConfiguration";
        let sync_period =
            self.period(&format!("{AT}.SyncPeriod"), raw.sync_period, defaults::SYNC_PERIOD);
        let min_sync_period = self.time(&format!("{AT}.MinSyncPeriod"), raw.min_sync_period, 0);
        if min_sync_period > sync_period {
            let value = raw.sync_period.unwrap_or(GoDuration::from_secs(defaults::SYNC_PERIOD));
            self.refuse(&format!("{AT}.SyncPeriod"), value, "must not be less than MinSyncPeriod");
        }
        let scheduler = raw.scheduler.clone().filter(|name| !name.is_empty());
        Ipvs {
            scheduler: scheduler.unwrap_or_else(|| "rr".to_owned()),
            exclude_cidrs: self.nets(
                &format!("{AT}.ExcludeCidrs"),
                raw.exclude_cidrs.as_deref().unwrap_or_default(),
            ),
            strict_arp: raw.strict_arp.unwrap_or_default(),
            tcp_timeout: self.seconds(&format!("{AT}.TCPTimeout"), raw.tcp_timeout),
            tcp_fin_timeout: self.seconds(&format!("{AT}.TCPFinTimeout"), raw.tcp_fin_timeout),
            udp_timeout: self.seconds(&format!("{AT}.UDPTimeout"), raw.udp_timeout),
            sync_period,
            min_sync_period,
        }
    }

    fn drain(&mut self, own: &ExtensionConfig) -> DrainLimits {
        let mut limit = |field: &str, value| {
            let time = self.time(&format!("{}.{field}", extension::KIND), value, 0);
            (!time.is_zero()).then_some(time)
        };
        DrainLimits {
            usual: limit("gracefulTerminationTimeout", own.graceful_termination_timeout),
            dead_node: limit(
                "unreachableNodeTerminationTimeout",
                own.unreachable_node_termination_timeout,
            ),
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

    /// Returns a duration that is not negative. `default` is in seconds.
    fn time(&mut self, field: &str, value: Option<GoDuration>, default: i64) -> Duration {
        let value = value.unwrap_or(GoDuration::from_secs(default));
        value.checked().unwrap_or_else(|| {
            self.refuse(field, value, "must be greater than or equal to 0");
            Duration::ZERO
        })
    }

    /// Returns a duration greater than zero. `default` is in seconds.
    fn period(&mut self, field: &str, value: Option<GoDuration>, default: i64) -> Duration {
        let value = value.unwrap_or(GoDuration::from_secs(default));
        value.checked().filter(|period| !period.is_zero()).unwrap_or_else(|| {
            self.refuse(field, value, "must be greater than 0");
            Duration::MAX
        })
    }

    /// Returns whole seconds, rounded down, as the kernel takes them. The kernel refuses more than it can count, and
    /// that error is reported when the value is set.
    fn seconds(&mut self, field: &str, value: Option<GoDuration>) -> u32 {
        u32::try_from(self.time(field, value, 0).as_secs()).unwrap_or(u32::MAX)
    }
}
