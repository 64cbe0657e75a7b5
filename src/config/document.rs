//! Lists every setting: its name, type and default, and the flag that sets it.
//!
//! Has `KubeProxyConfiguration` of kube-proxy and `IPVSProxyConfiguration`, the settings that kube-proxy does not have.
//! Files, flags, `/configz`, `--write-config-to`, the comparison of changed files and the tables of
//! `docs/configuration.md` all follow these lists. Does not check values. The defaults are those of spec 12.2.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::DEFAULT_SOCKET;
use super::decode::{Part, Value};
use super::duration::GoDuration;
use super::flags::{Flags, TakeFlag as _};
use crate::yaml::below;

/// The default of `clientConnection.contentType`.
pub(super) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The list's facts about one setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// The name in a document.
    pub(super) name: &'static str,
    /// The name of the flag's field in [`Flags`]; empty without a flag.
    pub(super) flag: &'static str,
    /// The properties.
    pub(super) marks: &'static [Mark],
    /// The meaning, for `docs/configuration.md`.
    #[cfg(test)]
    about: &'static str,
}

/// A property of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// In a document, zero and empty text mean the default.
    Zero,
    /// The setting, and each one below it, has no effect in this proxy.
    Idle,
    /// An empty or false value is not written.
    Omit,
    /// The flag counts beside a file.
    Wins,
}

impl Setting {
    pub(super) fn is(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }
}

/// Tells which flags count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// There is no file, so every flag counts.
    Nothing,
    /// Only the flags with [`Mark::Wins`] count.
    File,
}

/// A single setting of a document, with its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The names of the setting and of those that it stands below, such as `ipvs.syncPeriod`.
    pub(super) path: String,
    pub(super) setting: &'static Setting,
    /// True if the setting has no effect in this proxy.
    pub(super) is_idle: bool,
    /// The value as kube-proxy writes it.
    pub(super) value: Json,
}

/// Returns every single setting of a document, in the order of the lists.
pub(super) fn entries(document: &dyn Part) -> Vec<Entry> {
    fn add(part: &dyn Part, above: &str, is_idle: bool, found: &mut Vec<Entry>) {
        for (setting, value) in part.settings() {
            let path = below(above, setting.name);
            let is_idle = is_idle || setting.is(Mark::Idle);
            match value.part() {
                Some(part) => add(part, &path, is_idle, found),
                None => found.push(Entry { path, setting, is_idle, value: value.json() }),
            }
        }
    }
    let mut found = Vec::new();
    add(document, "", false, &mut found);
    found
}

/// True if the flag of the setting with this name counts.
fn counts(settings: &[Setting], name: &str, beside: Beside) -> bool {
    let setting = settings.iter().find(|setting| setting.name == name);
    beside == Beside::Nothing || setting.is_some_and(|setting| setting.is(Mark::Wins))
}

