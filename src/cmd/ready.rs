//! The command `ready`, which checks that the running proxy has synced once.
//!
//! Takes the path of the proxy's local socket. Succeeds, or returns an error of one line for a readiness probe. Waits
//! for a few seconds at most. Does not look at the kernel.

use anyhow::bail;

use crate::cli::ReadyArgs;
use crate::console::print_line;
use crate::dump::ask;

/// Asks the running proxy whether its first sync has succeeded.
///
/// # Errors
/// If no proxy answers at the socket, or its first sync has not succeeded yet.
pub fn ready(arguments: &ReadyArgs) -> anyhow::Result<()> {
    let path = arguments.path();
    match ask::is_ready(path) {
        Ok(true) => print_line("ready"),
        Ok(false) => bail!("not ready: the first sync has not succeeded yet"),
        Err(error) => bail!("not ready: no answer at {}: {error}", path.display()),
    }
    Ok(())
}
