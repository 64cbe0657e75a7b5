//! What can go wrong.
//!
//! In: what the exchange or the kernel said. Out: words for an operator. Never: an error for a flow
//! that was gone already.

use netlink_batch::KernelError;
use netlink_batch::attribute::EncodeError;

/// The exchange failed, or the kernel cannot do what was asked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no connection tracking interface.
    #[error(
        "the kernel has no interface to connection tracking: load the module with \
         `modprobe nf_conntrack_netlink` (CONFIG_NF_CT_NETLINK)"
    )]
    Unsupported,
    /// The process may not use it.
    #[error("not permitted to use connection tracking: needs CAP_NET_ADMIN")]
    NotPermitted,
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] netlink_batch::Error),
    /// A request does not fit a message.
    #[error("cannot write the request: {0}")]
    Encode(#[from] EncodeError),
}

/// One flow could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot delete the flow: {0}")]
pub struct Refused(pub KernelError);
