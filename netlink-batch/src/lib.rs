//! Synchronous netlink for programs that change many kernel objects at once.
//!
//! Takes [`Request`]s, already encoded by a crate that knows the family. Gives one result per request for a
//! batch, in order; gives the replies for a dump or a single request.
//!
//! - **Batches.** Many requests travel in one `send`. Only the last one asks for an acknowledgement, because
//!   the kernel reports errors in any case. Acknowledging every request of a large batch overflows the
//!   receive buffer (`ENOBUFS`): operations are applied and replies lost. Errors are matched to their
//!   request by sequence number.
//! - **Dumps** are repeated if the kernel says that they were interrupted (`NLM_F_DUMP_INTR`). An error in
//!   `NLMSG_DONE` is reported.
//! - **Notices** of multicast groups are read as they wait. Lost notices are always reported.
//! - **Errors** contain the kernel's own message (extended acknowledgements) if there is one.
//!
//! Uses no async runtime and no thread. Does not panic on anything that the kernel sends, and does not mix up
//! the replies of different exchanges.
//!
//! Without the feature `socket`, which is on by default, the crate has what codecs need: attributes, requests
//! and errors, without system calls.
//!
#![cfg_attr(feature = "socket", doc = "```no_run")]
#![cfg_attr(not(feature = "socket"), doc = "```ignore")]
//! use netlink_batch::{Family, Request, Socket};
//!
//! # fn main() -> Result<(), netlink_batch::Error> {
//! # let requests: Vec<Request> = Vec::new();
//! let mut socket = Socket::open(Family::Route)?;
//! for (request, result) in requests.iter().zip(socket.batch(&requests)?) {
//!     if let Err(error) = result {
//!         eprintln!("message type {}: {error}", request.kind);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod attribute;
mod error;
#[cfg(feature = "socket")]
mod exchange;
#[cfg(feature = "socket")]
mod frame;
mod inet;
mod message;
#[cfg(feature = "socket")]
mod notices;
#[cfg(feature = "socket")]
mod socket;
#[cfg(feature = "socket")]
mod wire;

pub use error::{Error, KernelError};
pub use inet::{AddressFamily, Protocol};
pub use message::{Reply, ReplyRef, Request};
pub use netlink_packet_core::DecodeError;
#[cfg(feature = "socket")]
pub use notices::{Notice, Notices};
#[cfg(feature = "socket")]
pub use socket::{Echo, Family, Options, Socket};
