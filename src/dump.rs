//! WHAT THE KERNEL HOLDS, FOR PEOPLE: frontends with their Services' names, sets, chains, addresses.
//!
//! In: [`KernelSnapshot`](crate::kernel::holdings::Holdings), and [`Names`] from the running proxy's socket
//! or from planning once more. Out: a [`Dump`] that has a stable form as JSON (`docs/dump.md`), and as
//! a table. The socket tells whether the proxy is ready, too. Never: a change to the kernel, a credential, a wait of the sync thread for whoever asks.

pub use self::names::{Name, Names, Question, Questions, names, reply};
pub use self::shape::{Dump, NamesFrom};

pub mod agent;
pub mod ask;
mod names;
mod shape;
mod table;
