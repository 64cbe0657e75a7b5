//! The command `plan`, which prints the desired state without root and without a kernel.
//!
//! Takes manifests, a configuration and the node's interface addresses. Writes five texts in the formats of the
//! kernel's own tools. Reads of a kubeconfig only the API server's address. Does not read or change the kernel, and
//! sends no request.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use proxier::Proxier;
use proxier::model::{Event, Family, PerFamily, Service};
use proxier::plan::Conflicts;

use super::settings;
use crate::cli::{self, PlanArgs};
use crate::config::{Environment, RawConfig};
use crate::console::print;
use crate::sync::conflicts;
use crate::{folder, telemetry, watch};

/// Plans once and writes the result.
///
/// # Errors
/// If an input cannot be read, or an output cannot be written.
pub fn plan(arguments: &PlanArgs) -> anyhow::Result<()> {
    let mut given = RawConfig::read(&arguments.flags())?;
    let config = given.check(Some(&arguments.manifests), &Environment::look())?;
    let _ = telemetry::start(&config.logging);
    given.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let everywhere = PerFamily { v4: true, v6: true };
    let mut proxier = Proxier::new(settings::planning(&config, everywhere, true));
    let addresses = arguments.addresses.as_deref().map(cli::addresses).transpose()?;
    proxier.fold(Event::Addresses(addresses.unwrap_or_default()));
    api_server(&given).into_iter().for_each(|address| proxier.fold(Event::ApiServer(address)));
    let (events, problems) = folder::load_with_nodes(&arguments.manifests, &config.node_name)?;
    let is_broken = |problem: &_| matches!(problem, folder::Problem::Broken { .. });
    if arguments.manifests.is_file() && problems.iter().any(is_broken) {
        // A plan of half a file would mislead. In a folder, a broken file does not hide the other files.
        let broken: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::bail!("{}", broken.join("; "));
    }
    problems.iter().for_each(|problem| tracing::warn!("{problem}"));
    events.into_iter().for_each(|event| proxier.fold(event));
    let none = Conflicts::new();
    proxier.plan();
    if arguments.addresses.is_none() && proxier.store().services().any(Service::has_node_port) {
        tracing::warn!(
            "node ports are not planned, since the node's addresses are not known: give --addresses"
        );
    }
    proxier.foreign_addresses().iter().for_each(|foreign| tracing::warn!("{foreign}"));
    let news = conflicts::news(&none, proxier.conflicts());
    news.iter().for_each(|news| tracing::warn!("{news}"));
    let texts = texts(&proxier);
    match &arguments.output {
        Some(directory) => write_files(directory, &texts),
        None => print(|out| {
            texts.iter().try_for_each(|(name, text)| writeln!(out, "== {name} ==\n{text}"))
        }),
    }
}

/// Returns the address of the API server that the settings name. `None` if they name none, or give its name instead
/// of its address, or if the kubeconfig cannot be read. A kubeconfig often exists only on the node.
fn api_server(given: &RawConfig) -> Option<IpAddr> {
    let (kubeconfig, master) = given.api_server();
    watch::server_address(kubeconfig, master).unwrap_or_else(|error| {
        tracing::warn!("{error}: addresses of Services are not compared with the API server's");
        None
    })
}

fn texts(proxier: &Proxier) -> [(&'static str, String); 5] {
    let desired = proxier.desired();
    [
        ("ipvs.txt", desired.ipvs_text()),
        ("ipset.txt", desired.ipset_text(proxier.settings())),
        ("iptables.txt", desired.iptables_text(Family::V4)),
        ("ip6tables.txt", desired.iptables_text(Family::V6)),
        ("addrs.txt", desired.addresses_text()),
    ]
}

fn write_files(directory: &Path, texts: &[(&str, String)]) -> anyhow::Result<()> {
    let context = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(directory).with_context(|| context(directory))?;
    for (name, text) in texts {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| context(&path))?;
    }
    Ok(())
}
