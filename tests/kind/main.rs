//! The packet cases of `tests/cases` in a cluster of kind that `tests/kind/run` has made.
//!
//! In: the cluster, through `kubectl` and `docker`. Out: a line for each case, a counted line, and failure if one of them
//! does not hold. Never: a cluster made or removed.
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
