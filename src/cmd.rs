//! The commands of the program.
//!
//! Takes parsed arguments. Each command succeeds or returns an error. Does not parse arguments.

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
