//! The settings of the proxy.
//!
//! Takes flags, a configuration file and the process's [`Environment`]. Returns one [`Config`] in which every value is
//! typed and in range, or every problem at once. Does not touch kernel or API objects. Asks the machine only for its
//! host name and for the environment variables of a pod.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxier::model::{Net, PerFamily};
use proxier::plan::{Compatibility, DrainLimits};

use crate::yaml;

pub use self::check::Problem;
pub use self::documents::DecodeFailure;
pub use self::duration::GoDuration;
pub use self::exclude_cidrs::exclude_cidrs;
pub use self::extension::{ExtensionConfig, OnConfigChange};
pub use self::file::VModule;
pub use self::flags::Flags;
pub use self::follow::FileWatcher;
pub use self::gates::Gates;
pub use self::raw::RawConfig;

mod check;
mod decode;
mod defaults;
mod difference;
mod documents;
mod duration;
mod effective;
mod exclude_cidrs;
pub mod extension;
pub mod file;
pub mod flags;
mod follow;
pub mod gates;
mod go_yaml;
mod raw;
mod spans;

/// Longest name of a network interface in bytes (`include/uapi/linux/if.h IFNAMSIZ`, less the final zero).
pub const INTERFACE_NAME_MAX: usize = 15;

/// The folder of manifests that the proxy follows outside a cluster when the operator names no source.
pub const DEFAULT_MANIFESTS: &str = "/etc/ipvs-proxy/manifests";

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
    /// True if the operator set `oom_score_adj`. A failure to set the default is reported less loudly.
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

/// Bounds of the metrics of each Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceMetrics {
    /// The largest number of Services that have metrics of their own; more than zero.
    pub limit: u32,
    /// The time for which a reading of the kernel's counters stays valid; more than zero.
    pub interval: Duration,
}

/// The source of Services, EndpointSlices and the Node.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The API server that a pod's environment names.
    InCluster(Pace),
    /// The API server of a kubeconfig, of `--master`, or of both: then `--master` gives the address and the kubeconfig
    /// the credentials. At least one of the two is set.
    ApiServer {
        /// The kubeconfig's path.
        kubeconfig: Option<PathBuf>,
        /// The server's URL.
        master: Option<String>,
        /// The limit of requests.
        pace: Pace,
    },
    /// A folder of manifests (for `plan` also a single file).
    Manifests(PathBuf),
}

/// The limit of requests of an API client (`clientConnection`). It has no effect: the proxy sends few requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests per second.
    pub qps: f32,
    /// Requests in one burst.
    pub burst: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster(_) => f.write_str("the API server of this cluster"),
            Self::ApiServer { kubeconfig, master, pace: _ } => {
                f.write_str("the API server")?;
                if let Some(master) = master {
                    write!(f, " {}", without_password(master))?;
                }
                if let Some(kubeconfig) = kubeconfig {
                    write!(f, " of {}", kubeconfig.display())?;
                }
                Ok(())
            }
            Self::Manifests(path) => write!(f, "the manifests in {}", path.display()),
        }
    }
}

/// The URL without a user name and a password.
pub fn without_password(url: &str) -> String {
    let (scheme, secret, rest) = password_apart(url);
    if secret.is_some() { format!("{scheme}{rest}") } else { url.to_owned() }
}

/// The URL with `xxxxx` in place of a user name and a password, as `/flagz` shows a flag.
pub fn with_password_hidden(url: &str) -> String {
    let (scheme, secret, rest) = password_apart(url);
    if secret.is_some() { format!("{scheme}xxxxx@{rest}") } else { url.to_owned() }
}

/// Splits a URL into its scheme with `://`, its user name and password, and the rest.
///
/// An unescaped password may contain any character, even `/`, `?` and `#`, so the last `@` ends it. If the path has an
/// `@`, the part of the URL before that counts as secret too.
fn password_apart(url: &str) -> (&str, Option<&str>, &str) {
    let (scheme, rest) = match url.find("://") {
        // A scheme has none of these characters, but a password in a URL without a scheme may contain `://`.
        Some(at) if !url.get(..at).is_some_and(|scheme| scheme.contains(['@', ':', '/'])) => {
            url.split_at(at + "://".len())
        }
        Some(_) | None => ("", url),
    };
    match rest.rsplit_once('@') {
        Some((secret, rest)) => (scheme, Some(secret), rest),
        None => (scheme, None, rest),
    }
}

/// The way to recognize traffic from this node's pods (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// The source is in the cluster's pod network of its family. `None` for a family without such a network.
    ClusterCidr(PerFamily<Option<Net>>),
    /// The source is in the pod network of this node's Node object.
    NodeCidr,
    /// The traffic arrives at this bridge. Not empty. A name longer than [`INTERFACE_NAME_MAX`] bytes matches nothing.
    BridgeInterface(String),
    /// The traffic arrives at an interface whose name begins with this prefix. Not empty. A prefix longer than
    /// [`INTERFACE_NAME_MAX`] bytes matches nothing.
    InterfaceNamePrefix(String),
}

