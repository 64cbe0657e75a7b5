//! Errors of connection tracking.
//!
//! Takes the error of the exchange or the kernel. Gives a message for the operator. Deleting a flow that is
//! already gone is not an error.

use netlink_batch::KernelError;
use netlink_batch::attribute::EncodeError;

/// The failure of an exchange, or of a request that the kernel cannot carry out at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no connection tracking interface.
    #[error(
        "the kernel has no interface to connection tracking: load the module with \
         `modprobe nf_conntrack_netlink` (CONFIG_NF_CT_NETLINK)"
    )]
    Unsupported,
    /// The process may not use connection tracking.
    #[error("not permitted to use connection tracking: needs CAP_NET_ADMIN")]
    NotPermitted,
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] netlink_batch::Error),
    /// A request does not fit into a message.
    #[error("cannot write the request: {0}")]
    Encode(#[from] EncodeError),
}

/// The kernel's refusal to delete one flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot delete the flow: {0}")]
pub struct Refused(pub KernelError);
