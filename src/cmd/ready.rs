//! `ready`: whether the running proxy has synced once.
//!
//! In: the path of its local socket. Out: success, or one line that says why it is not ready, for a probe
//! that runs it every few seconds. Never: a wait of more than a few seconds; a look at the kernel.

use anyhow::bail;

use crate::cli::ReadyArgs;
use crate::console::print_line;
use crate::dump::ask;

/// Asks the running proxy.
///
/// # Errors
/// If it does not run, does not answer, or its first sync has not succeeded yet.
pub fn ready(arguments: &ReadyArgs) -> anyhow::Result<()> {
    let path = arguments.path();
    match ask::is_ready(path) {
        Ok(true) => print_line("ready"),
        Ok(false) => bail!("not ready: the first sync has not succeeded yet"),
        Err(error) => bail!("not ready: no answer at {}: {error}", path.display()),
    }
    Ok(())
}
