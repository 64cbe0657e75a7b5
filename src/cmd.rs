//! The commands.
//!
//! In: parsed arguments. Out: an exit, or one line that says why not. Never: argument parsing.

mod changes;
pub mod cleanup;
pub mod dump;
pub mod plan;
pub mod ready;
mod rehearsal;
mod remarks;
pub mod run;
mod servers;
mod settings;
