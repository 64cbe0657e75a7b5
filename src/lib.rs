//! The shell of ipvs-proxy: everything that waits, listens or touches the kernel.
//!
//! Takes flags, files and the objects of an API server. Brings the kernel to the desired state that the pure core
//! plans. Does not decide what the kernel should hold, which [`proxier`] does.

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
mod safe_folder;
pub mod sd_notify;
pub mod serve;
pub mod sloppy;
pub mod sync;
pub mod telemetry;
pub mod traffic;
pub mod version;
pub mod watch;
pub mod yaml;
