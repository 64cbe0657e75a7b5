//! Logging.
//!
//! In: events of the `tracing` crate. Out: lines on standard error. Never: logs on standard
//! output, which belongs to commands that print.

use tracing_subscriber::EnvFilter;

/// Starts logging at the level `info`, or as the variable `IPVS_PROXY_LOG` says
/// (`debug` shows each change of each round).
pub fn start() {
    let filter = EnvFilter::try_from_env("IPVS_PROXY_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // Only a second call could fail, and the first one's choice then stands.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}
