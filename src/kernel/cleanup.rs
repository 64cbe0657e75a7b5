//! Removes everything that this proxy, or kube-proxy, has put into the kernel.
//!
//! Takes the networks in which other programs have virtual servers. Returns the items that were found, in the
//! order of their removal, and a result for each removal. Does not ask the API server, load modules, or reset
//! sysctls, whose old values are unknown.
//!
//! Addresses are removed first, so that none answers without its rules. Virtual servers follow, then the
//! rules, and then the sets that the rules refer to.
//!
//! Sources: spec 14.2, 14.4 and Q-52.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;

use ipset_netlink::Reason;
use proxier::apply::Cause;
use proxier::diff::{AddressChange, Observed, OwnershipEvidence, ServerChange};
use proxier::model::{Family, Net, PerFamily};
use proxier::plan::{Entry, SetKey, VirtualServerKey};

use super::interfaces::{Fact, Interfaces};
use super::iptables::{self, Iptables, OurTable};
use super::link::{self, Links};
use super::nftables;
use super::probe::{has_ipv6, not_opened};
use super::servers::Servers;
use super::sets::{ATTEMPTS, Sets};

/// An object that can be removed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An address on the dummy device.
    Address(IpAddr),
    /// The dummy device, by its index.
    Device(u32),
    /// A virtual server with its destinations.
    Server(VirtualServerKey),
    /// This proxy's chains and jumps in one table.
    Rules(Family, OurTable),
    /// A set with its entries.
    Set(ipset_netlink::SetName),
    /// The table of nftables mode.
    NftTable(Family),
}

impl Item {
    /// The reason why a part of it stays after its removal; `None` if nothing stays.
    pub fn kept(&self) -> Option<Cause> {
        match self {
            Self::Rules(_, table) if !table.kept.is_empty() => {
                let kept = table.kept.join(", ");
                Some(Cause::new(format!("emptied, but rules of others lead to {kept}")))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address} of {}", link::DEVICE),
            Self::Device(_) => write!(f, "device {}", link::DEVICE),
            Self::Server(key) => write!(f, "virtual server {key}"),
            Self::Rules(family, found) => {
                write!(f, "{family} {} rules: {}", found.table, found.names.join(", "))
            }
            Self::Set(name) => write!(f, "set {name}"),
            Self::NftTable(family) => write!(f, "nftables table kube-proxy of {family}"),
        }
    }
}

/// The result of looking for objects to remove.
#[derive(Debug, Default)]
pub struct Found {
    /// The objects to remove, in the order of their removal.
    pub items: Vec<Item>,
    /// Virtual servers that stay, because nothing shows that they are this proxy's.
    pub others: Vec<VirtualServerKey>,
    /// The reasons why some parts could not be read.
    pub troubles: Vec<String>,
    /// The parts that were not read because they cannot have anything to remove.
    pub absent: Vec<String>,
}

/// Connections to those parts of the kernel that exist.
pub struct Cleanup {
    links: Option<Links>,
    device: Option<u32>,
    servers: Option<Servers>,
    sets: Option<Sets>,
    iptables: PerFamily<Option<Iptables>>,
    /// The number of retries left for sets that are in use.
    attempts: u32,
}

impl Cleanup {
    /// Reads everything that may be this proxy's. Parts that the kernel lacks count as empty.
    pub fn look(exclude: &[Net]) -> (Self, Found) {
        let mut found = Found::default();
        let troubles = &mut found.troubles;
        let mut removal = Self {
            links: noted(troubles, "devices", Links::open().map_err(Cause::new)),
            device: None,
            servers: noted(troubles, "virtual servers", open_servers()).flatten(),
            sets: noted(troubles, "sets", open_sets()).flatten(),
            iptables: PerFamily::default(),
            attempts: ATTEMPTS,
        };
        let addresses = removal.look_at_device(&mut found);
        removal.look_at_servers(&addresses, exclude, &mut found);
        for family in Family::BOTH {
            removal.look_at_rules(family, &mut found);
        }
        let names = removal.sets.as_mut().map_or(Ok(Vec::new()), Sets::names);
        let names = noted(&mut found.troubles, "sets", names).unwrap_or_default();
        found.items.extend(names.into_iter().map(Item::Set));
        let tables = Family::BOTH.into_iter().filter(|family| nftables::has_table(*family));
        found.items.extend(tables.map(Item::NftTable));
        (removal, found)
    }

