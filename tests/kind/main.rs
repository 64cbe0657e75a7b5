//! The packet cases of `tests/cases` in a cluster of kind that `tests/kind/run` has made.
//!
//! Asks the cluster through `kubectl` and `docker`. Prints a line for each case and a counted line, and fails if a case
//! does not hold. Does not make or remove the cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a driver of tests fails the run"
)]

use std::process::ExitCode;

#[path = "../cases/cases.rs"]
mod cases;
mod driver;

fn main() -> ExitCode {
    driver::main()
}
