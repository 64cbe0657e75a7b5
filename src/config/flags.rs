//! kube-proxy's flags, by subject.
//!
//! Takes argument values that `cli` has split and spelled with hyphens. Returns [`Flags`], in which a flag that was not
//! given is `None`. The lists of `document` say which setting a flag sets, and whether it counts beside a configuration
//! file.

use std::path::PathBuf;

use clap::Args;

use super::document::VModule;
use super::duration::GoDuration;

pub use self::given::defaults;
#[cfg(test)]
pub(super) use self::given::flag_name;
pub use self::list::list;
pub(super) use self::settings::TakeFlag;

mod given;
mod list;
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
    /// The long names of the flags that were given, without hyphens before them, each once.
    #[arg(skip)]
    pub given: Vec<String>,
}

/// The task of the process, and the source of its settings.
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
    /// Do what needs full privileges and exit; later runs need CAP_NET_ADMIN and CAP_NET_RAW only
    #[arg(long)]
    pub init_only: Option<bool>,
    /// Name of this node [default: the host's name]; wins over the file
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Score of this process for the out-of-memory killer, -1000 to 1000 [default: -999]
    #[arg(long, value_name = "SCORE", value_parser = integer)]
    pub oom_score_adj: Option<i32>,
    /// Features to switch, as NAME=true or NAME=false
    #[arg(long, value_name = "GATES", value_delimiter = ',', value_parser = gate)]
    pub feature_gates: Option<Vec<Option<(String, bool)>>>,
}

impl Process {
    /// Unsets empty paths: to pflag the empty text means unset.
    pub(crate) fn forget_empty(&mut self) {
        for path in [&mut self.config, &mut self.extra_config, &mut self.write_config_to] {
            *path = named(path);
        }
    }
}

/// The path; `None` if it is empty.
pub fn named(path: &Option<PathBuf>) -> Option<PathBuf> {
    path.clone().filter(|path| !path.as_os_str().is_empty())
}

/// The source of Services and EndpointSlices.
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
    /// Requests a second; four watches and the events' own limit stay below any [default: 5]
    #[arg(long, value_name = "N")]
    pub kube_api_qps: Option<f32>,
    /// Requests in a burst; has no effect either [default: 10]
    #[arg(long, value_name = "N", value_parser = integer)]
    pub kube_api_burst: Option<i32>,
    /// Period in which objects are delivered again; has no effect, since none is forgotten [default: 15m]
    #[arg(long, value_name = "DURATION")]
    pub config_sync_period: Option<GoDuration>,
}

/// Settings of virtual servers, node ports and masquerading.
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
    #[arg(long, value_name = "CIDRS", value_parser = list)]
    pub ipvs_exclude_cidrs: Option<Vec<Vec<String>>>,
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
    /// Time for which an endpoint that has left may keep its connections; 0 without limit; wins over any
    /// file [default: 0]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_graceful_termination_timeout: Option<GoDuration>,
    /// The same for an endpoint on a node that is gone or not ready; 0 makes no difference; wins over any
    /// file [default: 0]
    #[arg(long, value_name = "DURATION")]
    pub ipvs_unreachable_node_termination_timeout: Option<GoDuration>,
    /// Tell what each Service carries in /metrics; wins over any file
    #[arg(long)]
    pub ipvs_service_metrics: Option<bool>,
    /// Program nothing at load-balancer addresses in these networks, as with `ipMode: Proxy`
    #[arg(long, value_name = "CIDRS", value_parser = list)]
    pub ipvs_ip_mode_proxy_cidrs: Option<Vec<Vec<String>>>,
    /// Masquerade all traffic to Services
    #[arg(long)]
    pub masquerade_all: Option<bool>,
    /// Bit of the packet mark that asks for masquerading, 0 to 31 [default: 14]
    #[arg(long, value_name = "BIT", value_parser = integer)]
    pub iptables_masquerade_bit: Option<i32>,
    /// Networks whose addresses serve node ports, or `primary` [default: every address]
    #[arg(long, value_name = "CIDRS", value_parser = list)]
    pub nodeport_addresses: Option<Vec<Vec<String>>>,
}

/// The way to recognize traffic from this node's pods.
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
    /// Prefix of the names of pods' interfaces
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
}

