//! The errors of one request ([`KernelError`]) and of a whole exchange ([`Error`]).
//!
//! After a `KernelError` the state of the kernel is known. After most `Error`s the caller has to read it
//! again.

use std::{fmt, io};

use netlink_packet_core::DecodeError;

/// The kernel's refusal of one request (`NLMSG_ERROR`, or `NLMSG_DONE` of a dump with an error).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelError {
    /// The error number, positive: `17` is `EEXIST`. Families may use their own numbers; those of ipset start
    /// at 4096.
    pub errno: i32,
    /// The kernel's explanation (`NLMSGERR_ATTR_MSG`), if it gave one.
    pub message: Option<String>,
    /// The position of the fault in the request (`NLMSGERR_ATTR_OFFS`), in bytes from the start of the
    /// netlink header.
    pub offset: Option<u32>,
    /// The payload of the refused request as the kernel sent it back. Mostly empty unless the socket was
    /// opened with `Echo::WholeRequest`. The kernel may have written into it: ipset puts the number of the
    /// failing element there, and always sends the whole request.
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

/// The failure of a whole exchange with the kernel.
///
/// The socket stays usable after each of these errors: the rest of the failed exchange is discarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on the socket failed.
    #[error("netlink {operation}: {source}")]
    Io {
        /// The name of the system call, or of the option for `setsockopt`.
        operation: &'static str,
        /// The error that it returned.
        source: io::Error,
    },
    /// The receive buffer overflowed (`ENOBUFS`). Replies were lost, and requests may or may not have been
    /// applied. The caller must read the kernel's state again.
    #[error("the kernel dropped replies (ENOBUFS), its state is unknown")]
    StateUnknown,
    /// The dumped table changed during every attempt to read it.
    #[error("the dump was interrupted {tries} times")]
    Interrupted {
        /// The number of attempts.
        tries: u32,
    },
    /// The kernel sent data that this crate cannot parse as netlink.
    #[error("malformed netlink message: {0}")]
    Malformed(#[from] DecodeError),
    /// The kernel refused the only request of the exchange.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// No reply to a single request or dump came within the receive timeout.
    #[error("no netlink reply in time")]
    TimedOut,
}
