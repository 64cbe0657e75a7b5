//! Can this node do it?
//!
//! In: nothing. Out: a [`LinuxKernel`], or the one thing that is missing and what to do about it.
//! Never: a change to the kernel's tables; at most modules are loaded.

use std::fs;

use ipvs_netlink::Refusal;
use proxier::apply::Cause;
use proxier::model::{Family, PerFamily};

use super::flows::Flows;
use super::iptables::Iptables;
use super::link::Links;
use super::module::load_module;
use super::servers::Servers;
use super::sets::Sets;
use super::tables::Tables;
use super::{LinuxKernel, ground};

/// What the node offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Which families it has: their iptables programs work, and IPv6 is not disabled.
    pub families: PerFamily<bool>,
    /// Whether MASQUERADE knows `--random-fully` in every family it has.
    pub random_fully: bool,
}

const RIGHTS: &str = "not permitted to change the network: run as root or with CAP_NET_ADMIN";

impl LinuxKernel {
    /// Opens everything that is needed and finds out what it can do.
    ///
    /// # Errors
    /// What is missing: rights, a kernel module, a program.
    pub fn open(ground: ground::Wanted) -> Result<(Self, Abilities), Cause> {
        let servers = open_servers()?;
        let sets = Sets::open().map_err(Cause::new)?;
        let links = Links::open().map_err(Cause::new)?;
        let (iptables, abilities) = probe_families()?;
        super::sysctl::check(&ground.sysctls).map_err(Cause::new)?;
        let tables = Tables::new(links, sets, servers, iptables);
        Ok((Self { tables, flows: Flows::default(), ground }, abilities))
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

/// Why there is no connection to IPVS, with the rights that are missing.
pub(super) fn not_opened(error: ipvs_netlink::Error) -> Cause {
    match error {
        ipvs_netlink::Error::Refused { refusal: Refusal::NotPermitted, .. } => Cause::new(RIGHTS),
        other => Cause::new(other),
    }
}

fn probe_families() -> Result<(PerFamily<Option<Iptables>>, Abilities), Cause> {
    let mut found = PerFamily::from_fn(usable_iptables);
    let families = PerFamily::from_fn(|family| found.of(family).is_ok());
    for family in Family::BOTH {
        if let Err(cause) = found.of(family) {
            if !families.v4 && !families.v6 {
                return Err(cause.clone());
            }
            tracing::warn!("{family} is not programmed: {cause}");
        }
    }
    let mut take = |family| std::mem::replace(found.of_mut(family), Err(Cause::new(""))).ok();
    let iptables = PerFamily::from_fn(&mut take);
    let random_fully = Family::BOTH
        .iter()
        .filter_map(|family| iptables.of(*family).as_ref())
        .all(|iptables| iptables.version().has_random_fully());
    Ok((iptables, Abilities { families, random_fully }))
}

fn usable_iptables(family: Family) -> Result<Iptables, Cause> {
    match family {
        Family::V6 if !has_ipv6() => Err(Cause::new("the node has no IPv6")),
        Family::V4 | Family::V6 => {
            let iptables = Iptables::probe(family).map_err(Cause::new)?;
            iptables.try_nat().map_err(Cause::new)?;
            Ok(iptables)
        }
    }
}

/// Spec 13.1.
pub(super) fn has_ipv6() -> bool {
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    fs::exists("/proc/thread-self/net/if_inet6").unwrap_or(false)
        && disabled.is_ok_and(|value| value.trim() != "1")
}
