//! Translates errors of the kernel interfaces for the core.
//!
//! Takes an error of a wire crate or of a program. Returns a [`Cause`] with its kind and its text. Does not
//! decide what follows from it.

use std::fmt::Display;
use std::io;

use netlink_batch::KernelError;
use proxier::apply::{Cause, CauseKind, Refusal};

use super::iptables::{self, Reason};
use super::program;

// Error numbers on which the code depends (`include/uapi/asm-generic/errno.h`).

/// No such process; IPVS answers so for a missing virtual server.
const ESRCH: i32 = 3;
/// No such device or address.
pub(super) const ENXIO: i32 = 6;
/// File exists.
pub(super) const EEXIST: i32 = 17;
/// No such device.
pub(super) const ENODEV: i32 = 19;
/// Operation not supported: the device type or protocol is not in this kernel.
pub(super) const EOPNOTSUPP: i32 = 95;
/// Cannot assign requested address.
pub(super) const EADDRNOTAVAIL: i32 = 99;

/// An error that knows what kind of failure it is.
pub(super) trait Classified: Display {
    fn kind(&self) -> CauseKind;
}

/// Converts the error into a cause.
pub(super) fn cause(error: impl Classified) -> Cause {
    Cause::of(error.kind(), error)
}

impl<T: Classified + ?Sized> Classified for &T {
    fn kind(&self) -> CauseKind {
        (**self).kind()
    }
}

impl Classified for KernelError {
    fn kind(&self) -> CauseKind {
        CauseKind::Refused(refusal(self.errno))
    }
}

fn refusal(number: i32) -> Refusal {
    if number == ESRCH || number == ENODEV {
        // `io::ErrorKind` has no kind of its own for these two.
        return Refusal::NotThere;
    }
    match io::Error::from_raw_os_error(number).kind() {
        io::ErrorKind::NotFound => Refusal::NotThere,
        io::ErrorKind::AlreadyExists => Refusal::AlreadyThere,
        io::ErrorKind::InvalidInput => Refusal::Invalid,
        io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => Refusal::NoRoom,
        io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
            Refusal::Busy
        }
        _ => Refusal::Other,
    }
}

impl Classified for netlink_batch::Error {
    fn kind(&self) -> CauseKind {
        match self {
            Self::Kernel(error) => error.kind(),
            _ => CauseKind::Unknown,
        }
    }
}

impl Classified for ipvs_netlink::Error {
    fn kind(&self) -> CauseKind {
        use ipvs_netlink::Refusal as Theirs;
        match self {
            Self::Refused { refusal: Theirs::AlreadyExists, .. } => {
                CauseKind::Refused(Refusal::AlreadyThere)
            }
            Self::Refused {
                refusal: Theirs::NoSuchService | Theirs::NoSuchDestination, ..
            } => CauseKind::Refused(Refusal::NotThere),
            Self::Refused {
                refusal: Theirs::UnknownScheduler | Theirs::UnknownSchedulerOrEngine,
                ..
            }
            | Self::Unsupported => CauseKind::Missing,
            Self::Refused { refusal: Theirs::InvalidArgument, .. } | Self::Encode { .. } => {
                CauseKind::Refused(Refusal::Invalid)
            }
            Self::Refused { source, .. } => source.kind(),
            _ => CauseKind::Unknown,
        }
    }
}

impl Classified for ipset_netlink::Error {
    fn kind(&self) -> CauseKind {
        self.reason.kind()
    }
}

impl Classified for ipset_netlink::Refused {
    fn kind(&self) -> CauseKind {
        self.reason.kind()
    }
}

impl Classified for ipset_netlink::Reason {
    fn kind(&self) -> CauseKind {
        CauseKind::Refused(match self {
            Self::Transport(error) => return error.kind(),
            Self::Malformed(_) => return CauseKind::Unknown,
            Self::UnknownType
            | Self::UnknownRevision { .. }
            | Self::Unsupported
            | Self::UnknownProtocol { .. } => return CauseKind::Missing,
            Self::Kernel(error) => return error.kind(),
            Self::NoSuchSet => Refusal::NotThere,
            Self::SetFull | Self::TooManySets => Refusal::NoRoom,
            Self::InUse => Refusal::Busy,
            Self::WrongFamily
            | Self::InvalidPrefix
            | Self::OutOfRange
            | Self::InvalidElement
            | Self::DoesNotFit
            | Self::TooLarge(_) => Refusal::Invalid,
            // One example is a set of another type, which exists and has not changed.
            _ => Refusal::Other,
        })
    }
}

