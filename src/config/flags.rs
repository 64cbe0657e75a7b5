//! kube-proxy's flags, by subject.
//!
//! In: argument values, already split and spelled with hyphens by `cli`. Out: [`Flags`], in which
//! a flag that was not given is `None`. Never: defaults, which are the check's, and the question
//! which flag counts beside a configuration file, which [`Flags::settings`] and
//! [`Flags::over_file`] answer.

use std::path::PathBuf;

use clap::Args;

use super::duration::GoDuration;

mod settings;

/// Every flag of kube-proxy 1.36.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each group says what it holds")]
pub struct Flags {
    #[command(flatten)]
    pub process: Process,
    #[command(flatten)]
    pub api: Api,
    #[command(flatten)]
    pub proxy: Proxy,
    #[command(flatten)]
    pub local: Local,
    #[command(flatten)]
    pub conntrack: Conntrack,
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub logging: Logging,
    #[command(flatten)]
    pub unused: Unused,
}

/// What the process does and with which settings.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Process")]
pub struct Process {
    /// Read settings from this KubeProxyConfiguration file; most flags are then ignored
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the proxy's own settings (IPVSProxyConfiguration) from this file
    #[arg(long, value_name = "FILE")]
    pub extra_config: Option<PathBuf>,
    /// Write the settings in force to this file and exit
    #[arg(long, value_name = "FILE")]
    pub write_config_to: Option<PathBuf>,
    /// Remove everything this proxy has put into the kernel and exit
    #[arg(long)]
    pub cleanup: Option<bool>,
    /// Do what needs full privileges and exit; a later run then needs CAP_NET_ADMIN only
    #[arg(long)]
    pub init_only: Option<bool>,
    /// Name of this node [default: the host's name]; wins over the file
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Score of this process for the out-of-memory killer, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "SCORE")]
    pub oom_score_adj: Option<i32>,
    /// Features to switch, as NAME=true or NAME=false
    #[arg(long, value_name = "GATES", value_delimiter = ',', value_parser = gate)]
    pub feature_gates: Option<Vec<(String, bool)>>,
}

/// Where Services and EndpointSlices come from.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "API server")]
pub struct Api {
    /// Credentials and address of the API server
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Address of the API server; wins over kubeconfig and file
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Content type of requests; JSON is used whatever it says
    #[arg(long, value_name = "TYPE")]
    pub kube_api_content_type: Option<String>,
    /// Requests a second [default: 5]
    #[arg(long, value_name = "N")]
    pub kube_api_qps: Option<f32>,
    /// Requests in a burst [default: 10]
    #[arg(long, value_name = "N")]
    pub kube_api_burst: Option<i32>,
    /// How often everything is compared anew with what the API said [default: 15m]
    #[arg(long, value_name = "DURATION")]
    pub config_sync_period: Option<GoDuration>,
}

/// What is programmed and how.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Proxy")]
pub struct Proxy {
    /// The proxy's mode: ipvs
    #[arg(long, value_name = "MODE")]
    pub proxy_mode: Option<String>,
    /// The scheduler of every virtual server [default: rr]
    #[arg(long, value_name = "NAME")]
    pub ipvs_scheduler: Option<String>,
    /// Longest time between two full comparisons with the kernel [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_sync_period: Option<GoDuration>,
    /// Shortest time between two rounds [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_min_sync_period: Option<GoDuration>,
    /// Virtual servers in these networks are left alone
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pub ipvs_exclude_cidrs: Option<Vec<String>>,
    /// Answer and announce ARP only for addresses of the interface asked (arp_ignore, arp_announce)
    #[arg(long)]
    pub ipvs_strict_arp: Option<bool>,
    /// Idle time of IPVS TCP connections; 0 leaves the kernel's
    #[arg(long, value_name = "DURATION")]
    pub ipvs_tcp_timeout: Option<GoDuration>,
    /// Time of IPVS TCP connections after a FIN; 0 leaves the kernel's
    #[arg(long, value_name = "DURATION")]
    pub ipvs_tcpfin_timeout: Option<GoDuration>,
    /// Idle time of IPVS UDP connections; 0 leaves the kernel's
    #[arg(long, value_name = "DURATION")]
    pub ipvs_udp_timeout: Option<GoDuration>,
    /// How long an endpoint that has left may keep its connections; 0 without limit; wins over any
    /// file [default: 0]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_graceful_termination_timeout: Option<GoDuration>,
    /// The same for one on a node that is gone or not ready; 0 makes no difference; wins over any
    /// file [default: 0]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_unreachable_node_termination_timeout: Option<GoDuration>,
    /// Masquerade all traffic to Services
    #[arg(long)]
    pub masquerade_all: Option<bool>,
    /// Bit of the packet mark that asks for masquerading, 0 to 31 [default: 14]
    #[arg(long, value_name = "BIT")]
    pub iptables_masquerade_bit: Option<i32>,
    /// Networks whose addresses serve node ports, or `primary` [default: every address]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pub nodeport_addresses: Option<Vec<String>>,
}

