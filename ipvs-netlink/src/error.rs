//! What can go wrong, in the words of the family.
//!
//! A [`Refusal`] is the kernel's answer to one command and says what to do about it; an [`Error`] is
//! that with its command and the kernel's number, or a failure of the conversation.

use crate::AttributeError;
#[cfg(feature = "socket")]
use crate::{DecodeError, KernelError, TransportError};

/// Why the kernel refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The virtual server, destination or daemon exists already (`EEXIST`).
    AlreadyExists,
    /// There is no such virtual server (`ESRCH`).
    NoSuchService,
    /// The virtual server has no such destination (`ENOENT`).
    NoSuchDestination,
    /// The sync daemon does not run (`ESRCH`).
    NoSuchDaemon,
    /// There is no such network interface (`ENODEV`).
    NoSuchInterface,
    /// The kernel has no such scheduler, and no module of that name (`ENOENT`).
    UnknownScheduler,
    /// The same number for a virtual server with a persistence engine, which may be what is unknown.
    UnknownSchedulerOrEngine,
    /// The caller lacks `CAP_NET_ADMIN`; most kernels want it in the initial user namespace
    /// (`EPERM`).
    NotPermitted,
    /// An attribute is missing or out of range (`EINVAL`, `ERANGE`): a weight beyond `i32::MAX`, a
    /// lower threshold above the upper, a name too long. Also a destination whose address is not
    /// unicast, which is every address in a network namespace where `lo` has never been up.
    InvalidArgument,
    /// Something else; see the number.
    Other,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::AlreadyExists => "exists already",
            Refusal::NoSuchService => "no such virtual server",
            Refusal::NoSuchDestination => "no such destination",
            Refusal::NoSuchDaemon => "the daemon does not run",
            Refusal::NoSuchInterface => "no such interface",
            Refusal::UnknownScheduler => "unknown scheduler",
            Refusal::UnknownSchedulerOrEngine => "unknown scheduler or persistence engine",
            Refusal::NotPermitted => "CAP_NET_ADMIN is needed",
            Refusal::InvalidArgument => "invalid argument",
            Refusal::Other => "refused",
        })
    }
}

/// A command that cannot be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The netmask is of another family than the virtual server.
    #[error("the netmask is of another address family than the virtual server")]
    NetmaskFamily,
    /// A name is too long or has a NUL in it.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// A command or query failed.
#[cfg(feature = "socket")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error("{what}: {refusal}: {source}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What: the command with its keys.
        what: String,
        /// The kernel's number and words.
        source: KernelError,
    },
    /// The running kernel has no IPVS.
    #[error("the kernel has no IPVS: load the module with `modprobe ip_vs` (CONFIG_IP_VS)")]
    Unsupported,
    /// The command cannot be written down; it was not sent.
    #[error("{what}: {source}")]
    Encode {
        /// What: the command with its keys.
        what: String,
        /// Why.
        source: EncodeError,
    },
    /// The kernel's answer is not what this crate knows.
    #[error("{what}: {source}")]
    Decode {
        /// What: the query.
        what: String,
        /// Why.
        source: DecodeError,
    },
    /// The conversation failed: what was applied is unknown.
    #[error("{what}: {source}")]
    Transport {
        /// What: the command, query or batch.
        what: String,
        /// Why.
        source: TransportError,
    },
}

#[cfg(feature = "socket")]
impl Error {
    /// The kernel's reason, when it refused.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Error::Refused { refusal, .. } => Some(*refusal),
            Error::Unsupported
            | Error::Encode { .. }
            | Error::Decode { .. }
            | Error::Transport { .. } => None,
        }
    }
}
