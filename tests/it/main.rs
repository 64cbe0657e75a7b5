//! Integration tests that need no privileges, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod addresses;
#[path = "../apiserver/apiserver.rs"]
mod apiserver;
mod architecture;
mod cli;
mod config;
mod events;
mod folder;
mod golden;
mod process;
mod serve;
mod transitions;
mod watch;
