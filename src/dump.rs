//! Shows kernel state to operators: frontends with their Services' names, sets, chains and addresses.
//!
//! Takes a [`KernelSnapshot`](crate::kernel::snapshot::KernelSnapshot), and [`Names`] from the running proxy's socket
//! or from a plan of its own. Returns a [`Dump`] with a stable form as JSON (`docs/dump.md`), and a form as a table.
//! The socket also tells whether the proxy is ready. Does not change the kernel or read credentials. Does not make the
//! sync thread wait for a client.

pub use self::names::{Name, Names, Question, Questions, names, reply};
pub use self::shape::{Dump, NamesFrom};

pub mod agent;
pub mod ask;
mod names;
mod shape;
mod table;
