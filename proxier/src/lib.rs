//! The pure core of an IPVS service proxy.
//!
//! Four rooms, one way: [`model`] holds the facts, [`plan`] turns facts into a wish, [`diff`]
//! compares the wish with what the kernel has and names the changes, [`apply`] walks the changes
//! through a kernel in an order that never breaks a working address. [`Proxier`] holds them
//! together for one round after another. Nothing here opens a socket, reads a clock, touches a
//! file or waits.

pub mod apply;
pub mod diff;
pub mod model;
pub mod plan;
mod round;
mod sorted;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use round::Proxier;
pub use sorted::{SortedMap, SortedSet};
