//! Linux connection tracking over netlink: list the flows of a protocol, delete exactly these.
//!
//! In: an address family and a protocol; flows to delete. Out: [`Flow`]s as the kernel has them, one
//! after the other; one result for each deletion. What is asked of the kernel is filtered by family,
//! protocol and mark at most, and looked at again here: the kernel's own filters by address and port
//! choose wrong flows (see the README).
//!
//! Attributes newer than this crate never break a listing. Never: a flush, a panic on what the
//! kernel sends, a child process, an async runtime.
//!
//! [`message`] is the codec and touches no socket. [`Conntrack`] (feature `socket`, on by default)
//! holds the socket.

#[cfg(feature = "socket")]
mod conntrack;
mod error;
mod flow;
pub mod message;
pub mod uapi;

#[cfg(feature = "socket")]
pub use conntrack::Conntrack;
pub use error::{Error, Refused};
pub use flow::{Family, Flow, Protocol, Selection, Translated, Tuple};

// The README's example is a test.
#[cfg(all(doctest, feature = "socket"))]
#[doc = include_str!("../README.md")]
struct Readme;