/// What counts as traffic from this node's pods.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Local traffic")]
pub struct Local {
    /// ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix [default: ClusterCIDR]
    #[arg(long, value_name = "MODE")]
    pub detect_local_mode: Option<String>,
    /// The pods' network: one CIDR, or one of each family
    #[arg(long, value_name = "CIDRS")]
    pub cluster_cidr: Option<String>,
    /// The bridge that pods are attached to
    #[arg(long, value_name = "DEVICE")]
    pub pod_bridge_interface: Option<String>,
    /// How the names of pods' interfaces begin
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
}

/// Limits of connection tracking.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Connection tracking")]
pub struct Conntrack {
    /// Connections tracked per CPU; 0 leaves the kernel's limit [default: 32768]
    #[arg(long, value_name = "N")]
    pub conntrack_max_per_core: Option<i32>,
    /// Connections tracked at least [default: 131072]
    #[arg(long, value_name = "N")]
    pub conntrack_min: Option<i32>,
    /// Idle time of established TCP connections; 0 leaves the kernel's [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_tcp_timeout_established: Option<GoDuration>,
    /// Time of TCP connections in CLOSE_WAIT; 0 leaves the kernel's [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_tcp_timeout_close_wait: Option<GoDuration>,
    /// Do not call packets outside the TCP window invalid
    #[arg(long)]
    pub conntrack_tcp_be_liberal: Option<bool>,
    /// Time of UDP flows without answer; 0 leaves the kernel's
    #[arg(long, value_name = "DURATION")]
    pub conntrack_udp_timeout: Option<GoDuration>,
    /// Time of UDP flows with answers; 0 leaves the kernel's
    #[arg(long, value_name = "DURATION")]
    pub conntrack_udp_timeout_stream: Option<GoDuration>,
}

/// Addresses that the proxy itself listens on.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Health and metrics")]
pub struct Serving {
    /// The node's address; binds nothing [default: 0.0.0.0]
    #[arg(long, value_name = "IP")]
    pub bind_address: Option<String>,
    /// Where /healthz and /livez are served [default: 0.0.0.0:10256]
    #[arg(long, value_name = "IP[:PORT]")]
    pub healthz_bind_address: Option<String>,
    /// Where /metrics and /proxyMode are served [default: 127.0.0.1:10249]
    #[arg(long, value_name = "IP[:PORT]")]
    pub metrics_bind_address: Option<String>,
    /// Exit if one of these ports cannot be bound
    #[arg(long)]
    pub bind_address_hard_fail: Option<bool>,
    /// Serve profiles under /debug/pprof
    #[arg(long)]
    pub profiling: Option<bool>,
    /// Show metrics that were hidden in this version
    #[arg(long, value_name = "VERSION")]
    pub show_hidden_metrics_for_version: Option<String>,
    /// Port of /healthz; 0 switches it off (deprecated: use --healthz-bind-address)
    #[arg(long, value_name = "PORT", hide = true)]
    pub healthz_port: Option<i32>,
    /// Port of /metrics (deprecated: use --metrics-bind-address)
    #[arg(long, value_name = "PORT", hide = true)]
    pub metrics_port: Option<i32>,
}

/// What is logged; these win over the file.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// How much is logged: 0 what matters, 4 each change, 6 everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u32>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub logging_format: Option<String>,
    /// Longest time a line may wait [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub log_flush_frequency: Option<GoDuration>,
}

/// Flags that mean nothing to this proxy.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Accepted without effect")]
#[expect(missing_docs, reason = "they have no effect")]
pub struct Unused {
    #[arg(long, value_name = "PATTERNS")]
    pub vmodule: Option<String>,
    #[arg(long, value_name = "BOOL")]
    pub iptables_localhost_nodeports: Option<bool>,
    #[arg(long, value_name = "DURATION")]
    pub iptables_sync_period: Option<GoDuration>,
    #[arg(long, value_name = "DURATION")]
    pub iptables_min_sync_period: Option<GoDuration>,
    #[arg(long, value_name = "FILES")]
    pub boot_id_file: Option<String>,
    #[arg(long, value_name = "FILES")]
    pub machine_id_file: Option<String>,
    #[arg(long)]
    pub log_text_split_stream: Option<bool>,
    #[arg(long, value_name = "SIZE")]
    pub log_text_info_buffer_size: Option<String>,
    #[arg(long)]
    pub log_json_split_stream: Option<bool>,
    #[arg(long, value_name = "SIZE")]
    pub log_json_info_buffer_size: Option<String>,
}

fn gate(text: &str) -> Result<(String, bool), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=true or NAME=false")?;
    Ok((name.trim().to_owned(), boolean(value.trim())?))
}

/// Reads a boolean as Go does: `1`, `t`, `T`, `true`, `True`, `TRUE` and their opposites.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
