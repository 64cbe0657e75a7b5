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
    let (mut kernel, Found { reading, troubles, knows_servers, absent }) =
        LinuxKernel::look_for_cleanup();
    let Cleanup { changes, others } = Cleanup::new(&reading, &exclude);
    let changes = ordered(changes, &reading.state);
    troubles.iter().for_each(print_error);
    absent.iter().for_each(print_line);
    if changes.is_empty() && troubles.is_empty() {
        print_line("nothing to remove");
    }
    let failed = match arguments.dry_run {
        Some(true) => announce(&changes),
        Some(false) | None => remove(changes, &mut kernel, knows_servers),
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

/// Carries out the changes. Returns the number of those that failed. The device and the sets show which virtual servers
/// are this proxy's, so they stay until all of these have gone: else the next cleanup would not know them.
fn remove(changes: Vec<Change>, kernel: &mut dyn Kernel, knows_servers: bool) -> usize {
    let is_evidence = |change: &Change| {
        matches!(change, Change::RemoveDevice | Change::Set(SetChange::Destroy(_)))
    };
    let (evidence, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_evidence);
    let (mut failed, servers_stay) = carry_out(others, kernel);
    if !servers_stay && knows_servers {
        failed += carry_out(evidence, kernel).0;
    } else if !evidence.is_empty() {
        failed += 1;
        print_error(format_args!(
            "kept {DUMMY_DEVICE} and the sets: they show which virtual servers are to be removed; run the cleanup again"
        ));
    }
    failed
}

/// Carries out changes. Returns the number of those that failed, and true if a virtual server stays.
fn carry_out(changes: Vec<Change>, kernel: &mut dyn Kernel) -> (usize, bool) {
    let (mut failed, mut servers_stay) = (0, false);
    for (change, result) in kernel.carry_out(changes) {
        match (removed(&change), result) {
            (Some(object), Ok(())) => print_line(format_args!("removed {object}")),
            (None, Ok(())) => {}
            (object, Err(cause)) => {
                failed += 1;
                servers_stay |= matches!(change, Change::Server(ServerChange::Remove(_)));
                let object = object.unwrap_or_else(|| change.to_string());
                print_error(format_args!("cannot remove {object}: {cause}"));
            }
        }
    }
    (failed, servers_stay)
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

#[cfg(test)]
mod tests {
    use proxier::apply::fake::FakeKernel;
    use proxier::diff::{Destinations, Observed, ObservedServer};
    use proxier::model::Protocol;
    use proxier::plan::{ServerFlags, ServerSettings, VirtualServerKey};

    use super::*;

    fn key() -> VirtualServerKey {
        VirtualServerKey { protocol: Protocol::Tcp, address: [10, 96, 0, 1].into(), port: 80 }
    }

    /// Removes a virtual server, the device and a set. Returns the number of failures, and the changes that were tried.
    fn removed_from(kernel: &mut FakeKernel, knows_servers: bool) -> (usize, Vec<String>) {
        let changes = vec![
            Change::Server(ServerChange::Remove(key())),
            Change::RemoveDevice,
            Change::Set(SetChange::Destroy("KUBE-CLUSTER-IP")),
        ];
        let failed = remove(changes, kernel, knows_servers);
        (failed, kernel.log.iter().map(|(change, _)| change.to_string()).collect())
    }

    #[test]
    fn what_shows_whose_a_virtual_server_is_stays_while_the_server_does() {
        let is_server = |change: &Change| matches!(change, Change::Server(_));
        let mut refusing = FakeKernel { refused: Some(is_server), ..FakeKernel::default() };
        assert_eq!(
            removed_from(&mut refusing, true),
            (2, vec![format!("remove virtual server {}", key())])
        );
        let (failed, tried) = removed_from(&mut FakeKernel::default(), false);
        assert_eq!(tried.len(), 1, "{tried:?}");
        assert!(failed > 0);
        let settings = ServerSettings { scheduler: "rr".into(), flags: ServerFlags(0), timeout: 0 };
        let server = ObservedServer { settings, destinations: Destinations::default() };
        let state = Observed { servers: [(key(), server)].into(), ..Observed::default() };
        let (failed, tried) =
            removed_from(&mut FakeKernel { state, ..FakeKernel::default() }, true);
        assert_eq!((failed, tried.len()), (0, 3), "{tried:?}");
    }
}
