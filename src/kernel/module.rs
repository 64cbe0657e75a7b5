//! Kernel modules that are not loaded automatically.
//!
//! Takes the name of a module. Does not report failures: the module may be built in, and the next operation
//! shows whether it works.

use super::program::{self, PROGRAM_TIMEOUT};

/// True if the module is loaded. A built-in module may not be visible.
pub(super) fn is_loaded(name: &str) -> bool {
    std::fs::exists(format!("/sys/module/{name}")).unwrap_or(false)
}

/// Asks `modprobe` to load a module.
pub(super) fn load_module(name: &str) {
    let tried =
        program::run("modprobe", &[name], None, PROGRAM_TIMEOUT).map(|output| output.status);
    tracing::debug!(module = name, ?tried, "modprobe");
}