impl Classified for conntrack_netlink::Error {
    fn kind(&self) -> CauseKind {
        match self {
            Self::Unsupported => CauseKind::Missing,
            Self::NotPermitted => CauseKind::Refused(Refusal::Other),
            Self::Encode(_) => CauseKind::Refused(Refusal::Invalid),
            Self::Exchange(error) => error.kind(),
            _ => CauseKind::Unknown,
        }
    }
}

impl Classified for conntrack_netlink::Refused {
    fn kind(&self) -> CauseKind {
        self.0.kind()
    }
}

/// After a failed write the rules are read again, so that their state does not stay unknown.
impl Classified for iptables::Error {
    fn kind(&self) -> CauseKind {
        match self.reason() {
            Reason::NoProgram
            | Reason::NoTables
            | Reason::MissingFeature
            | Reason::MissingLibrary => CauseKind::Missing,
            Reason::Busy => CauseKind::Refused(Refusal::Busy),
            Reason::Other => CauseKind::Refused(Refusal::Other),
        }
    }
}

impl Classified for program::Error {
    fn kind(&self) -> CauseKind {
        match self {
            Self::Start(error) if error.kind() == io::ErrorKind::NotFound => CauseKind::Missing,
            Self::Start(_) | Self::Hung(_) => CauseKind::Refused(Refusal::Busy),
        }
    }
}

impl Classified for ipset_netlink::InvalidName {
    fn kind(&self) -> CauseKind {
        CauseKind::Refused(Refusal::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: i32) -> CauseKind {
        cause(KernelError { errno, ..KernelError::default() }).kind()
    }

    #[test]
    fn an_answer_of_the_kernel_leaves_its_state_known() {
        for (errno, refusal) in [
            (2, Refusal::NotThere),
            (3, Refusal::NotThere),
            (19, Refusal::NotThere),
            (17, Refusal::AlreadyThere),
            (22, Refusal::Invalid),
            (12, Refusal::NoRoom),
            (28, Refusal::NoRoom),
            (4, Refusal::Busy),
            (11, Refusal::Busy),
            (16, Refusal::Busy),
            (1, Refusal::Other),
        ] {
            assert_eq!(of(errno), CauseKind::Refused(refusal), "{errno}");
        }
    }

    #[test]
    fn only_a_failed_exchange_leaves_the_state_unknown() {
        assert!(cause(netlink_batch::Error::StateUnknown).leaves_state_unknown());
        assert!(
            cause(ipset_netlink::Reason::Transport(netlink_batch::Error::TimedOut))
                .leaves_state_unknown()
        );
        let refused = KernelError { errno: 22, ..KernelError::default() };
        assert!(!cause(netlink_batch::Error::Kernel(refused)).leaves_state_unknown());
        assert_eq!(cause(ipset_netlink::Reason::UnknownType).kind(), CauseKind::Missing);
    }

    #[test]
    fn a_program_that_is_not_there_is_missing_and_one_that_waited_for_a_lock_was_busy() {
        let failed = |code| iptables::Error::failed("iptables", "no", "", code);
        assert_eq!(cause(failed(Some(4))).kind(), CauseKind::Refused(Refusal::Busy));
        let said = "line 3: RULE_APPEND failed (No such file or directory): rule in chain X";
        let lacks = iptables::Error::failed("iptables-restore", said, "", Some(4));
        assert_eq!(cause(lacks).kind(), CauseKind::Missing);
        assert_eq!(cause(failed(None)).kind(), CauseKind::Refused(Refusal::Busy));
        assert_eq!(cause(failed(Some(1))).kind(), CauseKind::Refused(Refusal::Other));
        let source = io::Error::from(io::ErrorKind::NotFound);
        let absent = iptables::Error::Start { program: "iptables".into(), source };
        assert_eq!(cause(absent).kind(), CauseKind::Missing);
    }
}
