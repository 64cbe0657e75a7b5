//! Linux ipset over netlink: create sets, add and delete elements in packed batches, list, swap, rename,
//! flush, destroy.
//!
//! Takes [`SetSpec`]s and [`Entry`]s. Gives each refused element with its [`Reason`], and listings as
//! [`Set`]s. Many elements travel in one message (`IPSET_ATTR_ADT`), and a refused one does not keep the
//! others out.
//!
//! Sets of unknown types and attributes of later kernels do not break a listing. Does not panic on anything
//! that the kernel sends. Uses no child process and no async runtime.
//!
//! [`message`] and [`reply`] are the codec and use no socket. [`Ipset`] (feature `socket`, on by default) has
//! the socket.
//!
#![cfg_attr(feature = "socket", doc = "```no_run")]
#![cfg_attr(not(feature = "socket"), doc = "```ignore")]
//! use ipset_netlink::{Entry, Family, Ipset, Repeat, SetSpec, SetType};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = SetSpec::new("services".parse()?, SetType::HashIpPort, Family::Inet);
//! let entries = [Entry::parse(spec.kind, "10.96.0.10,udp:53")?];
//!
//! let mut ipset = Ipset::open()?;
//! ipset.create(&spec, Repeat::Accept)?;
//! for refused in ipset.add(&spec.name, &entries, Repeat::Accept)? {
//!     eprintln!("{refused}");
//! }
//! for entry in ipset.list(&spec.name)?.entries {
//!     println!("{entry}");
//! }
//! # Ok(())
//! # }
//! ```

mod entry;
mod error;
#[cfg(feature = "socket")]
mod ipset;
pub mod message;
mod name;
pub mod reply;
mod set;
pub mod uapi;

pub use entry::{Entry, InvalidEntry, Network, Protocol};
pub use error::{Error, Operation, Reason, Refused};
#[cfg(feature = "socket")]
pub use ipset::Ipset;
pub use message::Repeat;
pub use name::{InvalidName, SetName};
pub use set::{Family, Header, Kind, Set, SetSpec, SetType};

// The README's example is compiled as a test.
#[cfg(all(doctest, feature = "socket"))]
#[doc = include_str!("../README.md")]
struct Readme;
