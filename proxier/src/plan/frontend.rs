//! The addresses at which one Service port is served, and the set entries of each.
//!
//! Takes a port of a Service with its endpoints, this node and the settings. Gives a [`Frontend`] for each
//! address: its virtual server, whether the address goes on the dummy device, and the set entries that
//! determine how its packets are treated. Does not look at other ports or other Services.
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
    /// The virtual server at the address.
    pub server: VirtualServer,
    /// Says whether the dummy device has to make the address local.
    pub binding: Binding,
    /// The set entries that the frontend needs. Several frontends may need the same entry.
    pub entries: SortedSet<(SetKey, Entry)>,
    /// Says whether this node itself may connect.
    pub node_access: NodeAccess,
}

/// The place of a service address: on the dummy device or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// The node has the address in any case.
    Present,
    /// The address goes on the dummy device.
    Dummy,
}

/// The node's own access to a load balancer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAccess {
    /// The node may connect.
    Admitted,
    /// The source ranges exclude the node. A separate rule keeps it away, because packets from the node to
    /// its own addresses pass no other rule.
    Refused,
}

/// A frontend while it is being computed.
pub(super) struct Draft {
    server: VirtualServer,
    binding: Binding,
    entries: Vec<(SetKey, Entry)>,
    node_access: NodeAccess,
    /// True if no rule can keep out the clients that the frontend does not admit, so that it must not be
    /// served.
    is_unguarded: bool,
}

impl Draft {
    /// Merges another frontend of the same Service at the same address, protocol and port: for example an
    /// external IP that equals a load-balancer IP. The later one's endpoints win (spec 8.4).
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

/// A port of a Service in one family, with the values that its frontends have in common.
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

    /// Returns every frontend, in the order in which upstream programs them.
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

    /// Plans the cluster IP. It goes on the dummy device even if another device has it (spec 3.3).
    ///
    /// `Departs:` upstream also puts an address of the node itself there. The guard of the host's own ports
    /// then shuts out all other traffic to that address.
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
        // `Quirk:` the bitmaps of TCP and UDP hold no addresses.
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

    /// Admits clients in these networks only, and the node if it is in one of them.
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
            // A packet from the node to the address has the address as its source.
            let entry = Entry::AddressPortAddress(address, protocol, port, address);
            frontend.add(self.set(SetName::LoadBalancerSourceIp), entry);
        } else {
            frontend.node_access = NodeAccess::Refused;
        }
    }

    /// Returns the clients that may connect to the load balancer's addresses.
    ///
    /// `Quirk:` a Service whose ranges are all of the other family admits every client of this one.
    ///
    /// `Departs:` if a range was unreadable and no other is left, upstream admits everyone. Here no client
    /// is admitted, because the author of the list meant to keep clients out.
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
    /// Completes the frontend. Leaves out entries of sets that cannot be created. A frontend that must not be
    /// served gets no endpoints: its clients are refused, and no younger Service gets the address.
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

    /// Puts the address on the dummy device, and in the set that guards the host's own ports there.
    fn bind(&mut self, address: IpAddr) {
        self.binding = Binding::Dummy;
        let set = SetKey { family: Family::of(address), name: SetName::IpvsIps };
        self.add(set, Entry::Address(address));
    }
}

/// The clients that a load balancer admits.
enum Admission {
    Everyone,
    Only(BTreeSet<Net>),
}

#[cfg(test)]
mod tests;
