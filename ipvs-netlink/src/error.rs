//! Errors of the IPVS family.
//!
//! A [`Refusal`] is the kernel's reason to refuse one command. An [`Error`] is a refusal with its command and
//! the kernel's number, or a failure of the exchange.

use crate::AttributeError;
#[cfg(feature = "socket")]
use crate::{DecodeError, KernelError, TransportError};

/// The kernel's reason to refuse a command.
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
    /// The kernel has no such scheduler or no such persistence engine (`ENOENT`). The number does not tell
    /// which, for a virtual server that has a persistence engine.
    UnknownSchedulerOrEngine,
    /// The caller lacks `CAP_NET_ADMIN`, which most kernels require in the initial user namespace (`EPERM`).
    NotPermitted,
    /// An attribute is missing or out of range (`EINVAL`, `ERANGE`): a weight beyond `i32::MAX`, a lower
    /// threshold above the upper, a name that is too long. Also a destination whose address is not unicast:
    /// in a network namespace where `lo` has never been up, that is every address.
    InvalidArgument,
    /// Another reason; see the error number.
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

/// The reason why a command cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The netmask is of another family than the virtual server.
    #[error("the netmask is of another address family than the virtual server")]
    NetmaskFamily,
    /// A name is too long or contains a NUL.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// The failure of a command or query.
#[cfg(feature = "socket")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a command or query.
    #[error("{what}: {refusal}: {source}")]
    Refused {
        /// The reason.
        refusal: Refusal,
        /// The command or query with its keys.
        what: String,
        /// The kernel's error number and message.
        source: KernelError,
    },
    /// The running kernel has no IPVS.
    #[error("the kernel has no IPVS: load the module with `modprobe ip_vs` (CONFIG_IP_VS)")]
    Unsupported,
    /// The command cannot be encoded; it was not sent.
    #[error("{what}: {source}")]
    Encode {
        /// The command with its keys.
        what: String,
        /// The reason.
        source: EncodeError,
    },
    /// This crate cannot decode the kernel's answer.
    #[error("{what}: {source}")]
    Decode {
        /// The query.
        what: String,
        /// The reason.
        source: DecodeError,
    },
    /// The exchange failed, so it is unknown what was applied.
    #[error("{what}: {source}")]
    Transport {
        /// The command, query or batch.
        what: String,
        /// The reason.
        source: TransportError,
    },
}

#[cfg(feature = "socket")]
impl Error {
    /// Returns the kernel's reason, if it refused.
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
