//! The arguments of `cleanup`, and of `--cleanup`, which removes the same.
//!
//! In: parsed values. Out: what is to be removed and what is others'. Never: files.

use std::path::PathBuf;

use clap::Args;

use crate::config::Flags;
use crate::config::flags::{Process, Proxy, list, named};

/// What to remove.
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
    /// What stood beside kube-proxy's `--cleanup`, if it was that; it counts alone then.
    #[arg(skip)]
    pub beside: Option<Box<Flags>>,
}

impl CleanupArgs {
    /// What kube-proxy's `--cleanup` asks for, given its other flags.
    pub(super) fn of(flags: Flags) -> Self {
        Self { beside: Some(Box::new(flags)), ..Self::default() }
    }

    /// The same as flags of the proxy.
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
