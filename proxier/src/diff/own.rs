//! Which objects in the kernel are ours to change.
//!
//! Takes an observed key, the settings and what else is in the kernel. Gives yes or no. Ownership of everything but
//! virtual servers in excluded networks follows from what an object is, so that a restart owns exactly what the
//! process before it owned; for those there is [`Proven`].
//!
//! Sources: spec 3.7, 3.8, 14.2 and Q-52.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Family, Net, Protocol};
use crate::plan::{Desired, Entry, SetKey, SetName, Settings, VirtualServerKey};

use super::observed::Observed;

/// Every virtual server of an enabled family is ours. In an excluded network only those are that this proxy is known
/// to have made.
pub(super) fn is_our_server(key: &VirtualServerKey, settings: &Settings, proven: &Proven) -> bool {
    *settings.families.of(key.family())
        && (!is_excluded(key, &settings.exclude_nets) || proven.0.contains(key))
}

fn is_excluded(key: &VirtualServerKey, nets: &[Net]) -> bool {
    nets.iter().any(|net| net.contains(&key.address))
}

/// Virtual servers in excluded networks (`ipvs.excludeCIDRs`) that are ours nevertheless: this process has planned
/// them, or an entry of our sets named them when the kernel was read. They go with their Service; others in the same
/// network stay.
#[derive(Debug, Default)]
pub struct Proven(BTreeSet<VirtualServerKey>);

impl Proven {
    /// Adds those of the given keys that are planned.
    pub(crate) fn plan(
        &mut self,
        keys: &BTreeSet<VirtualServerKey>,
        desired: &Desired,
        settings: &Settings,
    ) {
        if settings.exclude_nets.is_empty() {
            return;
        }
        let ours = keys.iter().filter(|key| is_excluded(key, &settings.exclude_nets));
        self.0.extend(ours.filter(|key| desired.server(key).is_some()));
    }

    /// Adds those that entries of our sets name, and forgets those that are neither in the kernel nor planned. `node`
    /// are the addresses that serve node ports.
    pub(crate) fn read(
        &mut self,
        found: &Observed,
        node: &BTreeSet<IpAddr>,
        desired: &Desired,
        exclude: &[Net],
    ) {
        if exclude.is_empty() {
            return;
        }
        let evidence =
            OwnershipEvidence { device: &found.addresses, sets: &found.sets, node, exclude };
        self.forget_gone(None, found, desired);
        let excluded = found.servers.keys().filter(|key| is_excluded(key, exclude));
        self.0.extend(excluded.filter(|key| evidence.is_our_server(key)));
    }

    /// Forgets those that are neither in the kernel nor planned: another one that somebody makes under such a key is not
    /// ours. `keys` limits the look to virtual servers that may have changed; `None` looks at all.
    pub(crate) fn forget_gone(
        &mut self,
        keys: Option<&BTreeSet<VirtualServerKey>>,
        found: &Observed,
        desired: &Desired,
    ) {
        let has_gone = |key: &VirtualServerKey| {
            !found.servers.contains_key(key) && desired.server(key).is_none()
        };
        match keys {
            Some(keys) => keys.iter().filter(|key| has_gone(key)).for_each(|key| {
                self.0.remove(key);
            }),
            None => self.0.retain(|key| !has_gone(key)),
        }
    }
}

/// Every address on the dummy device is ours, but for loopback and IPv6 link-local ones.
pub(super) fn is_our_address(address: &IpAddr, settings: &Settings) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    *settings.families.of(Family::of(*address)) && !special
}

/// What tells our virtual servers from others' when no plan does: every one of ours has its frontend or node port in a
/// set, or at least its address on the dummy device.
#[derive(Clone, Copy, Debug)]
pub struct OwnershipEvidence<'a> {
    /// Addresses on the dummy device.
    pub device: &'a BTreeSet<IpAddr>,
    /// Sets of ours with their entries. They go last, so that a removal that was interrupted can be
    /// taken up again.
    pub sets: &'a BTreeMap<SetKey, BTreeSet<Entry>>,
    /// Addresses on the node's other devices at which this proxy serves node ports, as far as that is known.
    pub node: &'a BTreeSet<IpAddr>,
    /// In these networks others have virtual servers too: there an address on the dummy device does not tell, only an
    /// entry with the port does.
    pub exclude: &'a [Net],
}

