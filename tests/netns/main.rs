//! Tests against a real kernel, in network namespaces of their own.
//!
//! These tests need the rights of root, IPVS in the kernel and the node's tools. So `cargo test`
//! leaves them out (`test = false`), and `tests/vm/run` runs them on a suitable machine. Paths are
//! relative to the repository; the lab has the same files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

mod answers;
#[path = "../apiserver/apiserver.rs"]
mod apiserver;
mod behaviour;
mod canonical;
mod case;
#[path = "../cases/cases.rs"]
mod cases;
mod cleanup;
mod daemonset;
mod dump;
mod families;
mod golden;
mod lab;
mod leftovers;
mod lock;
mod missing;
mod node;
mod odd_input;
mod others;
mod packets;
mod proxy;
#[path = "../golden/recorded.rs"]
mod recorded;
mod refused;
mod rights;
#[path = "../said.rs"]
mod said;
mod switching;
mod traffic;
mod transitions;
mod upstream;
