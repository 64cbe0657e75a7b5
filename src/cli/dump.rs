//! The arguments of `dump`.
//!
//! Takes parsed values. Returns the form of the output and the sources of names. Does not read files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Flags;
use crate::config::flags::{Api, Process, named};

/// The arguments of `dump`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct DumpArgs {
    /// The form
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Form,
    /// The socket of the running proxy, which knows the names of Services
    /// [default: /run/ipvs-proxy/ipvs-proxy.sock, or what the file says]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Take names from the YAML and JSON files in this folder if the proxy does not answer
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Take names from the API server of this kubeconfig if the proxy does not answer
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Address of the API server; wins over the kubeconfig
    #[arg(long, value_name = "URL")]
    pub master: Option<String>,
    /// Take names from the source that this KubeProxyConfiguration file says if the proxy does not answer
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this node [default: the file's, then the host's name]
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
}

/// The form of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// For programs: docs/dump.md.
    Json,
}

impl DumpArgs {
    /// Unsets empty paths.
    pub(super) fn checked(mut self) -> Self {
        for path in [&mut self.socket, &mut self.manifests, &mut self.config] {
            *path = named(path);
        }
        self.kubeconfig = self.kubeconfig.filter(|path| !path.is_empty());
        self
    }

    /// True if an argument names a source of Service names other than the running proxy.
    pub fn names_a_source(&self) -> bool {
        self.manifests.is_some()
            || self.kubeconfig.is_some()
            || self.master.is_some()
            || self.config.is_some()
    }

    /// Returns these arguments as flags of the proxy.
    pub fn flags(&self) -> Flags {
        Flags {
            process: Process {
                config: self.config.clone(),
                hostname_override: self.hostname_override.clone(),
                ..Process::default()
            },
            api: Api {
                kubeconfig: self.kubeconfig.clone(),
                master: self.master.clone(),
                ..Api::default()
            },
            ..Flags::default()
        }
    }
}
