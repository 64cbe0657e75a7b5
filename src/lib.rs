//! The shell of ipvs-proxy: everything that waits, listens or touches the kernel.
//!
//! In: flags, files, an API server, the kernel. Out: a kernel as the pure core wishes it. Never: a
//! decision about what the kernel should hold, which is [`proxier`]'s.

pub mod addresses;
pub mod cli;
pub mod cmd;
pub mod config;
pub mod events;
pub mod folder;
pub mod kernel;
pub mod objects;
pub mod serve;
pub mod sync;
pub mod telemetry;
pub mod watch;
pub mod yaml;
