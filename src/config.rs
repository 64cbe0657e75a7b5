//! The settings of the proxy.
//!
//! In: flags, a configuration file, and what surrounds the process. Out: one [`Config`] in which
//! every value is typed and in range, or every problem at once. Never: kernel or API objects; the
//! node's name is the only thing asked of the machine.

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

/// The folder that is followed when there is no cluster and none was named.
pub const DEFAULT_MANIFESTS: &str = "/etc/ipvs-proxy/manifests";

/// Every setting, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This node's name: trimmed, lower case, never empty.
    pub node_name: Arc<str>,
    /// Where Services and EndpointSlices come from.
    pub source: Source,
    /// What counts as traffic from this node's pods.
    pub detect_local: DetectLocal,
    /// Bit of the packet mark that asks for masquerading, 0–31.
    pub masquerade_bit: u8,
    /// All traffic to Services is masqueraded.
    pub masquerade_all: bool,
    /// Settings of the virtual servers.
    pub ipvs: Ipvs,
    /// Which of the node's addresses serve node ports.
    pub node_port_addresses: NodePortAddresses,
    /// Limits of connection tracking.
    pub conntrack: Conntrack,
    /// Addresses that the proxy listens on.
    pub serving: Serving,
    /// What is logged.
    pub logging: Logging,
    /// How often everything is compared anew with what the source said; more than zero.
    pub config_sync_period: Duration,
    /// Score for the out-of-memory killer, -1000–1000.
    pub oom_score_adj: i16,
    /// Whether somebody asked for that score; if not, it is a default that may be missed.
    pub oom_score_adj_is_given: bool,
    /// Every feature gate.
    pub gates: Gates,
    /// Whether upstream's results stand where the API promises others.
    pub policy: Compatibility,
    /// How long destinations may drain.
    pub drain: DrainLimits,
    /// Load-balancer addresses in these networks are treated as those with `ipMode: Proxy`.
    pub ip_mode_proxy: Vec<Net>,
    /// What metrics of each Service may cost, if they are asked for.
    pub service_metrics: Option<ServiceMetrics>,
    /// Where root is told the names of virtual servers.
    pub local_socket: Option<PathBuf>,
    /// What a change of the configuration files leads to.
    pub on_config_change: OnConfigChange,
}

/// What metrics of each Service may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceMetrics {
    /// Of so many Services at most; more than zero.
    pub limit: u32,
    /// So long a reading is good for.
    pub interval: Duration,
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The API server that the environment of a pod names.
    InCluster(Pace),
    /// The API server of a kubeconfig, of `--master`, or of both: then `--master` is its address
    /// and the kubeconfig has the credentials. At least one is there.
    ApiServer {
        /// The kubeconfig's path.
        kubeconfig: Option<PathBuf>,
        /// The server's URL.
        master: Option<String>,
        /// How many requests are allowed.
        pace: Pace,
    },
    /// A folder of manifests (for `plan` also a single file).
    Manifests(PathBuf),
}

/// How many requests a client may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Requests a second.
    pub qps: f32,
    /// Requests in a burst.
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

/// A URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let (scheme, secret, rest) = password_apart(url);
    if secret.is_some() { format!("{scheme}{rest}") } else { url.to_owned() }
}

/// The URL with `xxxxx` for a name and a password in it, as a flag is shown to people.
pub fn with_password_hidden(url: &str) -> String {
    let (scheme, secret, rest) = password_apart(url);
    if secret.is_some() { format!("{scheme}xxxxx@{rest}") } else { url.to_owned() }
}

