//! Reads what a cleanup may remove.
//!
//! Opens those parts of the kernel that exist. Returns what was found and a kernel that carries out its removal. Does
//! not ask the API server, load modules, or decide what is this proxy's.
//!
//! Sources: spec 14.2, 14.4 and Q-52.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use proxier::apply::Cause;
use proxier::diff::CleanupReading;
use proxier::model::{Family, PerFamily};

use super::cause::cause;
use super::interfaces::{Fact, Interfaces};
use super::iptables::{self, Iptables};
use super::reader::{KernelReader, Programs, noted};
use super::sets::Sets;
use super::{LinuxKernel, link, nftables, probe};

/// The result of reading what a cleanup may remove.
#[derive(Debug, Default)]
pub struct Found {
    /// The objects that were found. Parts that the kernel lacks count as empty.
    pub reading: CleanupReading,
    /// The reasons why some parts could not be read.
    pub troubles: Vec<String>,
    /// True if the virtual servers could be read, and all that shows whose they are.
    pub knows_servers: bool,
    /// The parts that were not read because they cannot have anything to remove.
    pub absent: Vec<String>,
}

impl LinuxKernel {
    /// Connects to the parts of the kernel that exist, and reads everything that a cleanup may remove.
    pub fn look_for_cleanup() -> (Self, Found) {
        let mut found = Found::default();
        let mut tables = KernelReader::open_existing(&mut found.troubles);
        let Found { reading, troubles, .. } = &mut found;
        let addresses = noted(troubles, link::DEVICE, read_dummy_device(&mut tables));
        reading.state.link = addresses.is_some() && tables.device.is_some();
        reading.state.addresses = addresses.unwrap_or_default();
        let before = troubles.len();
        let servers = noted(troubles, "virtual servers", tables.read_servers());
        reading.state.servers = servers.unwrap_or_default();
        if !reading.state.servers.is_empty() {
            let node = noted(troubles, "addresses", node_addresses(tables.device));
            reading.node = node.unwrap_or_default();
            for family in Family::BOTH {
                noted(troubles, "sets", tables.read_sets(family, &mut reading.state));
            }
        }
        let knows_servers = troubles.len() == before;
        for family in Family::BOTH {
            *tables.iptables.of_mut(family) = look_at_rules(family, &mut found);
        }
        let Found { reading, troubles, .. } = &mut found;
        let sets = tables.sets().map_or(Ok(BTreeSet::new()), Sets::names);
        reading.sets = noted(troubles, "sets", sets).unwrap_or_default();
        reading.nftables = PerFamily::from_fn(nftables::has_table);
        found.knows_servers = knows_servers;
        (Self::new(tables, super::node_setup::NodeSetup::default()), found)
    }
}

/// Reads the addresses of the device, which must be a dummy device.
fn read_dummy_device(tables: &mut KernelReader) -> Result<BTreeSet<IpAddr>, Cause> {
    if let Ok(links) = tables.links()
        && links.index().map_err(cause)?.is_some()
        && let Some(kind) = links.other_kind().map_err(cause)?
    {
        let name = link::DEVICE;
        return Err(Cause::new(format!(
            "the device of this name is no dummy device but a {kind}: it is left as it is, with its addresses; \
             remove it with `ip link del {name}` if nothing else needs it"
        )));
    }
    tables.read_device()
}

/// Returns the addresses on all devices but the dummy device.
fn node_addresses(dummy: Option<u32>) -> Result<BTreeSet<IpAddr>, Cause> {
    let mut addresses = BTreeSet::new();
    let hear = |fact| match fact {
        Fact::Has(address) if Some(address.index) != dummy => {
            addresses.insert(address.local);
        }
        Fact::Has(_) | Fact::Named(..) | Fact::Gone(_) | Fact::Lost(_) => {}
    };
    Interfaces::open().and_then(|here| here.read(hear)).map_err(cause)?;
    Ok(addresses)
}

/// Finds the rules of a family. Returns the programs that can remove them.
fn look_at_rules(family: Family, found: &mut Found) -> Option<Programs> {
    let looked =
        Iptables::probe(family).and_then(|iptables| Ok((iptables.standing_tables()?, iptables)));
    // Without these programs this proxy cannot have written rules of this family.
    if let Err(iptables::Error::Start { program, source }) = &looked
        && source.kind() == io::ErrorKind::NotFound
    {
        found.absent.push(format!("{family} rules are not looked at: there is no {program}"));
        return None;
    }
    // Without IPv6 the programs fail, and there are no rules.
    if looked.is_err() && family == Family::V6 && !probe::has_ipv6() {
        return None;
    }
    let what = format!("{family} rules");
    let (tables, iptables) = noted(&mut found.troubles, &what, looked.map_err(cause))?;
    found.reading.tables.extend(tables);
    Some(Programs::found(iptables))
}
