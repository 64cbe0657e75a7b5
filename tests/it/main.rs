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
mod audit;
#[path = "../cases/cases.rs"]
mod cases;
mod cleanup;
mod cli;
mod config;
mod dump;
mod events;
mod folder;
mod followed;
mod golden;
mod image;
mod kind;
mod manifests;
mod metrics;
mod packets;
mod process;
#[path = "../golden/recorded.rs"]
mod recorded;
mod scenarios;
mod serve;
mod tally;
mod transitions;
mod watch;
mod words;
