//! Decides which objects in the kernel belong to this proxy.
//!
//! Takes an observed key, the settings and the rest of the kernel state. Returns yes or no. Ownership follows
//! from what the object is, so that a restarted proxy owns exactly what the process before it owned. Virtual
//! servers in excluded networks are the exception; for them there is [`Proven`].
//!
//! Sources: spec 3.7, 3.8, 14.2 and Q-52.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::{Family, Net, Protocol};
use crate::plan::{Desired, Entry, ServerFlags, SetKey, SetName, Settings, VirtualServerKey};

use super::observed::Observed;

/// The evidence by which a virtual server counts as this proxy's, in one of two strengths.
#[derive(Clone, Copy, Debug)]
pub enum Ownership<'a> {
    /// A round knows the plan. Every virtual server of an enabled family is this proxy's. In an excluded network,
    /// it must be one of these.
    Planned(&'a Proven),
    /// A cleanup knows no plan. The kernel state has to show that the virtual server is this proxy's.
    Evident(&'a OwnershipEvidence<'a>),
}

/// True if the virtual server with these flags is this proxy's by this evidence.
pub(super) fn is_our_server(
    key: &VirtualServerKey,
    flags: ServerFlags,
    settings: &Settings,
    ownership: Ownership<'_>,
) -> bool {
    let proven = match ownership {
        Ownership::Planned(proven) => proven,
        Ownership::Evident(evidence) => return evidence.is_our_server(key, flags),
    };
    *settings.families.of(key.family())
        && (!is_excluded(key, &settings.exclude_nets) || proven.0.contains(key))
}

/// True if the address is in one of the excluded networks.
pub(super) fn is_excluded(key: &VirtualServerKey, nets: &[Net]) -> bool {
    nets.iter().any(|net| net.contains(&key.address))
}

/// Virtual servers in excluded networks (`ipvs.excludeCIDRs`) that belong to this proxy. This process has
/// planned them, or an entry of its sets named them when the kernel was read, or they have the flag of virtual
/// servers that an earlier process was removing ([`ServerFlags::LEAVING`]). They are removed with their Service.
/// Other virtual servers in these networks stay.
#[derive(Debug, Default)]
pub struct Proven(BTreeSet<VirtualServerKey>);

impl Proven {
    /// Adds those of the keys that are planned.
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

    /// Adds virtual servers that entries of this proxy's sets name, and those that an earlier process was
    /// removing. Forgets those that are neither in the kernel nor planned.
    pub(crate) fn read(
        &mut self,
        found: &Observed,
        node: &BTreeSet<IpAddr>,
        desired: &Desired,
        exclude: &[Net],
    ) {
        let evidence =
            OwnershipEvidence { device: &found.addresses, sets: &found.sets, node, exclude };
        self.forget_gone(None, found, desired);
        let excluded = found.servers.iter().filter(|(key, _)| is_excluded(key, exclude));
        let ours =
            excluded.filter(|(key, found)| evidence.is_our_server(key, found.settings.flags));
        self.0.extend(ours.map(|(key, _)| *key));
    }

    /// Forgets those of the keys that are neither in the kernel nor planned. A virtual server that another
    /// program later creates under such a key is not this proxy's.
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

/// True for every address on the dummy device, except loopback and IPv6 link-local addresses.
pub(super) fn is_our_address(address: &IpAddr, settings: &Settings) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    *settings.families.of(Family::of(*address)) && !special
}

/// Kernel state that shows which virtual servers belong to this proxy when no plan does. Each of them has its
/// frontend or node port in a set, the flag of those that are being removed, or at least its address on the
/// dummy device.
#[derive(Clone, Copy, Debug)]
pub struct OwnershipEvidence<'a> {
    /// Addresses on the dummy device.
    pub device: &'a BTreeSet<IpAddr>,
    /// This proxy's sets with their entries. They are removed after the virtual servers, so that an interrupted
    /// removal can be continued.
    pub sets: &'a BTreeMap<SetKey, BTreeSet<Entry>>,
    /// Addresses on the node's other devices at which this proxy serves node ports, as far as that is known.
    pub node: &'a BTreeSet<IpAddr>,
    /// Networks in which other programs have virtual servers too. There, an address on the dummy device
    /// proves nothing; only an entry with the port or the flag does.
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
    /// True if the virtual server with these flags is known to be this proxy's. If an operator has removed all
    /// evidence by hand, it is false and the virtual server is left alone.
    pub fn is_our_server(&self, key: &VirtualServerKey, flags: ServerFlags) -> bool {
        let is_bound = || !is_excluded(key, self.exclude) && self.is_bound(key);
        let is_leaving = flags.has(ServerFlags::LEAVING);
        is_leaving || self.is_frontend(key) || self.is_node_port(key) || is_bound()
    }

    fn is_bound(&self, key: &VirtualServerKey) -> bool {
        let address = Entry::Address(key.address);
        self.device.contains(&key.address) || self.has(key.family(), SetName::IpvsIps, address)
    }

    fn is_frontend(&self, key: &VirtualServerKey) -> bool {
        let entry = Entry::AddressPort(key.address, key.protocol, key.port);
        FRONTENDS.iter().any(|set| self.has(key.family(), *set, entry))
    }

    /// Entries of TCP and UDP node ports have no address, so that the node must have the address.
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
            assert!(evidence.is_our_server(&ours, ServerFlags(0)), "{ours}");
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
            assert!(!evidence.is_our_server(&others, ServerFlags::MH_PORT), "{others}");
            assert!(evidence.is_our_server(&others, ServerFlags::LEAVING), "{others}");
        }
    }
}
