//! The core of an IPVS service proxy: pure, synchronous, and without I/O.
//!
//! Data goes one way through four modules. [`model`] holds the facts about cluster and node. [`plan`]
//! computes the desired state from the facts. [`diff`] compares the desired state with the kernel state and
//! names the changes. [`apply`] carries out the changes in an order that keeps working addresses working.
//! [`Proxier`] holds the four together and runs one round after another.
//!
//! Does not open a socket, read a clock, touch a file or wait.

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
