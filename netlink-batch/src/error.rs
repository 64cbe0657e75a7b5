//! What can go wrong: with one request ([`KernelError`]) or with the whole exchange ([`Error`]).
//!
//! The difference matters to the caller: after a `KernelError` the state of the kernel is known,
//! after most `Error`s it has to be read again.

use std::{fmt, io};

use netlink_packet_core::DecodeError;

/// The kernel refused one request (`NLMSG_ERROR`, or `NLMSG_DONE` of a dump with an error).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelError {
    /// The error number, positive: `17` is `EEXIST`. Families may use numbers of their own;
    /// ipset's start at 4096.
    pub errno: i32,
    /// The kernel's explanation (`NLMSGERR_ATTR_MSG`), when it gave one.
    pub message: Option<String>,
    /// Where in the request the kernel saw the fault (`NLMSGERR_ATTR_OFFS`): bytes from the start
    /// of the netlink header.
    pub offset: Option<u32>,
    /// The payload of the refused request as the kernel sent it back; mostly empty unless the socket
    /// was opened with `Echo::WholeRequest`. The kernel may have written into it: ipset puts the
    /// number of the failing element there, and always sends the whole request.
    pub echo: Vec<u8>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{message} (errno {})", self.errno),
            None => write!(f, "{}", io::Error::from_raw_os_error(self.errno)),
        }
    }
}

impl std::error::Error for KernelError {}

/// An exchange with the kernel failed as a whole.
///
/// The socket stays usable after each of them: what is left of the failed exchange is thrown away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on the socket failed.
    #[error("netlink {operation}: {source}")]
    Io {
        /// The system call, with the option's name for `setsockopt`.
        operation: &'static str,
        /// What it returned.
        source: io::Error,
    },
    /// The receive buffer overflowed (`ENOBUFS`): replies were lost, and requests may or may not
    /// have been applied. Read the kernel's state again.
    #[error("the kernel dropped replies (ENOBUFS), its state is unknown")]
    StateUnknown,
    /// The dumped table changed during every one of these attempts to read it.
    #[error("the dump was interrupted {tries} times")]
    Interrupted {
        /// How many dumps were begun.
        tries: u32,
    },
    /// The kernel sent something that is not netlink as this crate knows it.
    #[error("malformed netlink message: {0}")]
    Malformed(#[from] DecodeError),
    /// The kernel refused the only request of the exchange.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No reply to a question or dump came within the receive timeout.
    #[error("no netlink reply in time")]
    TimedOut,
}
