//! Kernel modules that do not load by themselves.
//!
//! In: a module's name. Out: nothing; whether it worked shows in what is tried next. Never: a
//! failure of its own: the module may be built in, or be none of our business to load.

use super::program::{self, PROGRAM_TIMEOUT};

/// True if a module is there that can be unloaded. One that is built in may not be seen.
pub(super) fn is_loaded(name: &str) -> bool {
    std::fs::exists(format!("/sys/module/{name}")).unwrap_or(false)
}

/// Asks `modprobe` for a module.
pub(super) fn load_module(name: &str) {
    let tried =
        program::run("modprobe", &[name], None, PROGRAM_TIMEOUT).map(|output| output.status);
    tracing::debug!(module = name, ?tried, "modprobe");
}
