//! Errors of ipset commands.
//!
//! Takes an error number of the kernel, the command that it answers, and the set type: ipset uses the same
//! number for different errors. Gives a [`Reason`], and an [`Error`] that adds the command and the set. A
//! number that this crate does not know is kept as [`Reason::Kernel`].

use std::{fmt, io};

use netlink_batch::{DecodeError, KernelError, attribute::EncodeError};
use thiserror::Error;

use crate::{Entry, SetName, SetType, uapi};

/// A command of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Open the socket and agree on a protocol version.
    Open,
    /// Query the revisions of a set type that the kernel has.
    QueryType,
    /// Create a set.
    Create,
    /// Add elements.
    Add,
    /// Delete elements.
    Delete,
    /// List one set or all sets.
    List,
    /// Swap the contents of two sets.
    Swap,
    /// Rename a set.
    Rename,
    /// Destroy a set.
    Destroy,
    /// Remove all elements of a set.
    Flush,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open => "open",
            Operation::QueryType => "query type for",
            Operation::Create => "create",
            Operation::Add => "add to",
            Operation::Delete => "delete from",
            Operation::List => "list",
            Operation::Swap => "swap",
            Operation::Rename => "rename",
            Operation::Destroy => "destroy",
            Operation::Flush => "flush",
        })
    }
}

/// The failure of a command.
#[derive(Debug, Error)]
#[error("ipset {operation}{}: {reason}", Subject(set))]
pub struct Error {
    /// The command that failed.
    pub operation: Operation,
    /// The set of the command, or the first of two. `None` for a command about all sets.
    pub set: Option<SetName>,
    /// The reason of the failure.
    pub reason: Reason,
}

impl Error {
    /// Returns a function that makes an error from a reason.
    #[cfg(feature = "socket")]
    pub(crate) fn of(operation: Operation, set: Option<SetName>) -> impl Fn(Reason) -> Error {
        move |reason| Error { operation, set, reason }
    }
}

/// A space and the set's name, or nothing.
struct Subject<'a>(&'a Option<SetName>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|set| write!(f, " {set}"))
    }
}

/// An element that the kernel refused. The other elements of the command were applied.
#[derive(Debug, Error)]
#[error("{entry}: {reason}")]
pub struct Refused {
    /// The refused element.
    pub entry: Entry,
    /// The reason of the refusal.
    pub reason: Reason,
}

