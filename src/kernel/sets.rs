//! IP sets, through `ipset-netlink`.
//!
//! Takes sets to create and entries to add and remove. Returns a result for each, from one packed exchange
//! for each set. Reads the entries of this proxy's sets. Does not look at other sets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipset_netlink::{Error, Ipset, Network, Reason, Repeat, SetSpec, SetType};
use proxier::apply::{Answered, Cause};
use proxier::diff::{Observed, SetChange};
use proxier::model::{Family, Protocol};
use proxier::plan::{Entry, SetKey, SetKind, SetName, UnplannedEntry, UnplannedSource};

use super::cause::cause;

/// A connection to ipset.
pub(super) struct Sets {
    ipset: Ipset,
}

/// The name of a bigger set that is being filled to replace another one.
const GROWING: &str = "KUBE-IPVS-PROXY-GROWING";

/// The name of a set that is created to test what the kernel supports.
pub(super) const PROBE: &str = "KUBE-IPVS-PROXY-PROBE";

/// The pause before a set that is in use is tried again.
const IN_USE_PAUSE: Duration = Duration::from_millis(50);

/// The most retries for a set that is in use.
const ATTEMPTS: u32 = 40;

impl Sets {
    /// Connects to ipset.
    ///
    /// # Errors
    /// Fails if the kernel has no ipset or the process may not use it.
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { ipset: Ipset::open()? })
    }

    pub(super) fn observe(&mut self, family: Family, found: &mut Observed) -> Result<(), Cause> {
        for key in SetName::ALL.map(|name| SetKey { family, name }) {
            let spec = spec(key).map_err(cause)?;
            match self.ipset.list(&spec.name) {
                Ok(set) if serves_as(&set.header, &spec) => {
                    let entries = set.entries.iter().filter_map(core_entry).collect();
                    found.sets.insert(key, entries);
                    let room = set.header.max_elements.map(|room| (key, room));
                    found.capacities.extend(room);
                }
                // A set of another type counts as absent; creating the right one will show the problem.
                Ok(_) | Err(Error { reason: Reason::NoSuchSet, .. }) => {}
                Err(error) => return Err(cause(error)),
            }
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, changes: Vec<SetChange>) -> Vec<Answered<SetChange>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut attempts = ATTEMPTS;
        for run in changes.chunk_by(go_together) {
            match run.first() {
                Some(SetChange::AddEntry(key, _) | SetChange::RemoveEntry(key, _)) => {
                    results.extend(self.edit(*key, run));
                }
                Some(SetChange::Create(key)) => results.push(self.create(*key)),
                Some(SetChange::Grow(key, capacity)) => results.push(self.grow(*key, *capacity)),
                Some(SetChange::Destroy(name)) => results.push(self.destroy(name, &mut attempts)),
                None => {}
            }
        }
        changes.into_iter().zip(results).collect()
    }

    /// Creates a set. Destroys a set of this name and another type first, which fails if it is in use.
    fn create(&mut self, key: SetKey) -> Result<(), Cause> {
        let spec = spec(key).map_err(cause)?;
        match self.ipset.create(&spec, Repeat::Accept) {
            Err(Error { reason: Reason::SetExists, .. }) => self.replace(&spec),
            result => result.map_err(cause),
        }
    }

    /// While rules refer to a set it cannot be destroyed, but an empty one of the same type can take its place
    /// (`ip_set_swap`).
    fn replace(&mut self, spec: &SetSpec) -> Result<(), Cause> {
        match self.ipset.destroy(&spec.name) {
            Ok(()) => self.ipset.create(spec, Repeat::Accept).map_err(cause),
            Err(Error { reason: Reason::InUse, .. }) => {
                self.destroy(GROWING, &mut { ATTEMPTS })?;
                let name = GROWING.parse().map_err(cause)?;
                let empty = SetSpec { name, ..spec.clone() };
                self.ipset.create(&empty, Repeat::Refuse).map_err(cause)?;
                let swapped = self.swap(&spec.name, &name).map_err(|cause| {
                    let words = "rules refer to a set of this name but of another type";
                    Cause::of(cause.kind(), format!("{words}: {cause}"))
                });
                let destroyed = self.destroy(GROWING, &mut { ATTEMPTS });
                swapped.and(destroyed)
            }
            Err(error) => Err(cause(error)),
        }
    }

    /// Destroys a set that a killed process was filling.
    pub(super) fn forget_unfinished(&mut self) -> Result<(), Cause> {
        self.destroy(GROWING, &mut { ATTEMPTS })
    }

    /// True unless the kernel says that it has no sets of this type.
    pub(super) fn has_type(&mut self, kind: SetKind, family: Family) -> bool {
        let made = self.make_probe(kind, family);
        if let Err(cause) = self.destroy_probe() {
            tracing::debug!("could not remove the probe set: {cause}");
        }
        !matches!(made, Err(Error { reason: Reason::UnknownType, .. }))
    }

    /// Creates an empty set of this type, under a name that no other set of this proxy has.
    pub(super) fn make_probe(&mut self, kind: SetKind, family: Family) -> Result<(), Error> {
        let Ok(name) = PROBE.parse() else { return Ok(()) };
        let spec = SetSpec::new(name, their_type(kind), their_family(family));
        self.ipset.create(&spec, Repeat::Accept)
    }

    /// True if the probe set is there, as far as the sets can be listed.
    pub(super) fn has_probe(&mut self) -> bool {
        self.names().is_ok_and(|names| names.contains(PROBE))
    }

    pub(super) fn destroy_probe(&mut self) -> Result<(), Cause> {
        self.destroy(PROBE, &mut { ATTEMPTS })
    }

    /// The names of this proxy's sets that exist, whatever their type.
    pub(super) fn names(&mut self) -> Result<BTreeSet<&'static str>, Cause> {
        let found = self.ipset.names().map_err(cause)?;
        let found: BTreeSet<_> = found.iter().map(ToString::to_string).collect();
        let planned = Family::BOTH.into_iter();
        let planned = planned.flat_map(|family| SetName::ALL.map(|name| name.kernel_name(family)));
        Ok(planned.chain([GROWING, PROBE]).filter(|name| found.contains(*name)).collect())
    }

    /// Destroys a set. The kernel releases the sets of deleted rules a moment later, so that a set in use is
    /// tried again. `attempts` is the number of retries left for all sets together.
    fn destroy(&mut self, name: &str, attempts: &mut u32) -> Result<(), Cause> {
        let name = name.parse().map_err(cause)?;
        loop {
            match self.ipset.destroy(&name) {
                Ok(()) | Err(Error { reason: Reason::NoSuchSet, .. }) => return Ok(()),
                Err(Error { reason: Reason::InUse, .. }) if *attempts > 0 => *attempts -= 1,
                Err(Error { reason: Reason::InUse, .. }) => {
                    return Err(Cause::new("rules or sets of others refer to it"));
                }
                Err(error) => return Err(cause(error)),
            }
            std::thread::sleep(IN_USE_PAUSE);
        }
    }

    /// Fills a bigger set and swaps it with the one in use. Rules refer to the set by name and find its
    /// entries at every moment.
    fn grow(&mut self, key: SetKey, capacity: u32) -> Result<(), Cause> {
        let spec = spec(key).map_err(cause)?;
        let name = GROWING.parse().map_err(cause)?;
        let bigger = SetSpec { name, max_elements: capacity, ..spec.clone() };
        self.destroy(GROWING, &mut { ATTEMPTS })?;
        self.ipset.create(&bigger, Repeat::Refuse).map_err(cause)?;
        let grown = self.fill_and_swap(&spec, &bigger);
        // After the swap this is the old set; before it, the bigger set is of no use.
        let destroyed = self.destroy(GROWING, &mut { ATTEMPTS });
        grown.and(destroyed)
    }

    fn fill_and_swap(&mut self, spec: &SetSpec, bigger: &SetSpec) -> Result<(), Cause> {
        let entries = self.ipset.list(&spec.name).map_err(cause)?.entries;
        let refused = self.ipset.add(&bigger.name, &entries, Repeat::Accept).map_err(cause)?;
        if let Some(refused) = refused.first() {
            return Err(cause(refused));
        }
        self.swap(&spec.name, &bigger.name)
    }

    /// Swaps two sets. The kernel refuses while anyone lists one of them (`ip_set_swap`: `EBUSY`), such as an
    /// audit or an operator. A listing does not take long.
    fn swap(
        &mut self,
        one: &ipset_netlink::SetName,
        other: &ipset_netlink::SetName,
    ) -> Result<(), Cause> {
        for _ in 0..ATTEMPTS {
            match self.ipset.swap(one, other) {
                Err(Error { reason: Reason::InUse, .. }) => std::thread::sleep(IN_USE_PAUSE),
                result => return result.map_err(cause),
            }
        }
        self.ipset.swap(one, other).map_err(cause)
    }

    /// Adds or removes entries, as the first of these changes says.
    fn edit(&mut self, key: SetKey, changes: &[SetChange]) -> Vec<Result<(), Cause>> {
        let entries: Vec<_> = changes.iter().filter_map(entry).map(their_entry).collect();
        let spec = match spec(key) {
            Ok(spec) => spec,
            Err(error) => return vec![Err(cause(error)); changes.len()],
        };
        let refused = match changes.first() {
            Some(SetChange::RemoveEntry(..)) => {
                self.ipset.delete(&spec.name, &entries, Repeat::Accept)
            }
            _ => self.ipset.add(&spec.name, &entries, Repeat::Accept),
        };
        match refused {
            Ok(refused) => {
                let refused: BTreeMap<_, _> =
                    refused.iter().map(|refused| (refused.entry, &refused.reason)).collect();
                let result = |entry| refused.get(entry).map_or(Ok(()), |why| Err(cause(*why)));
                entries.iter().map(result).collect()
            }
            Err(error) => vec![Err(cause(error)); entries.len()],
        }
    }
}