/// Declares the settings of one mapping, in kube-proxy's order. A line has the name, the properties in brackets, the
/// field, its type, its default, and the flag as a field of [`Flags`].
macro_rules! document {
    ($(#[$doc:meta])* $part:ident { $(
        $(#[doc = $about:literal])* $name:literal $([$($mark:ident)*])?
        $field:ident: $type:ty = $default:expr $(=> $group:ident.$flag:ident)?;
    )* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the fields are those of the published configuration API")]
        pub struct $part { $( $(#[doc = $about])* pub $field: $type, )* }

        impl Default for $part {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $part {
            const SETTINGS: &'static [Setting] = &[$( Setting {
                name: $name,
                flag: concat!($(stringify!($flag))?),
                marks: &[$($(Mark::$mark),*)?],
                #[cfg(test)]
                about: concat!($($about),*),
            } ),*];
        }

        impl Part for $part {
            fn settings(&self) -> Vec<(&'static Setting, &dyn Value)> {
                Self::SETTINGS.iter().zip([$(&self.$field as &dyn Value),*]).collect()
            }

            fn settings_mut(&mut self) -> Vec<(&'static Setting, &mut dyn Value)> {
                Self::SETTINGS.iter().zip([$(&mut self.$field as &mut dyn Value),*]).collect()
            }

            fn replace_zeros(&mut self) {
                for setting in Self::SETTINGS.iter().filter(|setting| setting.is(Mark::Zero)) {
                    match setting.name {
                        $( $name if self.$field == <$type>::default() => self.$field = $default, )*
                        _ => {}
                    }
                }
            }

            fn lay_over(&mut self, flags: &Flags, beside: Beside) {
                $( $(
                    if counts(Self::SETTINGS, $name, beside) && let Some(value) = &flags.$group.$flag {
                        self.$field.take_flag(value);
                    }
                )? )*
                for (_, value) in self.settings_mut() {
                    if let Some(part) = value.part_mut() {
                        part.lay_over(flags, beside);
                    }
                }
            }
        }
    };
}

document! {
/// `kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration`.
KubeProxyConfiguration {
    "kind" kind: String = Self::KIND.to_owned();
    "apiVersion" api_version: String = Self::API_VERSION.to_owned();
    "featureGates" [Omit] feature_gates: BTreeMap<String, bool> = BTreeMap::new() => process.feature_gates;
    "clientConnection" client_connection: ClientConnection = ClientConnection::default();
    "logging" logging: Logging = Logging::default();
    "hostnameOverride" [Wins] hostname_override: String = String::new() => process.hostname_override;
    "bindAddress" bind_address: String = "0.0.0.0".to_owned() => serving.bind_address;
    "healthzBindAddress" healthz_bind_address: String = "0.0.0.0:10256".to_owned() => serving.healthz_bind_address;
    "metricsBindAddress" metrics_bind_address: String = "127.0.0.1:10249".to_owned() => serving.metrics_bind_address;
    "bindAddressHardFail" bind_address_hard_fail: bool = false => serving.bind_address_hard_fail;
    "enableProfiling" enable_profiling: bool = false => serving.profiling;
    "showHiddenMetricsForVersion" show_hidden_metrics_for_version: String = String::new() => serving.show_hidden_metrics_for_version;
    "mode" mode: String = String::new() => proxy.proxy_mode;
    "iptables" iptables: Iptables = Iptables::default();
    "ipvs" ipvs: Ipvs = Ipvs::default();
    "nftables" [Idle] nftables: Nftables = Nftables::default();
    "winkernel" [Idle] winkernel: Winkernel = Winkernel::default();
    "detectLocalMode" detect_local_mode: String = String::new() => local.detect_local_mode;
    "detectLocal" detect_local: DetectLocal = DetectLocal::default();
    "clusterCIDR" cluster_cidr: String = String::new() => local.cluster_cidr;
    "nodePortAddresses" node_port_addresses: Option<Vec<String>> = None => proxy.nodeport_addresses;
    "oomScoreAdj" oom_score_adj: i32 = Self::OOM_SCORE_ADJ => process.oom_score_adj;
    "conntrack" conntrack: Conntrack = Conntrack::default();
    "configSyncPeriod" [Zero Idle] config_sync_period: GoDuration = GoDuration::from_secs(15 * 60) => api.config_sync_period;
    "portRange" [Idle] port_range: String = String::new();
    "windowsRunAsService" [Omit Idle] windows_run_as_service: bool = false;
} }

document! {
/// `clientConnection`: the connection to the API server.
ClientConnection {
    "kubeconfig" kubeconfig: String = String::new() => api.kubeconfig;
    "acceptContentTypes" [Idle] accept_content_types: String = String::new();
    "contentType" [Zero Idle] content_type: String = CONTENT_TYPE.to_owned() => api.kube_api_content_type;
    "qps" [Zero Idle] qps: f32 = 5.0 => api.kube_api_qps;
    "burst" [Zero Idle] burst: i32 = 10 => api.kube_api_burst;
} }

document! {
/// `logging`.
Logging {
    "format" [Zero Wins] format: String = "text".to_owned() => logging.logging_format;
    "flushFrequency" [Zero Wins Idle] flush_frequency: GoDuration = GoDuration::from_secs(5) => unused.log_flush_frequency;
    "verbosity" [Wins] verbosity: u32 = 0 => logging.verbosity;
    "vmodule" [Omit Wins] vmodule: Vec<VModule> = Vec::new() => logging.vmodule;
    "options" [Idle] options: LoggingOptions = LoggingOptions::default();
} }

document! {
/// An element of `logging.vmodule`.
#[derive(Eq)]
VModule {
    "filePattern" file_pattern: String = String::new();
    "verbosity" verbosity: u32 = 0;
} }

document! {
/// `logging.options`.
LoggingOptions {
    "text" text: TextOptions = TextOptions::default();
    "json" json: JsonOptions = JsonOptions::default();
} }

document! {
/// `logging.options.text`.
TextOptions {
    "splitStream" [Omit Wins] split_stream: bool = false => unused.log_text_split_stream;
    "infoBufferSize" [Wins] info_buffer_size: String = "0".to_owned() => unused.log_text_info_buffer_size;
} }

document! {
/// `logging.options.json`.
JsonOptions {
    "splitStream" [Omit Wins] split_stream: bool = false => unused.log_json_split_stream;
    "infoBufferSize" [Wins] info_buffer_size: String = "0".to_owned() => unused.log_json_info_buffer_size;
} }

document! {
/// `iptables`: two of its fields are used in IPVS mode too.
Iptables {
    "masqueradeBit" masquerade_bit: i32 = 14 => proxy.iptables_masquerade_bit;
    "masqueradeAll" masquerade_all: bool = false => proxy.masquerade_all;
    "localhostNodePorts" [Idle] localhost_node_ports: bool = true => unused.iptables_localhost_nodeports;
    "syncPeriod" [Idle] sync_period: GoDuration = GoDuration::from_secs(30) => unused.iptables_sync_period;
    "minSyncPeriod" [Idle] min_sync_period: GoDuration = GoDuration::from_secs(1) => unused.iptables_min_sync_period;
} }

document! {
/// `ipvs`.
Ipvs {
    "syncPeriod" [Zero] sync_period: GoDuration = GoDuration::from_secs(30) => proxy.ipvs_sync_period;
    "minSyncPeriod" min_sync_period: GoDuration = GoDuration::ZERO => proxy.ipvs_min_sync_period;
    "scheduler" scheduler: String = String::new() => proxy.ipvs_scheduler;
    "excludeCIDRs" exclude_cidrs: Option<Vec<String>> = None => proxy.ipvs_exclude_cidrs;
    "strictARP" strict_arp: bool = false => proxy.ipvs_strict_arp;
    "tcpTimeout" tcp_timeout: GoDuration = GoDuration::ZERO => proxy.ipvs_tcp_timeout;
    "tcpFinTimeout" tcp_fin_timeout: GoDuration = GoDuration::ZERO => proxy.ipvs_tcpfin_timeout;
    "udpTimeout" udp_timeout: GoDuration = GoDuration::ZERO => proxy.ipvs_udp_timeout;
} }

document! {
/// `nftables`: no effect in IPVS mode.
Nftables {
    "masqueradeBit" masquerade_bit: i32 = 14;
    "masqueradeAll" masquerade_all: bool = false;
    "syncPeriod" sync_period: GoDuration = GoDuration::ZERO;
    "minSyncPeriod" min_sync_period: GoDuration = GoDuration::ZERO;
} }

document! {
/// `winkernel`: no effect on Linux.
Winkernel {
    "networkName" network_name: String = String::new();
    "sourceVip" source_vip: String = String::new();
    "enableDSR" enable_dsr: bool = false;
    "rootHnsEndpointName" root_hns_endpoint_name: String = String::new();
    "forwardHealthCheckVip" forward_health_check_vip: bool = false;
} }

document! {
/// `detectLocal`.
DetectLocal {
    "bridgeInterface" bridge_interface: String = String::new() => local.pod_bridge_interface;
    "interfaceNamePrefix" interface_name_prefix: String = String::new() => local.pod_interface_name_prefix;
} }

document! {
/// `conntrack`.
Conntrack {
    "maxPerCore" max_per_core: i32 = 32_768 => conntrack.conntrack_max_per_core;
    "min" min: i32 = 131_072 => conntrack.conntrack_min;
    "tcpEstablishedTimeout" tcp_established_timeout: GoDuration = GoDuration::from_secs(24 * 3600) => conntrack.conntrack_tcp_timeout_established;
    "tcpCloseWaitTimeout" tcp_close_wait_timeout: GoDuration = GoDuration::from_secs(3600) => conntrack.conntrack_tcp_timeout_close_wait;
    "tcpBeLiberal" tcp_be_liberal: bool = false => conntrack.conntrack_tcp_be_liberal;
    "udpTimeout" udp_timeout: GoDuration = GoDuration::ZERO => conntrack.conntrack_udp_timeout;
    "udpStreamTimeout" udp_stream_timeout: GoDuration = GoDuration::ZERO => conntrack.conntrack_udp_timeout_stream;
} }

document! {
/// `ipvs-proxy.io/v1alpha1 IPVSProxyConfiguration`: the settings that kube-proxy does not have.
ExtensionConfig {
    "kind" kind: String = Self::KIND.to_owned();
    "apiVersion" api_version: String = Self::API_VERSION.to_owned();
    /// The proxy does what the API promises where upstream's IPVS mode gives another result:
    /// [compatibility.md](compatibility.md#what-stricttrafficpolicies-changes).
    "strictTrafficPolicies" strict_traffic_policies: bool = false;
    /// The longest time for which a removed TCP destination keeps its connections. Then the destination goes, and the
    /// connections end. `0s` means no limit.
    "gracefulTerminationTimeout" [Wins] graceful_termination_timeout: GoDuration = GoDuration::ZERO => proxy.ipvs_graceful_termination_timeout;
    /// The same time, if shorter, for a destination on a node that is gone or whose condition `Ready` is not `True`. The
    /// proxy then watches all nodes (with an API server only). `0s` makes no difference.
    "unreachableNodeTerminationTimeout" [Wins] unreachable_node_termination_timeout: GoDuration = GoDuration::ZERO => proxy.ipvs_unreachable_node_termination_timeout;
    /// `/metrics` has counters of each Service: [metrics.md](metrics.md#metrics-of-services-opt-in).
    "serviceMetrics" [Wins] service_metrics: bool = false => proxy.ipvs_service_metrics;
    /// The largest number of Services that have such counters, in the order of their names. A gauge counts the others.
    "serviceMetricsLimit" service_metrics_limit: u32 = 1000;
    /// The time for which a reading of the kernel's counters is used, however often a scrape comes.
    "serviceMetricsInterval" service_metrics_interval: GoDuration = GoDuration::from_secs(10);
    /// The proxy treats load-balancer addresses (`status.loadBalancer.ingress[].ip`) in these networks as if they had
    /// `ipMode: Proxy`. It programs nothing for them, so packets to them leave the node. Use it for load balancers that
    /// share addresses with nodes or the API server, or that answer by themselves, if the controller that writes the
    /// status does not set `ipMode`.
    "ipModeProxyCIDRs" [Wins] ip_mode_proxy_cidrs: Option<Vec<String>> = None => proxy.ipvs_ip_mode_proxy_cidrs;
    /// The socket at which [`dump`](dump.md), run by root, gets the names of Services, and
    /// [`ready`](dump.md#ipvs-proxy-ready) asks whether the first sync has succeeded. Empty for none. If another process
    /// listens there already, it keeps the socket, and the proxy warns. If it is removed while the proxy runs, it is
    /// created again within 30 s.
    "localSocket" local_socket: String = DEFAULT_SOCKET.to_owned();
    /// The process ends when its configuration files have changed and a start with them would succeed:
    /// [below](#when-the-configuration-changes).
    "exitOnConfigChange" exit_on_config_change: bool = false;
} }

impl KubeProxyConfiguration {
    /// The `apiVersion` of the document.
    pub(super) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
    /// The `kind` of the document.
    pub(super) const KIND: &str = "KubeProxyConfiguration";
    /// The default of `oomScoreAdj`.
    pub(super) const OOM_SCORE_ADJ: i32 = -999;
}

impl ExtensionConfig {
    /// The `apiVersion` of the document.
    pub(super) const API_VERSION: &str = "ipvs-proxy.io/v1alpha1";
    /// The group of the `apiVersion`.
    pub(super) const GROUP: &str = "ipvs-proxy.io";
    /// The `kind` of the document.
    pub(super) const KIND: &str = "IPVSProxyConfiguration";
}

#[cfg(test)]
mod tests;
