//! The command `cleanup`, which removes everything of this proxy from the kernel.
//!
//! Takes the networks whose virtual servers belong to other programs. Prints a line for each object that was removed,
//! or would be, and reports each failure on standard error. Tries everything before it ends. Does not fail if there is
//! nothing to remove. Does not remove anything while a proxy runs, unless forced.

use anyhow::bail;

use crate::cli::CleanupArgs;
use crate::config;
use crate::console::{print_error, print_line};
use crate::kernel::cleanup::{Cleanup, Found};
use crate::lock::{self, Lock};

/// The end of the error where the lock cannot show that no proxy runs.
const UNDECIDED: &str = "whether a proxy runs is not known; end that process, or be sure that no proxy runs and call \
                         `ipvs-proxy cleanup --force`";

/// Removes everything of this proxy from the kernel, or lists it with `--dry-run`.
///
/// # Errors
/// If the configuration cannot be read, or an object could not be read or removed.
pub fn cleanup(arguments: &CleanupArgs) -> anyhow::Result<()> {
    let exclude = config::exclude_cidrs(&arguments.flags())?;
    // Held to the end, so that no proxy starts meanwhile.
    let _lock = lock(arguments)?;
    let (mut removal, found) = Cleanup::look(&exclude);
    found.troubles.iter().for_each(print_error);
    found.absent.iter().for_each(print_line);
    if found.items.is_empty() && found.troubles.is_empty() {
        print_line("nothing to remove");
    }
    let failed = if arguments.dry_run == Some(true) {
        announce(&found)
    } else {
        remove(&mut removal, &found)
    };
    found
        .others
        .iter()
        .for_each(|key| print_line(format_args!("kept virtual server {key}: not ours")));
    match failed + found.troubles.len() {
        0 => Ok(()),
        failed if arguments.dry_run == Some(true) => {
            bail!("the cleanup would be incomplete: {failed} of its steps would fail")
        }
        failed => bail!("the cleanup is incomplete: {failed} of its steps failed"),
    }
}

/// Takes the lock of this network namespace, if it is needed and available.
fn lock(arguments: &CleanupArgs) -> anyhow::Result<Option<Lock>> {
    if arguments.dry_run == Some(true) {
        return Ok(None);
    }
    match Lock::take() {
        Ok(lock) => {
            if let Some(taker) = lock.misused_by() {
                if !lock.excludes_others() && arguments.force != Some(true) {
                    bail!("{taker}: {UNDECIDED}");
                }
                print_error(taker);
            }
            Ok(Some(lock))
        }
        Err(_) if arguments.force == Some(true) => Ok(None),
        Err(error @ (lock::Error::Held(_) | lock::Error::HeldBySomebody)) => bail!(
            "{error}, or every Service fails until it has put everything back; \
             `ipvs-proxy cleanup --force` removes everything all the same"
        ),
        Err(error @ lock::Error::Misused(..)) => bail!("{error}: {UNDECIDED}"),
        Err(error) => {
            print_error(format_args!("no lock: {error}: whether a proxy runs is not known"));
            Ok(None)
        }
    }
}

/// Lists the items to remove. Returns the number of removals that are known to fail.
fn announce(found: &Found) -> usize {
    let mut failing = 0;
    for item in &found.items {
        match item.kept() {
            None => print_line(format_args!("would remove {item}")),
            Some(cause) => {
                failing += 1;
                print_error(format_args!("could not remove {item}: {cause}"));
            }
        }
    }
    failing
}

/// Removes the items. Returns the number of removals that failed.
fn remove(removal: &mut Cleanup, found: &Found) -> usize {
    let mut failed = 0;
    for (item, result) in found.items.iter().zip(removal.remove(&found.items)) {
        match result {
            Ok(()) => print_line(format_args!("removed {item}")),
            Err(cause) => {
                failed += 1;
                print_error(format_args!("cannot remove {item}: {cause}"));
            }
        }
    }
    failed
}
