//! This node as plans see it.
//!
//! Takes the Node object, the interface addresses and the settings. Gives the node's name and zone, its
//! address in each family, the addresses of its interfaces, and those that serve node ports. Contains nothing
//! about Services: it is computed once for all plans of a round.
//!
//! Sources: spec 3.8, 7.1, 7.2.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::health::HealthCheckAddresses;
use super::settings::{Compatibility, NodePortAddresses, Settings};
use crate::model::{Endpoint, Family, InterfaceAddress, Net, Node, PerFamily};

/// The node that plans are made for.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode<'a> {
    /// This node's name; empty if unknown, and then no endpoint is local.
    pub(crate) node: &'a str,
    /// This node's zone.
    pub(crate) zone: Option<&'a str>,
    addresses: PerFamily<BTreeSet<IpAddr>>,
    /// The addresses by which the node itself is reached.
    own: BTreeSet<IpAddr>,
    node_ports: PerFamily<BTreeSet<IpAddr>>,
    ip: PerFamily<IpAddr>,
}

impl<'a> LocalNode<'a> {
    /// Computes the node's addresses from the Node object, the interfaces and the settings.
    pub(crate) fn new(
        node: Option<&'a Node>,
        interfaces: &[InterfaceAddress],
        settings: &'a Settings,
    ) -> Self {
        let known = known_ips(node, settings);
        let of_family = |family| {
            let addresses = interfaces.iter().map(|found| found.address.addr());
            addresses.filter(|ip| Family::of(*ip) == family && is_reachable(*ip)).collect()
        };
        let addresses: PerFamily<BTreeSet<IpAddr>> = PerFamily::from_fn(of_family);
        let node_ports = PerFamily::from_fn(|family| {
            let mut served = addresses.of(family).clone();
            if let Selection::In(nets) = selection(family, &known, settings) {
                served.retain(|ip| nets.iter().any(|net| net.contains(ip)));
            }
            served
        });
        let ip = PerFamily::from_fn(|family| known.of(family).unwrap_or(loopback(family)));
        let said: &[IpAddr] = node.map_or(&[], |node| &node.addresses);
        let is_own = |found: &&InterfaceAddress| {
            let ip = found.address.addr();
            let is_networks = found.address.prefix_len() < Family::of(ip).host_prefix();
            is_networks || said.contains(&ip) || settings.bind_address == Some(ip)
        };
        let own = interfaces.iter().filter(is_own).map(|found| found.address.addr()).collect();
        Self {
            node: &settings.node_name,
            zone: node.and_then(|node| node.zone.as_deref()),
            addresses,
            own,
            node_ports,
            ip,
        }
    }

    /// True if the endpoint runs on this node.
    pub(crate) fn is_local(&self, endpoint: &Endpoint) -> bool {
        !self.node.is_empty() && endpoint.node.as_deref() == Some(self.node)
    }

    /// True if the node itself is reached by the address. An interface has it with the prefix of a network,
    /// or the Node object or the configuration names it. False for an address that an interface has as a
    /// single host. A service address is like that on devices of node-local DNS or of another proxy.
    pub(crate) fn is_nodes_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// True if an interface of the node has the address. An external or load-balancer address that an
    /// interface has is not put on the dummy device as well.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.of(Family::of(address)).contains(&address)
    }

    /// Returns the addresses that serve node ports. Loopback, IPv6 link-local and service addresses never do.
    ///
    /// `Departs:` upstream also programs node ports at service addresses and IPv6 link-local addresses, if a
    /// network of `nodePortAddresses` covers them.
    pub(crate) fn node_port_addresses(&self, family: Family) -> &BTreeSet<IpAddr> {
        self.node_ports.of(family)
    }

    /// Returns the node's own address; a loopback address while it is unknown.
    pub(crate) fn ip(&self, family: Family) -> IpAddr {
        *self.ip.of(family)
    }
}

/// Returns the addresses on which health checks of a family are answered: every address, or those that serve
/// node ports. The latter include loopback addresses here (spec 10.2).
pub(crate) fn health_check_addresses(
    family: Family,
    node: Option<&Node>,
    interfaces: &[InterfaceAddress],
    settings: &Settings,
) -> HealthCheckAddresses {
    match selection(family, &known_ips(node, settings), settings) {
        Selection::Every => HealthCheckAddresses::Every,
        Selection::In(nets) => HealthCheckAddresses::These(
            interfaces
                .iter()
                .map(|found| found.address.addr())
                .filter(|ip| Family::of(*ip) == family && nets.iter().any(|net| net.contains(ip)))
                .collect(),
        ),
    }
}

/// The addresses of a family that `nodePortAddresses` selects.
enum Selection {
    Every,
    In(Vec<Net>),
}

/// Evaluates `nodePortAddresses` for one family. A family without a network selects every address, and so
/// does a network of length 0.
fn selection(family: Family, known: &PerFamily<Option<IpAddr>>, settings: &Settings) -> Selection {
    let nets: Vec<Net> = match &settings.node_ports {
        NodePortAddresses::In(nets) => {
            nets.iter().filter(|net| Family::of_net(net) == family).copied().collect()
        }
        NodePortAddresses::Primary => {
            let own = known.of(family).filter(|ip| !ip.is_loopback());
            // `Quirk:` without an address of the family `primary` means every address.
            if own.is_none() && settings.policy == Compatibility::Strict {
                return Selection::In(Vec::new());
            }
            own.map(Net::from).into_iter().collect()
        }
    };
    if nets.is_empty() || nets.iter().any(|net| net.prefix_len() == 0) {
        return Selection::Every;
    }
    Selection::In(nets)
}

/// Returns the address to bind to in each family, or the Node object's first address of that family.
fn known_ips(node: Option<&Node>, settings: &Settings) -> PerFamily<Option<IpAddr>> {
    PerFamily::from_fn(|family| {
        let bound = settings.bind_address.filter(|ip| Family::of(*ip) == family);
        let said = node.into_iter().flat_map(|node| &node.addresses);
        bound.or_else(|| said.copied().find(|ip| Family::of(*ip) == family))
    })
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// True for addresses at which other hosts can reach the node: neither loopback nor IPv6 link-local.
fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