    /// Removes these items and returns a result for each. A failure does not stop the others.
    pub fn remove(&mut self, items: &[Item]) -> Vec<Result<(), Cause>> {
        let mut results = Vec::with_capacity(items.len());
        for run in items.chunk_by(go_together) {
            match run.first() {
                Some(Item::Server(_)) => results.extend(self.remove_servers(run)),
                Some(Item::Address(_)) => results.extend(self.remove_addresses(run)),
                _ => results.extend(run.iter().map(|item| self.remove_piece(item))),
            }
        }
        results
    }
}

impl Cleanup {
    /// Returns the addresses on the dummy device.
    fn look_at_device(&mut self, found: &mut Found) -> BTreeSet<IpAddr> {
        let looked = self.links.as_mut().map_or(Ok(None), |links| {
            let Some(index) = links.index().map_err(Cause::new)? else { return Ok(None) };
            if let Some(kind) = links.other_kind().map_err(Cause::new)? {
                let name = link::DEVICE;
                return Err(Cause::new(format!(
                    "the device of this name is no dummy device but a {kind}: it is left as it is, with its \
                     addresses; remove it with `ip link del {name}` if nothing else needs it"
                )));
            }
            Ok(Some((index, links.addresses(index).map_err(Cause::new)?)))
        });
        let Some((index, addresses)) = noted(&mut found.troubles, link::DEVICE, looked).flatten()
        else {
            return BTreeSet::new();
        };
        self.device = Some(index);
        found.items.extend(addresses.iter().copied().map(Item::Address));
        found.items.push(Item::Device(index));
        addresses
    }

    fn look_at_servers(&mut self, device: &BTreeSet<IpAddr>, exclude: &[Net], found: &mut Found) {
        let keys = self.servers.as_mut().map_or(Ok(BTreeMap::new()), Servers::keys);
        let keys = noted(&mut found.troubles, "virtual servers", keys).unwrap_or_default();
        if keys.is_empty() {
            return;
        }
        let node = noted(&mut found.troubles, "addresses", self.node_addresses());
        let sets = self.read_sets(&mut found.troubles);
        let evidence =
            OwnershipEvidence { device, sets: &sets, node: &node.unwrap_or_default(), exclude };
        for (key, flags) in keys {
            match evidence.is_our_server(&key, flags) {
                true => found.items.push(Item::Server(key)),
                false => found.others.push(key),
            }
        }
    }

    /// Returns the addresses on all devices but the dummy device.
    fn node_addresses(&self) -> Result<BTreeSet<IpAddr>, Cause> {
        let mut addresses = BTreeSet::new();
        let hear = |fact| match fact {
            Fact::Has(address) if Some(address.index) != self.device => {
                addresses.insert(address.local);
            }
            Fact::Has(_) | Fact::Named(..) | Fact::Gone(_) | Fact::Lost(_) => {}
        };
        Interfaces::open().and_then(|here| here.read(hear)).map_err(Cause::new)?;
        Ok(addresses)
    }

    fn read_sets(&mut self, troubles: &mut Vec<String>) -> BTreeMap<SetKey, BTreeSet<Entry>> {
        let mut observed = Observed::default();
        if let Some(sets) = &mut self.sets {
            for family in Family::BOTH {
                noted(troubles, "sets", sets.observe(family, &mut observed));
            }
        }
        observed.sets
    }