/// Sets whose entries name a frontend.
const FRONTENDS: [SetName; 8] = [
    SetName::ClusterIp,
    SetName::ExternalIp,
    SetName::ExternalIpLocal,
    SetName::LoadBalancer,
    SetName::LoadBalancerLocal,
    SetName::LoadBalancerFw,
    SetName::NodePortSctpHash,
    SetName::NodePortLocalSctpHash,
];

impl OwnershipEvidence<'_> {
    /// True if the virtual server is known to be ours. One that is not may still have been, if what
    /// belonged to it has been taken away by hand; it is left alone.
    pub fn is_our_server(&self, key: &VirtualServerKey) -> bool {
        let is_bound = || !is_excluded(key, self.exclude) && self.is_bound(key);
        self.is_frontend(key) || self.is_node_port(key) || is_bound()
    }

    fn is_bound(&self, key: &VirtualServerKey) -> bool {
        let address = Entry::Address(key.address);
        self.device.contains(&key.address) || self.has(key.family(), SetName::IpvsIps, address)
    }

    fn is_frontend(&self, key: &VirtualServerKey) -> bool {
        let entry = Entry::AddressPort(key.address, key.protocol, key.port);
        FRONTENDS.iter().any(|set| self.has(key.family(), *set, entry))
    }

    /// The entries of TCP and UDP say nothing of addresses: the node must have it.
    fn is_node_port(&self, key: &VirtualServerKey) -> bool {
        let set = match key.protocol {
            Protocol::Tcp => SetName::NodePortTcp,
            Protocol::Udp => SetName::NodePortUdp,
            Protocol::Sctp => return false,
        };
        let has_port = self.has(key.family(), set, Entry::Port(key.port));
        has_port && self.node.contains(&key.address)
    }

    fn has(&self, family: Family, name: SetName, entry: Entry) -> bool {
        let set = self.sets.get(&SetKey { family, name });
        set.is_some_and(|entries| entries.contains(&entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: Protocol, address: &str, port: u16) -> VirtualServerKey {
        VirtualServerKey { protocol, address: address.parse().unwrap(), port }
    }

    fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_virtual_server_is_ours_by_its_address_or_its_entries_and_else_by_nothing() {
        let (v4, v6) = (Family::V4, Family::V6);
        let entry = |family, name, entry| (SetKey { family, name }, BTreeSet::from([entry]));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let sets = BTreeMap::from([
            entry(v4, SetName::NodePortTcp, Entry::Port(30080)),
            entry(v6, SetName::NodePortUdp, Entry::Port(30053)),
            entry(v6, SetName::IpvsIps, Entry::Address(ip("fd00::9"))),
            entry(
                v4,
                SetName::ExternalIp,
                Entry::AddressPort(ip("192.0.2.11"), Protocol::Tcp, 443),
            ),
        ]);
        let (device, node) =
            (addresses(&["10.96.0.1", "10.99.0.1"]), addresses(&["192.0.2.11", "2001:db8::11"]));
        let exclude = ["10.99.0.0/16".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
        let evidence =
            OwnershipEvidence { device: &device, sets: &sets, node: &node, exclude: &exclude };
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        for ours in [
            key(tcp, "10.96.0.1", 80),
            key(tcp, "192.0.2.11", 30080),
            key(tcp, "192.0.2.11", 443),
            key(udp, "2001:db8::11", 30053),
            key(udp, "fd00::9", 53),
        ] {
            assert!(evidence.is_our_server(&ours), "{ours}");
        }
        for others in [
            key(tcp, "10.99.0.1", 80),
            key(tcp, "10.96.0.2", 80),
            key(udp, "192.0.2.11", 30080),
            key(udp, "192.0.2.11", 443),
            key(tcp, "192.0.2.12", 30080),
            key(udp, "192.0.2.11", 30053),
            key(tcp, "2001:db8::11", 30080),
        ] {
            assert!(!evidence.is_our_server(&others), "{others}");
        }
    }
}
