//! Finds out whether this node can run the proxy.
//!
//! Takes the requirements from the configuration. Returns a [`LinuxKernel`], or what is missing and what the
//! operator can do about it. May load modules. Does not change the kernel's tables.

use std::fs;

use ipvs_netlink::Refusal;
use proxier::apply::Cause;
use proxier::model::{Family, PerFamily};

use super::cause::cause;
use super::iptables::{self, Iptables};
use super::link::Links;
use super::program::load_module;
use super::reader::{KernelReader, Programs};
use super::servers::Servers;
use super::sets::Sets;
use super::{LinuxKernel, node_setup};

/// The capabilities of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The families that the node has: IPv6 is not disabled, and there are iptables programs and tables. The
    /// programs may still fail at the moment.
    pub families: PerFamily<bool>,
    /// True if MASQUERADE has the option `--random-fully` in every family whose programs work.
    pub random_fully: bool,
}

const RIGHTS: &str = "not permitted to change the network: run as root or with CAP_NET_ADMIN";

impl LinuxKernel {
    /// Opens all interfaces and finds out what the node can do.
    ///
    /// # Errors
    /// The missing right, kernel module or program.
    pub fn open(node_setup: node_setup::NodeSetup) -> Result<(Self, Capabilities), Cause> {
        let servers = open_servers()?;
        let sets = Sets::open().map_err(cause)?;
        let links = Links::open().map_err(cause)?;
        let (iptables, capabilities) = probe_families()?;
        super::sysctl::check(&node_setup.sysctls).map_err(Cause::new)?;
        let tables = KernelReader::new(links, sets, servers, iptables);
        Ok((Self::new(tables, node_setup), capabilities))
    }
}

fn open_servers() -> Result<Servers, Cause> {
    use ipvs_netlink::Error;
    let opened = match Servers::open() {
        Err(Error::Unsupported) => {
            load_module("ip_vs");
            Servers::open()
        }
        opened => opened,
    };
    opened.map_err(not_opened)
}

/// Converts an error of opening IPVS, and names missing rights.
pub(super) fn not_opened(error: ipvs_netlink::Error) -> Cause {
    match error {
        ipvs_netlink::Error::Refused { refusal: Refusal::NotPermitted, .. } => Cause::new(RIGHTS),
        other => cause(other),
    }
}

/// Finds the programs of each family that the node has, whether or not they work at the moment.
fn probe_families() -> Result<(PerFamily<Option<Programs>>, Capabilities), Cause> {
    let mut unusable = None;
    let mut versions = Vec::new();
    let mut find = |family| match usable_iptables(family) {
        Ok(iptables) => {
            versions.push(iptables.version());
            Some(Programs::found(iptables))
        }
        Err(error) => {
            let is_absent = error.is_unsupported();
            if is_absent {
                tracing::warn!("{family} is not programmed: {error}");
            } else {
                tracing::error!("{family} cannot be programmed yet, it is tried again: {error}");
            }
            unusable = unusable.take().or(Some(cause(error)));
            (!is_absent).then(|| Programs::failing(family))
        }
    };
    let programs = PerFamily { v4: find(Family::V4), v6: find(Family::V6) };
    // The versions of working programs are needed. If no family works, an error says more than waiting.
    if versions.is_empty() {
        return Err(unusable.unwrap_or_else(|| Cause::new("no family can be programmed")));
    }
    let families = PerFamily::from_fn(|family| programs.of(family).is_some());
    let random_fully = versions.iter().all(|version| version.has_random_fully());
    Ok((programs, Capabilities { families, random_fully }))
}

/// Finds the programs of a family and checks that they can do NAT.
pub(super) fn usable_iptables(family: Family) -> Result<Iptables, iptables::Error> {
    if family == Family::V6 && !has_ipv6() {
        return Err(iptables::Error::NoIpv6);
    }
    let iptables = Iptables::probe(family)?;
    iptables.try_nat()?;
    Ok(iptables)
}

/// True if the node has IPv6 and it is not disabled (spec 13.1).
pub(super) fn has_ipv6() -> bool {
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    fs::exists("/proc/thread-self/net/if_inet6").unwrap_or(false)
        && disabled.is_ok_and(|value| value.trim() != "1")
}
