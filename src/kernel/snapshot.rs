//! Everything in the kernel that could be ours, for people to look at.
//!
//! In: sockets and programs. Out: [`KernelSnapshot`] with connection counts, and what could not be read.
//! Never: a change, a module loaded, a judgement.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proxier::apply::Cause;
use proxier::diff::Observed;
use proxier::model::{Family, PerFamily};
use proxier::plan::Rules;

use super::cleanup::{noted, open_servers, open_sets};
use super::iptables::Iptables;
use super::link::Links;
use super::probe::has_ipv6;
pub use super::servers::{HeldDestination, HeldServer};

/// What the kernel holds.
#[derive(Clone, Debug, Default)]
pub struct KernelSnapshot {
    /// Virtual servers, others' too, in the order of their keys.
    pub servers: Vec<HeldServer>,
    /// Sets of ours: entries and room.
    pub sets: Observed,
    /// Our chains and jumps of the families that could be read.
    pub rules: PerFamily<Option<Rules>>,
    /// Addresses on the dummy device, if it is there.
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// Why some of it could not be read.
    pub troubles: Vec<String>,
}

impl KernelSnapshot {
    /// Reads it; what the kernel does not have holds nothing.
    pub fn read() -> Self {
        let mut held = Self::default();
        let troubles = &mut held.troubles;
        let servers = open_servers()
            .and_then(|servers| servers.map_or(Ok(Vec::new()), |mut servers| servers.held()));
        held.servers = noted(troubles, "virtual servers", servers).unwrap_or_default();
        if let Some(mut sets) = noted(troubles, "sets", open_sets()).flatten() {
            for family in Family::BOTH {
                noted(troubles, "sets", sets.observe(family, &mut held.sets));
            }
        }
        held.rules = PerFamily::from_fn(|family| rules(family, troubles));
        held.addresses = noted(troubles, "addresses", addresses()).flatten();
        held
    }
}

fn rules(family: Family, troubles: &mut Vec<String>) -> Option<Rules> {
    let read = Iptables::probe(family).and_then(|iptables| iptables.observe());
    // Without IPv6 its programs fail, and there is nothing to read.
    if read.is_err() && family == Family::V6 && !has_ipv6() {
        return None;
    }
    let (rules, _) = noted(troubles, &format!("{family} rules"), read.map_err(Cause::new))?;
    Some(rules)
}

fn addresses() -> Result<Option<BTreeSet<IpAddr>>, Cause> {
    let mut links = Links::open().map_err(Cause::new)?;
    let Some(index) = links.index().map_err(Cause::new)? else { return Ok(None) };
    links.addresses(index).map(Some).map_err(Cause::new)
}
