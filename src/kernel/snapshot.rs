//! Reads everything in the kernel that may be this proxy's, for output to people.
//!
//! Uses sockets and programs. Returns a [`KernelSnapshot`] with connection counts, and what could not be
//! read. Does not change anything, load modules, or judge what it finds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proxier::diff::Observed;
use proxier::model::{Family, PerFamily};
use proxier::plan::Rules;

use super::cause::cause;
use super::iptables::Iptables;
use super::probe::has_ipv6;
use super::reader::{KernelReader, noted};
use super::servers::Servers;
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
        let mut tables = KernelReader::open_existing(troubles);
        let servers = tables.servers().map_or(Ok(Vec::new()), Servers::held);
        held.servers = noted(troubles, "virtual servers", servers).unwrap_or_default();
        for family in Family::BOTH {
            noted(troubles, "sets", tables.read_sets(family, &mut held.sets));
        }
        held.rules = PerFamily::from_fn(|family| rules(family, troubles));
        let addresses = noted(troubles, "addresses", tables.read_device());
        held.addresses = addresses.filter(|_| tables.device.is_some());
        held
    }
}

fn rules(family: Family, troubles: &mut Vec<String>) -> Option<Rules> {
    let read = Iptables::probe(family).and_then(|iptables| iptables.observe());
    // Without IPv6 the programs fail, and there are no rules.
    if read.is_err() && family == Family::V6 && !has_ipv6() {
        return None;
    }
    let (rules, _) = noted(troubles, &format!("{family} rules"), read.map_err(cause))?;
    Some(rules)
}
