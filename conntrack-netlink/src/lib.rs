//! Linux connection tracking over netlink: list the flows of a protocol, and delete individual flows.
//!
//! Takes an address family and a protocol, or flows to delete. Gives [`Flow`]s one after the other, or one
//! result for each deletion. Asks the kernel to filter by family, protocol and mark at most, and checks the
//! result again. The kernel's own filters by address and port select wrong flows (see the README).
//!
//! Attributes of later kernels do not break a listing. Does not flush the table, and does not panic on
//! anything that the kernel sends. Uses no child process and no async runtime.
//!
//! [`message`] is the codec and uses no socket. [`Conntrack`] (feature `socket`, on by default) has the
//! socket.

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

// The README's example is compiled as a test.
#[cfg(all(doctest, feature = "socket"))]
#[doc = include_str!("../README.md")]
struct Readme;