    fn look_at_rules(&mut self, family: Family, found: &mut Found) {
        let looked =
            Iptables::probe(family).and_then(|iptables| Ok((iptables.our_tables()?, iptables)));
        // Without these programs this proxy cannot have written rules of this family.
        if let Err(iptables::Error::Start { program, source }) = &looked
            && source.kind() == io::ErrorKind::NotFound
        {
            found.absent.push(format!("{family} rules are not looked at: there is no {program}"));
            return;
        }
        let looked = looked.map_err(Cause::new);
        // Without IPv6 the programs fail, and there are no rules.
        if looked.is_err() && family == Family::V6 && !has_ipv6() {
            return;
        }
        let what = format!("{family} rules");
        let Some((tables, iptables)) = noted(&mut found.troubles, &what, looked) else { return };
        *self.iptables.of_mut(family) = Some(iptables);
        found.items.extend(tables.into_iter().map(|table| Item::Rules(family, table)));
    }

    fn remove_servers(&mut self, items: &[Item]) -> Vec<Result<(), Cause>> {
        let changes: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Server(key) => Some(ServerChange::Remove(*key)),
                _ => None,
            })
            .collect();
        let Some(servers) = &mut self.servers else { return Vec::new() };
        servers.carry_out(changes).into_iter().map(|(_, result)| result).collect()
    }

    fn remove_addresses(&mut self, items: &[Item]) -> Vec<Result<(), Cause>> {
        let changes: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Address(address) => Some(AddressChange::Remove(*address)),
                _ => None,
            })
            .collect();
        let (Some(links), Some(index)) = (&mut self.links, self.device) else { return Vec::new() };
        links.carry_out(index, changes).into_iter().map(|(_, result)| result).collect()
    }

    fn remove_piece(&mut self, item: &Item) -> Result<(), Cause> {
        match item {
            Item::Device(index) => match &mut self.links {
                Some(links) => links.delete(*index).map_err(Cause::new),
                None => Ok(()),
            },
            Item::Rules(family, table) => {
                self.remove_rules(*family, table)?;
                item.kept().map_or(Ok(()), Err)
            }
            Item::Set(name) => {
                self.sets.as_mut().map_or(Ok(()), |sets| sets.destroy(name, &mut self.attempts))
            }
            Item::NftTable(family) => nftables::remove_table(*family),
            Item::Server(_) | Item::Address(_) => Ok(()),
        }
    }

    fn remove_rules(&mut self, family: Family, table: &OurTable) -> Result<(), Cause> {
        if let Some(iptables) = self.iptables.of(family) {
            iptables.remove_our_table(table).map_err(Cause::new)?;
        }
        Ok(())
    }
}

fn go_together(a: &Item, b: &Item) -> bool {
    matches!((a, b), (Item::Server(_), Item::Server(_)) | (Item::Address(_), Item::Address(_)))
}

/// Returns the value, or adds a line about what could not be read to `troubles`.
pub(super) fn noted<T>(
    troubles: &mut Vec<String>,
    what: &str,
    looked: Result<T, Cause>,
) -> Option<T> {
    match looked {
        Ok(value) => Some(value),
        Err(cause) => {
            troubles.push(format!("cannot look at {what}: {cause}"));
            None
        }
    }
}

/// Connects to IPVS; `None` on a kernel without it.
pub(super) fn open_servers() -> Result<Option<Servers>, Cause> {
    match Servers::open() {
        Ok(servers) => Ok(Some(servers)),
        Err(ipvs_netlink::Error::Unsupported) => Ok(None),
        Err(error) => Err(not_opened(error)),
    }
}

/// Connects to ipset; `None` on a kernel without it.
pub(super) fn open_sets() -> Result<Option<Sets>, Cause> {
    match Sets::open() {
        Ok(sets) => Ok(Some(sets)),
        Err(ipset_netlink::Error { reason: Reason::Unsupported, .. }) => Ok(None),
        Err(error) => Err(Cause::new(error)),
    }
}
