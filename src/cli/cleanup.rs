//! The arguments of `cleanup`, and of the flag `--cleanup`, which does the same.
//!
//! Takes parsed values. Returns them as flags of the proxy. Does not read files.

use std::path::PathBuf;

use clap::Args;

use crate::config::Flags;
use crate::config::flags::{Process, Proxy, list, named};

/// The arguments of `cleanup`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct CleanupArgs {
    /// Print what would be removed, and change nothing
    #[arg(long)]
    pub dry_run: Option<bool>,
    /// Remove everything although a proxy runs, which will put it back
    #[arg(long)]
    pub force: Option<bool>,
    /// Leave others' virtual servers alone in the networks of ipvs.excludeCIDRs of this KubeProxyConfiguration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Leave others' virtual servers in these networks alone: those that no entry of our sets names
    #[arg(long, value_name = "CIDRS", value_parser = list)]
    pub ipvs_exclude_cidrs: Option<Vec<Vec<String>>>,
    /// The other flags beside kube-proxy's `--cleanup`; then only they count. `None` for the command.
    #[arg(skip)]
    pub beside: Option<Box<Flags>>,
}

impl CleanupArgs {
    /// Returns the arguments for kube-proxy's `--cleanup` with its other flags.
    pub(super) fn of(flags: Flags) -> Self {
        Self { beside: Some(Box::new(flags)), ..Self::default() }
    }

    /// Returns these arguments as flags of the proxy.
    pub fn flags(&self) -> Flags {
        if let Some(flags) = &self.beside {
            return Flags::clone(flags);
        }
        Flags {
            process: Process { config: named(&self.config), ..Process::default() },
            proxy: Proxy {
                ipvs_exclude_cidrs: self.ipvs_exclude_cidrs.clone(),
                ..Proxy::default()
            },
            ..Flags::default()
        }
    }
}