/// True for additions or removals of entries of one set, which one exchange can carry.
fn go_together(a: &SetChange, b: &SetChange) -> bool {
    match (a, b) {
        (SetChange::AddEntry(a, _), SetChange::AddEntry(b, _))
        | (SetChange::RemoveEntry(a, _), SetChange::RemoveEntry(b, _)) => a == b,
        _ => false,
    }
}

fn entry(change: &SetChange) -> Option<&Entry> {
    match change {
        SetChange::AddEntry(_, entry) | SetChange::RemoveEntry(_, entry) => Some(entry),
        _ => None,
    }
}

fn spec(key: SetKey) -> Result<SetSpec, ipset_netlink::InvalidName> {
    let (kind, family) = (their_type(key.name.kind()), their_family(key.family));
    Ok(SetSpec::new(key.name.kernel_name(key.family).parse()?, kind, family))
}

fn their_type(kind: SetKind) -> SetType {
    match kind {
        SetKind::HashIp => SetType::HashIp,
        SetKind::HashIpPort => SetType::HashIpPort,
        SetKind::HashIpPortIp => SetType::HashIpPortIp,
        SetKind::HashIpPortNet => SetType::HashIpPortNet,
        SetKind::BitmapPort => SetType::BitmapPort,
    }
}

fn their_family(family: Family) -> ipset_netlink::Family {
    match family {
        Family::V4 => ipset_netlink::Family::Inet,
        Family::V6 => ipset_netlink::Family::Inet6,
    }
}

