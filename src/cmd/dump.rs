//! The command `dump`, which prints kernel state with the names of Services.
//!
//! Reads the kernel. Takes names from the running proxy, else from the API server or manifests if the arguments name
//! them. Prints a table or JSON on standard output, and problems on standard error. Changes nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use proxier::Proxier;
use proxier::model::PerFamily;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use super::run::Opened;
use super::settings;
use crate::cli::{DumpArgs, Form};
use crate::config::DEFAULT_SOCKET;
use crate::config::{self, Config, Environment, Source};
use crate::console::{print, print_error};
use crate::dump::ask;
use crate::dump::{Dump, Names, NamesFrom, names};
use crate::kernel::snapshot::KernelSnapshot;
use crate::lasting::Lasting;
use crate::watch::NodesWatched;
use crate::{addresses, sync, telemetry};

/// The longest time that an API server may take to list all objects.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Prints a dump.
///
/// # Errors
/// If the configuration is invalid, or a part of the kernel state cannot be read.
pub fn dump(arguments: &DumpArgs) -> anyhow::Result<()> {
    let (flags, manifests) = (arguments.flags(), arguments.manifests.as_deref());
    let load = || config::load(&flags, manifests, &Environment::look());
    let config = arguments.names_a_source().then(load).transpose()?.map(|(config, _)| config);
    if let Some(config) = &config {
        let _ = telemetry::start(&config.logging);
    }
    let (names, from) = find_names(arguments, config.as_ref());
    let held = KernelSnapshot::read();
    for trouble in &held.troubles {
        print_error(trouble);
    }
    let dump = Dump::new(&held, &names, from);
    match arguments.output {
        Form::Table => print(|out| write!(out, "{dump}"))?,
        Form::Json => print(|out| {
            serde_json::to_writer_pretty(&mut *out, &dump)?;
            writeln!(out)
        })?,
    }
    match held.troubles.len() {
        0 => Ok(()),
        parts => bail!("the dump is incomplete: {parts} parts of the kernel could not be read"),
    }
}

/// Returns names and their source. Reports a source that does not answer, and goes on to the next one.
fn find_names(arguments: &DumpArgs, config: Option<&Config>) -> (Names, NamesFrom) {
    let path = socket(arguments, config);
    match ask::ask(&path) {
        Ok(names) => return (names, NamesFrom::Agent),
        Err(error) => {
            print_error(format_args!("no names from a running proxy: {}: {error}", path.display()));
        }
    }
    let Some(config) = config else {
        print_error("frontends are without names: give --manifests, --kubeconfig or --config");
        return (Names::new(), NamesFrom::Nobody);
    };
    match plan_names(config) {
        Ok(names) => (names, from(&config.source)),
        Err(error) => {
            print_error(format_args!("frontends are without names: {}: {error:#}", config.source));
            (Names::new(), NamesFrom::Nobody)
        }
    }
}

fn socket(arguments: &DumpArgs, config: Option<&Config>) -> PathBuf {
    let of_config = || config.and_then(|config| config.local_socket.as_deref());
    let path = arguments.socket.as_deref().or_else(of_config);
    path.unwrap_or(Path::new(DEFAULT_SOCKET)).to_owned()
}

fn from(source: &Source) -> NamesFrom {
    match source {
        Source::Manifests(_) => NamesFrom::Manifests,
        Source::InCluster(_) | Source::ApiServer { .. } => NamesFrom::Api,
    }
}

/// Plans as the proxy would, and returns the names of the planned frontends.
fn plan_names(config: &Config) -> anyhow::Result<Names> {
    let everywhere = PerFamily { v4: true, v6: true };
    let mut proxier = Proxier::new(settings::planning(config, everywhere, true));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listing = list(config, &mut proxier);
    let listed = runtime.block_on(async { tokio::time::timeout(LIST_TIMEOUT, listing).await });
    // A program that fetches credentials may never end, so neither it nor its thread is waited for.
    runtime.shutdown_background();
    if listed.is_err() {
        end_children();
    }
    listed.with_context(|| format!("it has not listed everything within {LIST_TIMEOUT:?}"))??;
    proxier.plan();
    Ok(names(&proxier))
}

/// Ends the child processes that still run, so that repeated dumps do not leave one each. Has no effect on a kernel
/// that does not list children (`CONFIG_PROC_CHILDREN`).
fn end_children() {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for thread in threads {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|number| number.parse().ok());
        for child in children.filter_map(Pid::from_raw) {
            // The process may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

/// Folds events into `proxier` until everything has been listed once.
async fn list(config: &Config, proxier: &mut Proxier) -> anyhow::Result<()> {
    let (sender, mut events) = mpsc::channel(sync::QUEUE);
    let source = Opened::new(config, None, &Lasting::default()).await?;
    addresses::start(&sender, Lasting::default()).context("cannot read the node's addresses")?;
    let following = source.follow(&config.node_name, NodesWatched::This, sender);
    let complete = async {
        while !proxier.is_complete() {
            match events.recv().await {
                Some(batch) => batch.into_iter().for_each(|event| proxier.fold(event)),
                None => bail!("it has ended"),
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        complete = complete => complete,
        () = following => bail!("it has ended"),
    }
}