/// The scheme with what follows it, a name and a password, and the rest. A password may have any character in it,
/// a `/`, a `?` and a `#` included, if whoever wrote it did not escape them; so the last `@` ends it, and of a path
/// with an `@` in it the part before is not shown either.
fn password_apart(url: &str) -> (&str, Option<&str>, &str) {
    let (scheme, rest) = match url.find("://") {
        // A scheme has none of these; a password without one before it may have `://`.
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

/// How traffic of this node's pods is told from other traffic (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Its source is in the cluster's pod network of the family, if one is given.
    ClusterCidr(PerFamily<Option<Net>>),
    /// Its source is in the pod network of this node's Node object.
    NodeCidr,
    /// It comes in by this bridge; not empty. No interface has a name of more than [`INTERFACE_NAME_MAX`] bytes.
    BridgeInterface(String),
    /// It comes in by an interface whose name begins so; not empty, the same.
    InterfaceNamePrefix(String),
}

/// Settings of the virtual servers (`ipvs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipvs {
    /// The kernel's name of the scheduler; never empty.
    pub scheduler: String,
    /// Virtual servers with addresses in these networks belong to others.
    pub exclude_cidrs: Vec<Net>,
    /// Set `arp_ignore` and `arp_announce` so that service addresses are not announced.
    pub strict_arp: bool,
    /// Idle time of TCP connections in seconds; 0 leaves the kernel's.
    pub tcp_timeout: u32,
    /// Time of TCP connections after a FIN in seconds; 0 leaves the kernel's.
    pub tcp_fin_timeout: u32,
    /// Idle time of UDP connections in seconds; 0 leaves the kernel's.
    pub udp_timeout: u32,
    /// Longest time between two full comparisons with the kernel; more than zero.
    pub sync_period: Duration,
    /// Shortest time between two rounds; at most `sync_period`.
    pub min_sync_period: Duration,
}

/// Which of the node's addresses serve node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family.
    Primary,
    /// Addresses in these networks; if there are none of a family, every address.
    Nets(Vec<Net>),
}

/// Limits of connection tracking (`conntrack`); 0 leaves the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections per CPU.
    pub max_per_core: u32,
    /// Connections at least, when `max_per_core` is not 0.
    pub min: u32,
    /// Idle time of established TCP connections.
    pub tcp_established_timeout: Duration,
    /// Time of TCP connections in CLOSE_WAIT.
    pub tcp_close_wait_timeout: Duration,
    /// Accept packets outside the TCP window.
    pub tcp_be_liberal: bool,
    /// Time of UDP flows without answer.
    pub udp_timeout: Duration,
    /// Time of UDP flows with answers.
    pub udp_stream_timeout: Duration,
}

/// Addresses that the proxy listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The node's address, unless unspecified; binds nothing.
    pub bind_address: IpAddr,
    /// Where `/healthz` and `/livez` are served, if at all.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and `/proxyMode` are served.
    pub metrics: SocketAddr,
    /// A port that cannot be bound ends the process.
    pub hard_fail: bool,
    /// Profiles are served under `/debug/pprof`.
    pub profiling: bool,
    /// Metrics hidden in this version are shown.
    pub show_hidden_metrics: bool,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The form of a line.
    pub format: LogFormat,
    /// 0 what matters, 4 each change, 6 everything.
    pub verbosity: u32,
    /// Longest time a line may wait; more than zero. No line waits here.
    pub flush_frequency: Duration,
    /// Levels of single source files; the first pattern that fits counts.
    pub vmodule: Vec<VModule>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object.
    Json,
}

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The name the kernel has for this host.
    pub host_name: String,
    /// Whether the environment names an API server, as a pod's does.
    pub pod: Pod,
}

/// Whether the process runs in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pod {
    /// The environment names an API server.
    Inside,
    /// It does not.
    Outside,
}

impl Environment {
    /// Asks the kernel and the environment.
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

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("configuration file {}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and field.
        source: DecodeFailure,
    },
    /// The settings cannot be written as YAML.
    #[error("cannot write the configuration: {0}")]
    Write(String),
    /// Values that cannot be; all of them.
    #[error("invalid configuration{}: {}", of(files), joined(mistakes, problems))]
    Invalid {
        /// The files that were read; the values are of one of them, or of flags.
        files: Vec<PathBuf>,
        /// Fields of a wrong type.
        mistakes: Vec<yaml::Error>,
        /// Values that are out of range, or do not go together.
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

/// Makes the configuration of flags, of the files they name, and of the folder of manifests, which
/// wins over an API server. The second value lists what was accepted but has no
/// effect, or should be written otherwise.
///
/// # Errors
/// A file that cannot be read, or every problem at once.
pub fn load(
    flags: &Flags,
    manifests: Option<&Path>,
    here: &Environment,
) -> Result<(Config, Vec<String>), Error> {
    let mut given = RawConfig::read(flags)?;
    let config = given.check(manifests, here)?;
    Ok((config, given.warnings))
}
