//! The addresses at which one Service port is served, and under which rules.
//!
//! In: a port of a Service with its endpoints, this node, the settings. Out: a [`Frontend`] for
//! each address: its virtual server, whether the address is ours to make local, and the set entries
//! that say how its packets are treated. Never: other ports, other Services.
//!
//! Sources: spec 2.4, 3.3, 4.3–4.7.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::backend::Candidates;
use super::local_node::LocalNode;
use super::server::{ServerSettings, VirtualServer, VirtualServerKey};
use super::set::{Entry, SetKey, SetName};
use super::settings::{Compatibility, Settings};
use crate::model::{
    Completeness, Family, Net, Protocol, Service, ServicePort, SourceRanges, TrafficPolicy,
};
use crate::sorted::SortedSet;

/// One address, protocol and port at which a Service is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// What IPVS does there.
    pub server: VirtualServer,
    /// Whether the address has to be made local by the dummy device.
    pub binding: Binding,
    /// Set entries it needs; one that others need too is counted, not repeated.
    pub entries: SortedSet<(SetKey, Entry)>,
    /// Whether this node itself may connect to it.
    pub node_access: NodeAccess,
}

/// Whether an address is put on the dummy device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// The node has it anyway.
    Present,
    /// It goes on the dummy device.
    Dummy,
}

/// Whether the node itself may connect to a load balancer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAccess {
    /// It may.
    Admitted,
    /// The source ranges leave it out: a rule of its own keeps it away, since what the node sends
    /// to its own addresses passes no other one.
    Refused,
}

/// A frontend in the making.
pub(super) struct Draft {
    server: VirtualServer,
    binding: Binding,
    entries: Vec<(SetKey, Entry)>,
    node_access: NodeAccess,
    /// Whether nothing could keep out whom it does not admit, so that it must not be served.
    is_unguarded: bool,
}

impl Draft {
    /// Joins another one of the same Service at the same address, protocol and port: an external IP
    /// that equals a load balancer's, say. Its endpoints are the later one's (spec 8.4).
    pub(super) fn merge(&mut self, later: Self) {
        self.server = later.server;
        self.binding = self.binding.max(later.binding);
        self.entries.extend(later.entries);
        if later.node_access == NodeAccess::Refused {
            self.node_access = later.node_access;
        }
        self.is_unguarded |= later.is_unguarded;
    }
}

/// A port of a Service in one family, with what its frontends have in common.
pub(super) struct Port<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    here: &'a LocalNode<'a>,
    settings: &'a Settings,
    server: ServerSettings,
    internal: SortedSet<SocketAddr>,
    external: SortedSet<SocketAddr>,
}

impl<'a> Port<'a> {
    pub(super) fn new(
        service: &'a Service,
        port: &'a ServicePort,
        candidates: &Candidates<'_>,
        here: &'a LocalNode<'a>,
        settings: &'a Settings,
    ) -> Self {
        Self {
            service,
            port,
            family: candidates.family(),
            here,
            settings,
            server: ServerSettings::new(&settings.scheduler, service.affinity),
            internal: candidates.internal(service, port, here, settings.policy),
            external: candidates.external(service, port, here),
        }
    }

    /// Every frontend, in the order in which upstream programs them.
    pub(super) fn frontends(&self, cluster_ip: IpAddr) -> Vec<(VirtualServerKey, Draft)> {
        let mut all = vec![self.cluster_ip(cluster_ip)];
        let of_family = |ip: &&IpAddr| Family::of(**ip) == self.family;
        if self.settings.external_ips {
            let ips = self.service.external_ips.iter().filter(of_family);
            all.extend(ips.map(|ip| self.external_ip(*ip)));
        }
        let ips = self.service.load_balancer_ips.iter().filter(of_family);
        all.extend(ips.map(|ip| self.load_balancer_ip(*ip)));
        if let Some(number) = self.port.node_port {
            let ips = self.here.node_port_addresses(self.family);
            all.extend(ips.iter().map(|ip| self.node_port(*ip, number)));
        }
        all
    }

    /// A cluster IP is on the dummy device also where another device has it (spec 3.3).
    ///
    /// `Departs:` upstream does so with an address of the node itself too, where the guard of the host's own ports
    /// then shuts out everything else at that address.
    fn cluster_ip(&self, address: IpAddr) -> (VirtualServerKey, Draft) {
        let mut frontend = self.frontend(&self.internal);
        frontend.add(self.set(SetName::ClusterIp), self.entry(address));
        if !self.here.is_nodes_own(address) {
            frontend.bind(address);
        }
        (self.key(address, self.port.port), frontend)
    }

    fn external_ip(&self, address: IpAddr) -> (VirtualServerKey, Draft) {
        let mut frontend = self.frontend(&self.external);
        let set = match self.service.external_policy {
            TrafficPolicy::Cluster => SetName::ExternalIp,
            TrafficPolicy::Local => SetName::ExternalIpLocal,
        };
        frontend.add(self.set(set), self.entry(address));
        self.bind_unless_present(address, &mut frontend);
        (self.key(address, self.port.port), frontend)
    }

    fn load_balancer_ip(&self, address: IpAddr) -> (VirtualServerKey, Draft) {
        let mut frontend = self.frontend(&self.external);
        frontend.add(self.set(SetName::LoadBalancer), self.entry(address));
        if self.service.external_policy == TrafficPolicy::Local {
            frontend.add(self.set(SetName::LoadBalancerLocal), self.entry(address));
        }
        if let Admission::Only(nets) = self.admission() {
            self.restrict(address, &nets, &mut frontend);
        }
        self.bind_unless_present(address, &mut frontend);
        (self.key(address, self.port.port), frontend)
    }