/// Limits of connection tracking.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Connection tracking")]
pub struct Conntrack {
    /// Connections tracked per CPU; 0 leaves the kernel's limit [default: 32768]
    #[arg(long, value_name = "N", value_parser = integer)]
    pub conntrack_max_per_core: Option<i32>,
    /// Connections tracked at least [default: 131072]
    #[arg(long, value_name = "N", value_parser = integer)]
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
    #[arg(long, value_name = "PORT", value_parser = integer)]
    pub healthz_port: Option<i32>,
    /// Port of /metrics (deprecated: use --metrics-bind-address)
    #[arg(long, value_name = "PORT", value_parser = integer)]
    pub metrics_port: Option<i32>,
}

/// Settings of the log; these flags win over the file.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Verbosity of the log: 0 what matters, 4 each change, 6 everything
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u32>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub logging_format: Option<String>,
    /// Levels of single source files, as PATTERN=LEVEL (text format only)
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = vmodule)]
    pub vmodule: Option<Vec<Option<VModule>>>,
}

/// Flags without effect in this proxy.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Accepted without effect")]
pub struct Unused {
    /// Serve node ports on loopback; IPVS mode never does [default: true]
    #[arg(long, value_name = "BOOL")]
    pub iptables_localhost_nodeports: Option<bool>,
    /// Longest time between two comparisons in iptables mode [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub iptables_sync_period: Option<GoDuration>,
    /// Shortest time between two rounds in iptables mode [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub iptables_min_sync_period: Option<GoDuration>,
    /// Files that may hold the boot's ID; none is read
    #[arg(long, value_name = "FILES")]
    pub boot_id_file: Option<String>,
    /// Files that may hold the machine's ID; none is read
    #[arg(long, value_name = "FILES")]
    pub machine_id_file: Option<String>,
    /// Longest time a line may wait; none does [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub log_flush_frequency: Option<GoDuration>,
    /// Text format: errors to standard error, the rest to standard output
    #[arg(long)]
    pub log_text_split_stream: Option<bool>,
    /// Text format: how much may wait of a split stream [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub log_text_info_buffer_size: Option<String>,
    /// JSON format: errors to standard error, the rest to standard output
    #[arg(long)]
    pub log_json_split_stream: Option<bool>,
    /// JSON format: how much may wait of a split stream [default: 0]
    #[arg(long, value_name = "SIZE")]
    pub log_json_info_buffer_size: Option<String>,
}

/// Reads `NAME=BOOL`. Returns `None` for an empty text, such as the part after the last comma of a list.
fn gate(text: &str) -> Result<Option<(String, bool)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (name, value) = text.split_once('=').ok_or("expected NAME=true or NAME=false")?;
    Ok(Some((name.trim().to_owned(), boolean(value.trim())?)))
}

fn vmodule(text: &str) -> Result<Option<VModule>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let item = text.split_once('=').and_then(|(pattern, level)| {
        let verbosity = level.parse().ok().filter(|_| !pattern.is_empty())?;
        Some(VModule { file_pattern: pattern.to_owned(), verbosity })
    });
    item.map(Some).ok_or_else(|| "expected PATTERN=LEVEL".to_owned())
}

/// Reads a whole number as Go's `strconv.ParseInt` does with base 0: `10`, `0x1f`, `0o17`, `017`, `0b1`. A single `_`
/// may separate digits, and may follow the prefix.
fn integer(text: &str) -> Result<i32, String> {
    let refuse = || "expected a whole number".to_owned();
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if text.starts_with('-') => (-1, digits),
        Some(digits) => (1, digits),
        None => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)),
        [b'0', b'o', ..] => (8, lower.get(2..)),
        [b'0', b'b', ..] => (2, lower.get(2..)),
        [b'0', _, ..] => (8, lower.get(1..)),
        _ => (10, Some(lower.as_str())),
    };
    let digits = digits.unwrap_or_default();
    let is_parted = !digits.ends_with('_') && !digits.contains("__");
    let begins_with_digit = !digits.starts_with(['-', '+']) && !lower.starts_with('_');
    if !(is_parted && begins_with_digit) {
        return Err(refuse());
    }
    let value = i64::from_str_radix(&digits.replace('_', ""), radix).map_err(|_| refuse())?;
    i32::try_from(sign * value).map_err(|_| "does not fit into 32 bits".to_owned())
}

/// Reads a boolean as Go does: `1`, `t`, `T`, `true`, `True`, `TRUE` and their opposites.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
