//! The command `cleanup`, which removes everything of this proxy from the kernel.
//!
//! Takes the networks whose virtual servers belong to other programs. Prints a line for each object that was removed,
//! or would be, and reports each failure on standard error. Tries everything before it ends. Does not fail if there is
//! nothing to remove. Does not remove anything while a proxy runs, unless forced.

use anyhow::bail;
use proxier::apply::{Kernel, ordered};
use proxier::diff::{Change, Cleanup, RulesChange, ServerChange, SetChange};
use proxier::model::DUMMY_DEVICE;

use crate::cli::CleanupArgs;
use crate::config;
use crate::console::{print_error, print_line};
use crate::kernel::LinuxKernel;
use crate::kernel::cleanup::Found;
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
    let (mut kernel, Found { reading, troubles, absent }) = LinuxKernel::look_for_cleanup();
    let Cleanup { changes, others } = Cleanup::new(&reading, &exclude);
    let changes = ordered(changes, &reading.state);
    troubles.iter().for_each(print_error);
    absent.iter().for_each(print_line);
    if changes.is_empty() && troubles.is_empty() {
        print_line("nothing to remove");
    }
    let failed = match arguments.dry_run {
        Some(true) => announce(&changes),
        Some(false) | None => remove(changes, &mut kernel),
    };
    others.iter().for_each(|key| print_line(format_args!("kept virtual server {key}: not ours")));
    match failed + troubles.len() {
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

/// Lists the objects to remove. Returns the number of removals that are known to fail.
fn announce(changes: &[Change]) -> usize {
    let mut failing = 0;
    for (change, object) in changes.iter().filter_map(|change| Some((change, removed(change)?))) {
        match reason_to_stay(change) {
            None => print_line(format_args!("would remove {object}")),
            Some(reason) => {
                failing += 1;
                print_error(format_args!("could not remove {object}: {reason}"));
            }
        }
    }
    failing
}

/// Carries out the changes. Returns the number of those that failed.
fn remove(changes: Vec<Change>, kernel: &mut dyn Kernel) -> usize {
    let mut failed = 0;
    for (change, result) in kernel.carry_out(changes) {
        match (removed(&change), result) {
            (Some(object), Ok(())) => print_line(format_args!("removed {object}")),
            (None, Ok(())) => {}
            (object, Err(cause)) => {
                failed += 1;
                let object = object.unwrap_or_else(|| change.to_string());
                print_error(format_args!("cannot remove {object}: {cause}"));
            }
        }
    }
    failed
}

fn reason_to_stay(change: &Change) -> Option<String> {
    match change {
        Change::Rules(RulesChange::RemoveAll(table)) => table.reason_to_stay(),
        _ => None,
    }
}

/// The object that the change removes, in words for the operator; `None` for a destination, which goes with its
/// virtual server.
fn removed(change: &Change) -> Option<String> {
    Some(match change {
        Change::Address(change) => format!("address {} of {DUMMY_DEVICE}", change.address()),
        Change::RemoveDevice => format!("device {DUMMY_DEVICE}"),
        Change::Server(ServerChange::Remove(key)) => format!("virtual server {key}"),
        Change::Rules(RulesChange::RemoveAll(found)) => {
            format!("{} {} rules: {}", found.family, found.table, found.names.join(", "))
        }
        Change::Rules(RulesChange::RemoveNftTable(family)) => {
            format!("nftables table kube-proxy of {family}")
        }
        Change::Set(SetChange::Destroy(name)) => format!("set {name}"),
        _ => return None,
    })
}
