//! `cleanup`: the kernel without anything of ours.
//!
//! In: what is others'. Out: a line for each thing that was removed, or would be, on standard output,
//! and one for each that could not be on standard error. Never: an end before everything has been
//! tried; a failure because there is nothing to remove; a removal beside a running proxy, unless forced.

use anyhow::bail;

use crate::cli::CleanupArgs;
use crate::config;
use crate::console::{complain, say};
use crate::kernel::removal::{Found, Removal};
use crate::lock::{self, Lock};

/// Removes everything of ours from the kernel, or says what that is.
///
/// # Errors
/// If the configuration cannot be read, or something could not be looked at or removed.
pub fn cleanup(arguments: &CleanupArgs) -> anyhow::Result<()> {
    let exclude = config::excluded(&arguments.flags())?;
    // Held to the end, so that no proxy starts in between.
    let _lock = lock(arguments)?;
    let (mut removal, found) = Removal::look(&exclude);
    found.troubles.iter().for_each(complain);
    found.absent.iter().for_each(say);
    let failed = if arguments.dry_run == Some(true) {
        announce(&found)
    } else {
        remove(&mut removal, &found)
    };
    found.others.iter().for_each(|key| say(format_args!("kept virtual server {key}: not ours")));
    match failed + found.troubles.len() {
        0 => Ok(()),
        failed if arguments.dry_run == Some(true) => {
            bail!("the cleanup would be incomplete: {failed} of its steps would fail")
        }
        failed => bail!("the cleanup is incomplete: {failed} of its steps failed"),
    }
}

/// The lock of this network namespace, if it is needed and can be had.
fn lock(arguments: &CleanupArgs) -> anyhow::Result<Option<Lock>> {
    if arguments.dry_run == Some(true) {
        return Ok(None);
    }
    match Lock::take() {
        Ok(lock) => Ok(Some(lock)),
        Err(_) if arguments.force == Some(true) => Ok(None),
        Err(error @ (lock::Error::Held(_) | lock::Error::HeldBySomebody)) => bail!(
            "{error}, or every Service fails until it has put everything back; \
             `ipvs-proxy cleanup --force` removes everything all the same"
        ),
        Err(error) => {
            complain(format_args!("no lock: {error}: whether a proxy runs is not known"));
            Ok(None)
        }
    }
}

/// How many steps would fail, as far as that can be known.
fn announce(found: &Found) -> usize {
    let mut failing = 0;
    for piece in &found.pieces {
        match piece.kept() {
            None => say(format_args!("would remove {piece}")),
            Some(cause) => {
                failing += 1;
                complain(format_args!("could not remove {piece}: {cause}"));
            }
        }
    }
    failing
}

/// How many steps failed.
fn remove(removal: &mut Removal, found: &Found) -> usize {
    let mut failed = 0;
    for (piece, result) in found.pieces.iter().zip(removal.remove(&found.pieces)) {
        match result {
            Ok(()) => say(format_args!("removed {piece}")),
            Err(cause) => {
                failed += 1;
                complain(format_args!("cannot remove {piece}: {cause}"));
            }
        }
    }
    failed
}