/// True if the set has the right type and family and its entries do not expire. Its capacity does not matter:
/// replacing a set in use is worse than a limit that may never be reached.
fn serves_as(found: &ipset_netlink::Header, wanted: &SetSpec) -> bool {
    let spec = SetSpec {
        max_elements: found.max_elements.unwrap_or(wanted.max_elements),
        ..wanted.clone()
    };
    spec.matches(found) && found.timeout.is_none()
}

fn their_entry(entry: &Entry) -> ipset_netlink::Entry {
    use ipset_netlink::Entry as Theirs;
    match *entry {
        Entry::Address(ip) => Theirs::Ip(ip),
        Entry::AddressPort(ip, protocol, port) => {
            Theirs::IpPort { ip, protocol: their_protocol(protocol), port }
        }
        Entry::AddressPortAddress(ip, protocol, port, ip2) => {
            Theirs::IpPortIp { ip, protocol: their_protocol(protocol), port, ip2 }
        }
        Entry::AddressPortNet(ip, protocol, port, net) => Theirs::IpPortNet {
            ip,
            protocol: their_protocol(protocol),
            port,
            net: Network::from(net),
        },
        Entry::Port(port) => Theirs::Port(port),
        Entry::Unplanned(entry) => their_unplanned_entry(entry),
    }
}

