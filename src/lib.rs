//! The shell of ipvs-proxy: everything that waits, listens or touches the kernel.
//!
//! In: flags, files, an API server, the kernel. Out: a kernel as the pure core wishes it. Never: a
//! decision about what the kernel should hold, which is [`proxier`]'s.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod addresses;
pub mod cli;
pub mod cmd;
pub mod config;
pub mod console;
pub mod dump;
pub mod events;
pub mod folder;
mod inotify;
pub mod kernel;
pub mod lasting;
pub mod lock;
pub mod metrics;
pub mod objects;
pub mod one_line;
pub mod sd_notify;
pub mod serve;
pub mod sloppy;
pub mod sync;
pub mod telemetry;
pub mod traffic;
pub mod version;
pub mod watch;
pub mod yaml;