/// Settings of the virtual servers (`ipvs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipvs {
    /// The kernel's name of the scheduler; never empty.
    pub scheduler: String,
    /// Virtual servers with addresses in these networks belong to other programs.
    pub exclude_cidrs: Vec<Net>,
    /// True if the proxy sets `arp_ignore` and `arp_announce`, so that the node does not announce service addresses.
    pub strict_arp: bool,
    /// Idle timeout of IPVS TCP connections in seconds; 0 keeps the kernel's.
    pub tcp_timeout: u32,
    /// Timeout of IPVS TCP connections after a FIN in seconds; 0 keeps the kernel's.
    pub tcp_fin_timeout: u32,
    /// Idle timeout of IPVS UDP connections in seconds; 0 keeps the kernel's.
    pub udp_timeout: u32,
    /// Longest time between two full comparisons with the kernel; more than zero.
    pub sync_period: Duration,
    /// Shortest time between two rounds; at most `sync_period`.
    pub min_sync_period: Duration,
}

/// The node's addresses that serve node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family.
    Primary,
    /// The node's addresses in these networks. In a family without such a network, every address.
    Nets(Vec<Net>),
}

/// Limits of connection tracking (`conntrack`); 0 keeps the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections per CPU.
    pub max_per_core: u32,
    /// The least number of connections, unless `max_per_core` is 0.
    pub min: u32,
    /// Idle timeout of established TCP connections.
    pub tcp_established_timeout: Duration,
    /// Timeout of TCP connections in CLOSE_WAIT.
    pub tcp_close_wait_timeout: Duration,
    /// True if the kernel accepts packets outside the TCP window.
    pub tcp_be_liberal: bool,
    /// Timeout of UDP flows without an answer.
    pub udp_timeout: Duration,
    /// Timeout of UDP flows with answers.
    pub udp_stream_timeout: Duration,
}

/// Addresses that the proxy listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The node's address, unless unspecified. The proxy does not listen on it.
    pub bind_address: IpAddr,
    /// The address of `/healthz` and `/livez`; `None` if they are not served.
    pub healthz: Option<SocketAddr>,
    /// The address of `/metrics` and `/proxyMode`.
    pub metrics: SocketAddr,
    /// True if a port that cannot be bound ends the process.
    pub hard_fail: bool,
    /// True if profiles are served under `/debug/pprof`.
    pub profiling: bool,
    /// True if metrics that are hidden in this version are shown.
    pub show_hidden_metrics: bool,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The form of a line.
    pub format: LogFormat,
    /// 0 logs important events, 4 each change, 6 everything.
    pub verbosity: u32,
    /// The longest time a line may be buffered; more than zero. It has no effect: this proxy buffers no line.
    pub flush_frequency: Duration,
    /// Levels of single source files; the first pattern that matches wins.
    pub vmodule: Vec<VModule>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text in klog's format.
    Text,
    /// One JSON object per line.
    Json,
}

/// Facts about the machine and the process that settings depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The kernel's name of this host (`uname`).
    pub host_name: String,
    /// Tells if the process runs in a pod.
    pub pod: Pod,
}

/// Tells if the process runs in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pod {
    /// The environment names an API server.
    Inside,
    /// The environment names no API server.
    Outside,
}

impl Environment {
    /// Reads the host name from the kernel and the API server's variables from the environment.
    pub fn look() -> Self {
        let named = |key| std::env::var_os(key).is_some_and(|value| !value.is_empty());
        Self {
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pod: if named("KUBERNETES_SERVICE_HOST") && named("KUBERNETES_SERVICE_PORT") {
                Pod::Inside
            } else {
                Pod::Outside
            },
        }
    }
}

/// The reason why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a valid configuration file.
    #[error("configuration file {}: {source}", path.display())]
    Decode {
        /// The file's path.
        path: PathBuf,
        /// The mistake, with line and field.
        source: DecodeFailure,
    },
    /// The settings cannot be written as YAML.
    #[error("cannot write the configuration: {0}")]
    Write(String),
    /// One or more values are invalid.
    #[error("invalid configuration{}: {}", of(files), joined(mistakes, problems))]
    Invalid {
        /// The files that were read. The invalid values come from one of them, or from flags.
        files: Vec<PathBuf>,
        /// Fields of a wrong type.
        mistakes: Vec<yaml::Error>,
        /// Values that are out of range or contradict each other.
        problems: Vec<Problem>,
    },
}

fn of(files: &[PathBuf]) -> String {
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    if files.is_empty() { String::new() } else { format!(" {}", files.join(", ")) }
}

fn joined(mistakes: &[yaml::Error], problems: &[Problem]) -> String {
    let mistakes = mistakes.iter().map(yaml::Error::to_string);
    mistakes.chain(problems.iter().map(Problem::to_string)).collect::<Vec<_>>().join("; ")
}

/// Builds the configuration from flags, the files they name, and the folder of manifests. The folder wins over an API
/// server. The second value lists settings that were accepted but have no effect or should be written in another way.
///
/// # Errors
/// If a file cannot be read or values are invalid; all invalid values are reported at once.
pub fn load(
    flags: &Flags,
    manifests: Option<&Path>,
    here: &Environment,
) -> Result<(Config, Vec<String>), Error> {
    let mut given = RawConfig::read(flags)?;
    let config = given.check(manifests, here)?;
    Ok((config, given.warnings))
}
