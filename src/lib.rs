//! The shell of ipvs-proxy: everything that waits, listens or touches the kernel.

pub mod cli;
pub mod config;
pub mod folder;
pub mod objects;
pub mod watch;
pub mod yaml;