    fn node_port(&self, address: IpAddr, number: u16) -> (VirtualServerKey, Draft) {
        let mut frontend = self.frontend(&self.external);
        let (cluster, local) = match self.port.protocol {
            Protocol::Tcp => (SetName::NodePortTcp, SetName::NodePortLocalTcp),
            Protocol::Udp => (SetName::NodePortUdp, SetName::NodePortLocalUdp),
            Protocol::Sctp => (SetName::NodePortSctpHash, SetName::NodePortLocalSctpHash),
        };
        // `Quirk:` the bitmaps of TCP and UDP know no address.
        let entry = match self.port.protocol {
            Protocol::Tcp | Protocol::Udp => Entry::Port(number),
            Protocol::Sctp => Entry::AddressPort(address, Protocol::Sctp, number),
        };
        frontend.add(self.set(cluster), entry);
        if self.service.external_policy == TrafficPolicy::Local {
            frontend.add(self.set(local), entry);
        }
        (self.key(address, number), frontend)
    }

    /// Lets only these networks in, and the node if it is in one of them.
    fn restrict(&self, address: IpAddr, nets: &BTreeSet<Net>, frontend: &mut Draft) {
        frontend.is_unguarded = !self.settings.can_guard(self.family);
        let (protocol, port) = (self.port.protocol, self.port.port);
        frontend.add(self.set(SetName::LoadBalancerFw), self.entry(address));
        for net in nets {
            let entry = Entry::AddressPortNet(address, protocol, port, *net);
            frontend.add(self.set(SetName::LoadBalancerSourceCidr), entry);
        }
        let node = self.here.ip(self.family);
        if nets.iter().any(|net| net.contains(&node)) {
            // What the node sends to the address comes from the address itself.
            let entry = Entry::AddressPortAddress(address, protocol, port, address);
            frontend.add(self.set(SetName::LoadBalancerSourceIp), entry);
        } else {
            frontend.node_access = NodeAccess::Refused;
        }
    }

    /// Who may connect to the load balancer's addresses.
    ///
    /// `Quirk:` a Service that has ranges of the other family only is open in this one.
    ///
    /// `Departs:` where a range could not be read, upstream is open if no other one is left. Here nobody is
    /// admitted then: whoever wrote a list meant to keep somebody out.
    fn admission(&self) -> Admission {
        let (nets, completeness) = match &self.service.source_ranges {
            SourceRanges::Unrestricted => return Admission::Everyone,
            SourceRanges::Listed { nets, completeness } => (nets, *completeness),
        };
        let of_family = |net: &&Net| Family::of_net(net) == self.family;
        let nets: BTreeSet<Net> = nets.iter().filter(of_family).map(Net::trunc).collect();
        let is_open = nets.iter().any(|net| net.prefix_len() == 0);
        let is_other_familys_alone = nets.is_empty() && completeness == Completeness::Complete;
        match (is_other_familys_alone, self.settings.policy) {
            _ if is_open => Admission::Everyone,
            (true, Compatibility::AsUpstream) => Admission::Everyone,
            (true, Compatibility::Strict) | (false, _) => Admission::Only(nets),
        }
    }

    fn bind_unless_present(&self, address: IpAddr, frontend: &mut Draft) {
        if !self.here.has_address(address) {
            frontend.bind(address);
        }
    }

    fn frontend(&self, destinations: &SortedSet<SocketAddr>) -> Draft {
        Draft {
            server: VirtualServer {
                settings: self.server.clone(),
                destinations: destinations.clone(),
            },
            binding: Binding::Present,
            entries: Vec::new(),
            node_access: NodeAccess::Admitted,
            is_unguarded: false,
        }
    }

    fn key(&self, address: IpAddr, port: u16) -> VirtualServerKey {
        VirtualServerKey { protocol: self.port.protocol, address, port }
    }

    fn entry(&self, address: IpAddr) -> Entry {
        Entry::AddressPort(address, self.port.protocol, self.port.port)
    }

    fn set(&self, name: SetName) -> SetKey {
        SetKey { family: self.family, name }
    }
}

impl Draft {
    /// Entries of sets that cannot be made are left out. What must not be served has no endpoints: whoever
    /// connects is refused, and no younger Service gets the address in its place.
    pub(super) fn finish(self, settings: &Settings) -> Frontend {
        let entries = self.entries.into_iter().filter(|(set, _)| settings.has_set(*set));
        let mut server = self.server;
        if self.is_unguarded {
            server.destinations = SortedSet::default();
        }
        Frontend {
            server,
            binding: self.binding,
            entries: entries.collect(),
            node_access: self.node_access,
        }
    }

    fn add(&mut self, set: SetKey, entry: Entry) {
        self.entries.push((set, entry));
    }

    /// An address on the dummy device is always in the set that guards the host's own ports.
    fn bind(&mut self, address: IpAddr) {
        self.binding = Binding::Dummy;
        let set = SetKey { family: Family::of(address), name: SetName::IpvsIps };
        self.add(set, Entry::Address(address));
    }
}

/// Who may connect.
enum Admission {
    Everyone,
    Only(BTreeSet<Net>),
}

#[cfg(test)]
mod tests;
