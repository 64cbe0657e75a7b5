//! The settings of the proxy.
//!
//! Takes flags, a configuration file and the process's [`Environment`]. Returns one [`Config`] in which every value is
//! typed and in range, or every problem at once. Does not touch kernel or API objects. Asks the machine only for its
//! host name and for the environment variables of a pod.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::yaml;

pub use self::check::{
    Config, Conntrack, DetectLocal, Ipvs, LogFormat, Logging, NodePortAddresses, OnConfigChange,
    Problem, ServiceMetrics, Serving,
};
pub use self::document::{ExtensionConfig, KubeProxyConfiguration, VModule};
pub use self::documents::DecodeFailure;
pub use self::duration::GoDuration;
pub use self::exclude_cidrs::exclude_cidrs;
pub use self::flags::Flags;
pub use self::follow::FileWatcher;
pub use self::gates::Gates;
pub use self::raw::{RawConfig, ordered};

mod check;
mod decode;
mod difference;
mod document;
mod documents;
mod duration;
mod exclude_cidrs;
pub mod flags;
mod follow;
pub mod gates;
mod go_yaml;
mod raw;

/// The default of `localSocket`.
pub const DEFAULT_SOCKET: &str = "/run/ipvs-proxy/ipvs-proxy.sock";

/// The port of `healthzBindAddress` if it has none.
const HEALTHZ_PORT: u16 = 10_256;

/// The port of `metricsBindAddress` if it has none.
const METRICS_PORT: u16 = 10_249;

/// Longest name of a network interface in bytes (`include/uapi/linux/if.h IFNAMSIZ`, less the final zero).
pub const INTERFACE_NAME_MAX: usize = 15;

/// The folder of manifests that the proxy follows outside a cluster when the operator names no source.
pub const DEFAULT_MANIFESTS: &str = "/etc/ipvs-proxy/manifests";

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
