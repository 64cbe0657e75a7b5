//! The complete IPVS generic-netlink family of the Linux kernel: virtual servers and their destinations,
//! protocol timeouts, sync daemons, counters.
//!
//! Takes typed [`Command`]s and [`Query`]s. Gives the kernel's answers as types, and a result for each
//! command. Does not know why a virtual server exists.
//!
//! - The **codec** ([`Command`], [`Query`], [`Answer`] and the types inside) is pure. It converts bytes to
//!   types and back, keeps unknown attributes, and does not panic on any input.
//! - The **client** (feature `socket`, on by default) sends one or thousands of commands at once, and reads
//!   the whole table in one pass ([`Client::table`]).
//! - [`proc`] reads `/proc/net/ip_vs`, which makes the single pass possible.
//!
//! Uses no async runtime and no `unsafe`, and does not run `ipvsadm`.
//!
//! ```
//! use ipvs_netlink::{Command, Destination, Protocol, Service, ServiceKey};
//!
//! let key = ServiceKey::address(Protocol::TCP, "10.96.0.1".parse()?, 443);
//! let commands = [
//!     Command::NewService(Service::new(key, "rr")),
//!     Command::NewDestination(key, Destination::new("10.0.0.7".parse()?, 6443)),
//! ];
//! let payload = commands[0].encode()?;
//! assert_eq!(payload[..4], [1, 1, 0, 0]); // IPVS_CMD_NEW_SERVICE, IPVS_GENL_VERSION
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client applies commands:
//!
#![cfg_attr(feature = "socket", doc = "```no_run")]
#![cfg_attr(not(feature = "socket"), doc = "```ignore")]
//! # use ipvs_netlink::Command;
//! # let commands: [Command; 0] = [];
//! let mut client = ipvs_netlink::Client::open()?;
//! for result in client.apply(&commands)? {
//!     if let Err(error) = result {
//!         eprintln!("{error}");
//!     }
//! }
//! # Ok::<(), ipvs_netlink::Error>(())
//! ```

mod answer;
#[cfg(feature = "socket")]
mod client;
mod command;
mod config;
mod daemon;
mod destination;
mod error;
mod key;
#[cfg(feature = "socket")]
mod listing;
pub mod proc;
mod query;
mod service;
mod stats;
#[cfg(feature = "socket")]
mod table;
pub mod uapi;
mod unknown;
mod wire;

pub use answer::Answer;
#[cfg(feature = "socket")]
pub use client::Client;
pub use command::Command;
pub use config::{Info, Timeouts};
pub use daemon::{Daemon, DaemonState};
pub use destination::{Connections, Destination, DestinationKey, ForwardMethod, Tunnel};
#[cfg(feature = "socket")]
pub use error::Error;
pub use error::{EncodeError, Refusal};
pub use key::{AddressFamily, Protocol, ServiceKey};
#[cfg(feature = "socket")]
pub use listing::Unreadable;
pub use netlink_batch::{
    DecodeError, Error as TransportError, KernelError, attribute::EncodeError as AttributeError,
};
pub use query::Query;
pub use service::{Netmask, Service, ServiceFlags};
pub use stats::{Stats, Stats64};
#[cfg(feature = "socket")]
pub use table::VirtualServer;
pub use unknown::Unknown;

#[cfg(all(doctest, feature = "socket"))]
#[doc = include_str!("../README.md")]
struct Readme;
