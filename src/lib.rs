//! The shell of ipvs-proxy: everything that waits, listens or touches the kernel.

pub mod objects;
pub mod watch;