/// The reason why a command or element failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// A set of this name does not exist.
    #[error("no such set")]
    NoSuchSet,
    /// A set of this name exists. It has another type or size, or the caller asked to refuse repetition.
    #[error("a set of this name exists")]
    SetExists,
    /// The element is already in the set.
    #[error("element is in the set already")]
    ElementExists,
    /// The element is not in the set.
    #[error("element is not in the set")]
    ElementMissing,
    /// The set has reached its largest number of elements.
    #[error("set is full")]
    SetFull,
    /// Rules or other sets refer to the set, or it is being listed.
    #[error("set is in use")]
    InUse,
    /// The sets to be swapped differ in type or family.
    #[error("sets differ in type or family")]
    TypeMismatch,
    /// The kernel lacks this set type, or lacks it in this revision or family.
    #[error("kernel has no such set type (modprobe ip_set_hash_* or ip_set_bitmap_port)")]
    UnknownType,
    /// The kernel's revisions of the set type are all newer than those of this crate.
    #[error("kernel's oldest revision of {kind} is {oldest}, newest known is {known}")]
    UnknownRevision {
        /// The set type.
        kind: SetType,
        /// The kernel's oldest revision.
        oldest: u8,
        /// The newest revision that this crate knows.
        known: u8,
    },
    /// The namespace has reached its largest number of sets.
    #[error("no room for another set")]
    TooManySets,
    /// The set type does not support this family.
    #[error("set type does not know this family")]
    WrongFamily,
    /// The set type cannot store this prefix length, such as 0 in a `hash:ip,port,net`.
    #[error("prefix length cannot be stored in this set type")]
    InvalidPrefix,
    /// The port is outside the bitmap's range, or the bitmap cannot have this range.
    #[error("port is outside the set's range")]
    OutOfRange,
    /// The set type cannot store this value, such as the all-zero address or a protocol without ports.
    #[error("element cannot be stored in this set type")]
    InvalidElement,
    /// The element lacks a part that the set needs, because it is of another type or family.
    #[error("element does not fit the set's type or family")]
    DoesNotFit,
    /// The process may not change the network namespace.
    #[error("not permitted (CAP_NET_ADMIN is needed)")]
    NotPermitted,
    /// The kernel has no ipset.
    #[error("kernel has no ipset (modprobe ip_set)")]
    Unsupported,
    /// The kernel's protocol versions are all older or all newer than those of this crate.
    #[error("kernel speaks ipset protocol {oldest} to {newest}, this program 6 to 7")]
    UnknownProtocol {
        /// The oldest version that the kernel supports.
        oldest: u8,
        /// The newest version that the kernel supports.
        newest: u8,
    },
    /// Another error of the kernel.
    #[error("{0}")]
    Kernel(KernelError),
    /// The exchange failed as a whole. It is unknown whether the command was applied.
    #[error(transparent)]
    Transport(netlink_batch::Error),
    /// The kernel's answer could not be decoded.
    #[error("malformed answer: {0}")]
    Malformed(#[from] DecodeError),
    /// The request is larger than netlink allows.
    #[error(transparent)]
    TooLarge(#[from] EncodeError),
}

impl From<netlink_batch::Error> for Reason {
    fn from(error: netlink_batch::Error) -> Self {
        Reason::Transport(error)
    }
}

impl Reason {
    /// Returns the reason for the kernel's error in answer to `operation`. `kind` is the type of the set, if
    /// it is known.
    pub fn of(operation: Operation, kind: Option<SetType>, error: KernelError) -> Self {
        match error.errno {
            uapi::IPSET_ERR_FIND_TYPE => Reason::UnknownType,
            uapi::IPSET_ERR_MAX_SETS => Reason::TooManySets,
            uapi::IPSET_ERR_BUSY | uapi::IPSET_ERR_REFERENCED => Reason::InUse,
            uapi::IPSET_ERR_TYPE_MISMATCH => Reason::TypeMismatch,
            uapi::IPSET_ERR_INVALID_CIDR => Reason::InvalidPrefix,
            uapi::IPSET_ERR_INVALID_FAMILY => Reason::WrongFamily,
            errno => Reason::of_operation(operation, errno)
                .or_else(|| Reason::of_type(kind?, errno))
                .or_else(|| Reason::of_system(operation, errno))
                .unwrap_or(Reason::Kernel(error)),
        }
    }

    /// Interprets numbers whose meaning depends on the command.
    fn of_operation(operation: Operation, errno: i32) -> Option<Self> {
        Some(match (operation, errno) {
            (Operation::Add, uapi::IPSET_ERR_EXIST) => Reason::ElementExists,
            (Operation::Delete, uapi::IPSET_ERR_EXIST) => Reason::ElementMissing,
            (Operation::Add | Operation::Delete, uapi::IPSET_ERR_PROTOCOL) => Reason::DoesNotFit,
            (Operation::Rename, uapi::IPSET_ERR_EXIST_SETNAME2) => Reason::SetExists,
            (Operation::Swap, uapi::IPSET_ERR_EXIST_SETNAME2) => Reason::NoSuchSet,
            _ => return None,
        })
    }

    /// Interprets numbers whose meaning depends on the set type.
    fn of_type(kind: SetType, errno: i32) -> Option<Self> {
        Some(match (kind, errno) {
            (
                SetType::BitmapPort,
                uapi::IPSET_ERR_BITMAP_RANGE | uapi::IPSET_ERR_BITMAP_RANGE_SIZE,
            ) => Reason::OutOfRange,
            (SetType::BitmapPort, _) => return None,
            (_, uapi::IPSET_ERR_HASH_FULL) => Reason::SetFull,
            (
                _,
                uapi::IPSET_ERR_HASH_ELEM
                | uapi::IPSET_ERR_INVALID_PROTO
                | uapi::IPSET_ERR_MISSING_PROTO,
            ) => Reason::InvalidElement,
            _ => return None,
        })
    }

    /// Interprets numbers of the system, by their kind, so that this crate need not define them. With
    /// `EINVAL` or `EOPNOTSUPP` to the first command, nfnetlink reports that it lacks the subsystem.
    fn of_system(operation: Operation, errno: i32) -> Option<Self> {
        Some(match (operation, io::Error::from_raw_os_error(errno).kind()) {
            (_, io::ErrorKind::NotFound) => Reason::NoSuchSet,
            (_, io::ErrorKind::AlreadyExists) => Reason::SetExists,
            (_, io::ErrorKind::ResourceBusy) => Reason::InUse,
            (_, io::ErrorKind::PermissionDenied) => Reason::NotPermitted,
            (Operation::Open, io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                Reason::Unsupported
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(operation: Operation, kind: Option<SetType>, errno: i32) -> String {
        Reason::of(operation, kind, KernelError { errno, ..KernelError::default() }).to_string()
    }

    #[test]
    fn one_number_means_what_the_command_and_the_type_make_of_it() {
        let (hash, bitmap) = (Some(SetType::HashIp), Some(SetType::BitmapPort));
        assert_eq!(reason(Operation::Add, hash, 4103), "element is in the set already");
        assert_eq!(reason(Operation::Delete, hash, 4103), "element is not in the set");
        assert_eq!(reason(Operation::Add, hash, 4352), "set is full");
        assert_eq!(reason(Operation::Add, bitmap, 4352), "port is outside the set's range");
        assert_eq!(reason(Operation::Rename, None, 4101), "a set of this name exists");
        assert_eq!(reason(Operation::Swap, None, 4101), "no such set");
    }

    #[test]
    fn a_kernel_without_ipset_is_told_by_its_first_answer() {
        let advice = "kernel has no ipset (modprobe ip_set)";
        assert_eq!(reason(Operation::Open, None, 22), advice);
        assert_eq!(reason(Operation::Open, None, 95), advice);
        assert_ne!(reason(Operation::Create, None, 22), advice);
    }

    #[test]
    fn what_the_kernel_lacks_or_forbids_is_told_by_its_number() {
        let hash = Some(SetType::HashIpPort);
        let of = |operation, kind, errno| {
            Reason::of(operation, kind, KernelError { errno, ..KernelError::default() })
        };
        for operation in [Operation::QueryType, Operation::Create] {
            assert!(matches!(of(operation, hash, 4098), Reason::UnknownType));
            assert!(matches!(of(operation, hash, 4106), Reason::WrongFamily));
        }
        assert!(matches!(of(Operation::Create, hash, 4099), Reason::TooManySets));
        for operation in [Operation::Open, Operation::Create, Operation::Add, Operation::List] {
            assert!(matches!(of(operation, None, 1), Reason::NotPermitted));
            assert!(matches!(of(operation, None, 13), Reason::NotPermitted));
        }
    }

    #[test]
    fn an_error_names_the_command_and_the_set() {
        let set = SetName::new("KUBE-CLUSTER-IP").ok();
        let error = Error { operation: Operation::Destroy, set, reason: Reason::InUse };
        assert_eq!(error.to_string(), "ipset destroy KUBE-CLUSTER-IP: set is in use");
        let error = Error { operation: Operation::List, set: None, reason: Reason::NotPermitted };
        assert!(error.to_string().starts_with("ipset list: not permitted"));
    }

    #[test]
    fn an_unknown_number_is_kept() {
        assert!(reason(Operation::Add, None, 4999).contains("4999"));
    }
}
