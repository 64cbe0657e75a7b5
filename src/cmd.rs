//! The commands.
//!
//! In: parsed arguments. Out: an exit, or one line that says why not. Never: argument parsing.

pub mod plan;
pub mod run;
mod settings;