fn their_unplanned_entry(entry: UnplannedEntry) -> ipset_netlink::Entry {
    use ipset_netlink::Entry as Theirs;
    let UnplannedEntry { address: ip, protocol, port, source } = entry;
    let protocol = ipset_netlink::Protocol(protocol);
    match source {
        UnplannedSource::Any => Theirs::IpPort { ip, protocol, port },
        UnplannedSource::Address(ip2) => Theirs::IpPortIp { ip, protocol, port, ip2 },
        UnplannedSource::Net(net) => {
            Theirs::IpPortNet { ip, protocol, port, net: Network::from(net) }
        }
        UnplannedSource::Exception(net) => {
            Theirs::IpPortNetNomatch { ip, protocol, port, net: Network::from(net) }
        }
    }
}

/// Converts an entry; `None` if its type is none that this proxy's sets have.
fn core_entry(entry: &ipset_netlink::Entry) -> Option<Entry> {
    use ipset_netlink::Entry as Theirs;
    let unplanned = |address, protocol: ipset_netlink::Protocol, port, source| {
        Entry::Unplanned(UnplannedEntry { address, protocol: protocol.0, port, source })
    };
    Some(match *entry {
        Theirs::Ip(ip) => Entry::Address(ip),
        Theirs::IpPort { ip, protocol, port } => match core_protocol(protocol) {
            Some(protocol) => Entry::AddressPort(ip, protocol, port),
            None => unplanned(ip, protocol, port, UnplannedSource::Any),
        },
        Theirs::IpPortIp { ip, protocol, port, ip2 } => match core_protocol(protocol) {
            Some(protocol) => Entry::AddressPortAddress(ip, protocol, port, ip2),
            None => unplanned(ip, protocol, port, UnplannedSource::Address(ip2)),
        },
        Theirs::IpPortNet { ip, protocol, port, net } => match core_protocol(protocol) {
            Some(protocol) => Entry::AddressPortNet(ip, protocol, port, net.into()),
            None => unplanned(ip, protocol, port, UnplannedSource::Net(net.into())),
        },
        Theirs::IpPortNetNomatch { ip, protocol, port, net } => {
            unplanned(ip, protocol, port, UnplannedSource::Exception(net.into()))
        }
        Theirs::Port(port) => Entry::Port(port),
        _ => return None,
    })
}

fn their_protocol(protocol: Protocol) -> ipset_netlink::Protocol {
    ipset_netlink::Protocol(protocol.number())
}

fn core_protocol(protocol: ipset_netlink::Protocol) -> Option<Protocol> {
    Protocol::of_number(protocol.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of every type as the kernel may hold them, with protocols that Services have and others.
    const ELEMENTS: [(SetType, &str); 13] = [
        (SetType::HashIp, "10.96.0.1"),
        (SetType::HashIpPort, "10.96.0.1,tcp:80"),
        (SetType::HashIpPort, "10.96.0.1,udplite:53"),
        (SetType::HashIpPort, "10.96.0.1,1:2048"),
        (SetType::HashIpPort, "10.96.0.1,47:0"),
        (SetType::HashIpPortIp, "10.244.1.5,sctp:8080,10.244.1.5"),
        (SetType::HashIpPortIp, "fd00::5,58:32768,fd00::6"),
        (SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.0/24"),
        (SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.9 nomatch"),
        (SetType::HashIpPortNet, "203.0.113.7,47:0,198.51.100.0/24"),
        (SetType::HashIpPortNet, "fd00::1,udplite:80,fd00:1::/64 nomatch"),
        (SetType::HashIpPortNet, "fd00::1,udp:80,fd00:1::/64 nomatch"),
        (SetType::BitmapPort, "30080"),
    ];

    #[test]
    fn every_element_of_a_set_is_observed_and_can_be_removed() {
        for (kind, text) in ELEMENTS {
            let element = ipset_netlink::Entry::parse(kind, text).unwrap();
            let entry = core_entry(&element).unwrap_or_else(|| panic!("{text} is not observed"));
            assert_eq!(their_entry(&entry), element);
            assert_eq!(entry.to_string(), text.replace("udplite", "136"));
        }
    }
}
