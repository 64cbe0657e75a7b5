//! What can go wrong, and with what.
//!
//! In: an error number of the kernel, the command it answers and the set type, because ipset uses
//! the same number for different faults. Out: a [`Reason`], and an [`Error`] that adds the
//! command and the set. Never: a number this crate does not know is lost; it is
//! [`Reason::Kernel`].

use std::{fmt, io};

use netlink_batch::{DecodeError, KernelError, attribute::EncodeError};
use thiserror::Error;

use crate::{Entry, SetName, SetType, uapi};

/// A command of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Open the socket and agree on a protocol version.
    Open,
    /// Ask which revisions of a set type the kernel has.
    QueryType,
    /// Create a set.
    Create,
    /// Add elements.
    Add,
    /// Delete elements.
    Delete,
    /// List one set or all.
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

/// A command failed.
#[derive(Debug, Error)]
#[error("ipset {operation}{}: {reason}", Subject(set))]
pub struct Error {
    /// The command.
    pub operation: Operation,
    /// The set it concerned; the first of two; none for a command about all sets.
    pub set: Option<SetName>,
    /// Why.
    pub reason: Reason,
}

impl Error {
    /// Completes a reason.
    #[cfg(feature = "socket")]
    pub(crate) fn of(operation: Operation, set: Option<SetName>) -> impl Fn(Reason) -> Error {
        move |reason| Error { operation, set, reason }
    }
}

/// A blank and the set's name, or nothing.
struct Subject<'a>(&'a Option<SetName>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|set| write!(f, " {set}"))
    }
}

/// An element the kernel refused; its neighbours were applied.
#[derive(Debug, Error)]
#[error("{entry}: {reason}")]
pub struct Refused {
    /// The element.
    pub entry: Entry,
    /// Why.
    pub reason: Reason,
}

/// Why a command or element failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// There is no set of this name.
    #[error("no such set")]
    NoSuchSet,
    /// A set of this name is there: of another kind or size, or repetition was to be refused.
    #[error("a set of this name exists")]
    SetExists,
    /// The element is in the set already.
    #[error("element is in the set already")]
    ElementExists,
    /// The element is not in the set.
    #[error("element is not in the set")]
    ElementMissing,
    /// The set holds as many elements as it may.
    #[error("set is full")]
    SetFull,
    /// Rules or other sets refer to the set, or it is being listed.
    #[error("set is in use")]
    InUse,
    /// The sets to be swapped differ in type or family.
    #[error("sets differ in type or family")]
    TypeMismatch,
    /// The kernel has no such set type, or not in this revision or family.
    #[error("kernel has no such set type (modprobe ip_set_hash_* or ip_set_bitmap_port)")]
    UnknownType,
    /// The kernel's revisions of the set type are all newer than this crate.
    #[error("kernel's oldest revision of {kind} is {oldest}, newest known is {known}")]
    UnknownRevision {
        /// The set type.
        kind: SetType,
        /// The oldest the kernel has.
        oldest: u8,
        /// The newest this crate knows.
        known: u8,
    },
    /// The namespace has as many sets as it may.
    #[error("no room for another set")]
    TooManySets,
    /// The set type does not know this family.
    #[error("set type does not know this family")]
    WrongFamily,
    /// A prefix length the set type cannot hold; 0 in a `hash:ip,port,net`.
    #[error("prefix length cannot be stored in this set type")]
    InvalidPrefix,
    /// A port outside the bitmap's range, or a range the bitmap cannot have.
    #[error("port is outside the set's range")]
    OutOfRange,
    /// A value the set type cannot hold: the all-zero address, a protocol without ports.
    #[error("element cannot be stored in this set type")]
    InvalidElement,
    /// The kernel misses what the set needs: the element is of another type or family.
    #[error("element does not fit the set's type or family")]
    DoesNotFit,
    /// The process may not change the network namespace.
    #[error("not permitted (CAP_NET_ADMIN is needed)")]
    NotPermitted,
    /// The kernel has no ipset.
    #[error("kernel has no ipset (modprobe ip_set)")]
    Unsupported,
    /// The kernel's protocol versions are all older or all newer than this crate's.
    #[error("kernel speaks ipset protocol {oldest} to {newest}, this program 6 to 7")]
    UnknownProtocol {
        /// The oldest the kernel speaks.
        oldest: u8,
        /// The newest the kernel speaks.
        newest: u8,
    },
    /// Another error of the kernel.
    #[error("{0}")]
    Kernel(KernelError),
    /// The exchange failed as a whole. Whether the command was applied is unknown.
    #[error(transparent)]
    Transport(netlink_batch::Error),
    /// The kernel's answer could not be read.
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
    /// Reads the kernel's error to `operation` on a set of type `kind`, where it is known.
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

    /// Numbers that mean different things in answer to different commands.
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

    /// Numbers that mean different things in different set types.
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

    /// Numbers of the system, told by kind to keep them out of this crate. `EINVAL` or
    /// `EOPNOTSUPP` to the first command is nfnetlink's word for a subsystem it does not have.
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
