//! The arguments of `ready`.
//!
//! Takes parsed values. Returns the path of the running proxy's socket. Does not read files, so that a probe asks the
//! proxy that runs, even if its configuration file has changed.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::DEFAULT_SOCKET;
use crate::config::flags::named;

/// The arguments of `ready`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ReadyArgs {
    /// The socket of the running proxy (its localSocket) [default: /run/ipvs-proxy/ipvs-proxy.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

impl ReadyArgs {
    /// Unsets an empty path.
    pub(super) fn checked(mut self) -> Self {
        self.socket = named(&self.socket);
        self
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }
}
