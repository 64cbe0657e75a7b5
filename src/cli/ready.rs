//! The arguments of `ready`.
//!
//! In: parsed values. Out: which running proxy is asked. Never: files, so that a probe asks the proxy that
//! runs and not the one that its configuration file would start.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::extension::DEFAULT_SOCKET;
use crate::config::flags::named;

/// Which running proxy is asked.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ReadyArgs {
    /// The socket of the running proxy (its localSocket) [default: /run/ipvs-proxy/ipvs-proxy.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl ReadyArgs {
    /// An empty path is none.
    pub(super) fn checked(mut self) -> Self {
        self.socket = named(&self.socket);
        self
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }
}
