//! Synchronous netlink for programs that change many kernel objects at once.
//!
//! In: [`Request`]s, already encoded by the crate that knows the family. Out: for a batch one
//! result a request, in order; for a dump or a question the replies.
//!
//! - **Batches.** Many requests travel in one `send`; only the last one asks for an
//!   acknowledgement, because the kernel reports errors unasked and an acknowledgement for every
//!   request of a large batch overflows the receive buffer (`ENOBUFS`: operations applied, replies
//!   lost). Errors find their request by sequence number.
//! - **Dumps** are read again when the kernel says that they were interrupted
//!   (`NLM_F_DUMP_INTR`), and an error in `NLMSG_DONE` is an error.
//! - **Notices** of multicast groups are taken as they wait; that some were lost is never hidden.
//! - **Errors** carry the kernel's own words (extended acknowledgements) where it gives any.
//!
//! Never: an async runtime, a thread, a panic on what the kernel sends, a reply of one exchange
//! taken for a reply of another.
//!
//! Without the feature `socket`, which is on by default, the crate is what codecs need: attributes,
//! requests and errors, with no system call.
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
