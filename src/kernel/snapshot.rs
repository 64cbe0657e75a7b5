//! Reads everything in the kernel that may be this proxy's, for output to people.
//!
//! Uses sockets and programs. Returns a [`KernelSnapshot`] with connection counts, and what could not be
//! read. Does not change anything, load modules, or judge what it finds.

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

/// The kernel state for output to people.
#[derive(Clone, Debug, Default)]
pub struct KernelSnapshot {
    /// All virtual servers, including those of other programs, in the order of their keys.
    pub servers: Vec<HeldServer>,
    /// This proxy's sets with their entries and capacities.
    pub sets: Observed,
    /// This proxy's chains and jumps, of the families that could be read.
    pub rules: PerFamily<Option<Rules>>,
    /// The addresses on the dummy device; `None` if it does not exist or could not be read.
    pub addresses: Option<BTreeSet<IpAddr>>,
    /// The reasons why some parts could not be read.
    pub troubles: Vec<String>,
}

impl KernelSnapshot {
    /// Reads the kernel. Parts that it lacks count as empty.
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
    // Without IPv6 the programs fail, and there are no rules.
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
