//! The commands.
//!
//! In: parsed arguments. Out: an exit, or one line that says why not. Never: argument parsing.

pub mod cleanup;
pub mod dump;
pub mod plan;
pub mod ready;
mod rehearsal;
mod reload;
pub mod run;
mod servers;
mod settings;
mod warnings;
