//! The 17 IP sets and their entries.
//!
//! Gives names, types and comment texts (spec 2.2), and typed entries that compare by meaning. Entries print
//! as `ipset save` prints them, including those that only other programs make. Does not decide which entries
//! a set has.

use std::fmt;
use std::net::IpAddr;

use super::server::{NodePort, VirtualServerKey};
use super::unplanned::{Source, UnplannedEntry, UnplannedSource};
use crate::model::{Family, Net, Protocol};

/// The name of one of the sets that kube-proxy keeps, without the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    /// Local endpoints as both destination and source, for hairpin traffic.
    LoopBack,
    /// Cluster IPs with their ports.
    ClusterIp,
    /// External IPs under Cluster policy.
    ExternalIp,
    /// External IPs under Local policy.
    ExternalIpLocal,
    /// Load-balancer IPs.
    LoadBalancer,
    /// Load-balancer IPs that restrict their sources (firewalled).
    LoadBalancerFw,
    /// Load-balancer IPs under Local policy.
    LoadBalancerLocal,
    /// Load-balancer IPs with the addresses of this node that may reach them.
    LoadBalancerSourceIp,
    /// Load-balancer IPs with the networks that may reach them.
    LoadBalancerSourceCidr,
    /// TCP node ports.
    NodePortTcp,
    /// TCP node ports under Local policy.
    NodePortLocalTcp,
    /// UDP node ports.
    NodePortUdp,
    /// UDP node ports under Local policy.
    NodePortLocalUdp,
    /// SCTP node ports with their addresses.
    NodePortSctpHash,
    /// SCTP node ports with their addresses under Local policy.
    NodePortLocalSctpHash,
    /// Health-check node ports.
    HealthCheckNodePort,
    /// All addresses on the dummy device.
    IpvsIps,
}

/// The type of a set, named as in ipset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// The type `hash:ip`.
    HashIp,
    /// The type `hash:ip,port`.
    HashIpPort,
    /// The type `hash:ip,port,ip`.
    HashIpPortIp,
    /// The type `hash:ip,port,net`.
    HashIpPortNet,
    /// The type `bitmap:port` with range 0–65535.
    BitmapPort,
}

impl SetKind {
    /// Every type that this proxy's sets have.
    pub const ALL: [Self; 5] =
        [Self::HashIp, Self::HashIpPort, Self::HashIpPortIp, Self::HashIpPortNet, Self::BitmapPort];

    /// Returns the name that ipset prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::HashIp => "hash:ip",
            Self::HashIpPort => "hash:ip,port",
            Self::HashIpPortIp => "hash:ip,port,ip",
            Self::HashIpPortNet => "hash:ip,port,net",
            Self::BitmapPort => "bitmap:port",
        }
    }
}

impl SetKind {
    /// The number of entries that fit into a set of ports: one for each port.
    pub const PORTS: u32 = 1 << 16;

    /// Returns the capacity with which a set of this type is created (`maxelem`). `None` for a bitmap, which
    /// has one entry for each port.
    pub fn default_capacity(self) -> Option<u32> {
        match self {
            Self::HashIp | Self::HashIpPort | Self::HashIpPortIp | Self::HashIpPortNet => {
                Some(65_536)
            }
            Self::BitmapPort => None,
        }
    }
}

impl SetName {
    /// All sets, in the order of spec 2.2.
    pub const ALL: [Self; 17] = [
        Self::LoopBack,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::LoadBalancer,
        Self::LoadBalancerFw,
        Self::LoadBalancerLocal,
        Self::LoadBalancerSourceIp,
        Self::LoadBalancerSourceCidr,
        Self::NodePortTcp,
        Self::NodePortLocalTcp,
        Self::NodePortUdp,
        Self::NodePortLocalUdp,
        Self::NodePortSctpHash,
        Self::NodePortLocalSctpHash,
        Self::HealthCheckNodePort,
        Self::IpvsIps,
    ];

    /// Returns the set's name in the kernel. IPv6 names contain `6-` and are cut at 31 characters, which
    /// shortens two of them (spec 2.2).
    pub fn kernel_name(self, family: Family) -> &'static str {
        let (v4, v6) = self.names();
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::LoopBack => ("KUBE-LOOP-BACK", "KUBE-6-LOOP-BACK"),
            Self::ClusterIp => ("KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP"),
            Self::ExternalIp => ("KUBE-EXTERNAL-IP", "KUBE-6-EXTERNAL-IP"),
            Self::ExternalIpLocal => ("KUBE-EXTERNAL-IP-LOCAL", "KUBE-6-EXTERNAL-IP-LOCAL"),
            Self::LoadBalancer => ("KUBE-LOAD-BALANCER", "KUBE-6-LOAD-BALANCER"),
            Self::LoadBalancerFw => ("KUBE-LOAD-BALANCER-FW", "KUBE-6-LOAD-BALANCER-FW"),
            Self::LoadBalancerLocal => ("KUBE-LOAD-BALANCER-LOCAL", "KUBE-6-LOAD-BALANCER-LOCAL"),
            Self::LoadBalancerSourceIp => {
                ("KUBE-LOAD-BALANCER-SOURCE-IP", "KUBE-6-LOAD-BALANCER-SOURCE-IP")
            }
            Self::LoadBalancerSourceCidr => {
                ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "KUBE-6-LOAD-BALANCER-SOURCE-CID")
            }
            Self::NodePortTcp => ("KUBE-NODE-PORT-TCP", "KUBE-6-NODE-PORT-TCP"),
            Self::NodePortLocalTcp => ("KUBE-NODE-PORT-LOCAL-TCP", "KUBE-6-NODE-PORT-LOCAL-TCP"),
            Self::NodePortUdp => ("KUBE-NODE-PORT-UDP", "KUBE-6-NODE-PORT-UDP"),
            Self::NodePortLocalUdp => ("KUBE-NODE-PORT-LOCAL-UDP", "KUBE-6-NODE-PORT-LOCAL-UDP"),
            Self::NodePortSctpHash => ("KUBE-NODE-PORT-SCTP-HASH", "KUBE-6-NODE-PORT-SCTP-HASH"),
            Self::NodePortLocalSctpHash => {
                ("KUBE-NODE-PORT-LOCAL-SCTP-HASH", "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS")
            }
            Self::HealthCheckNodePort => {
                ("KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-6-HEALTH-CHECK-NODE-PORT")
            }
            Self::IpvsIps => ("KUBE-IPVS-IPS", "KUBE-6-IPVS-IPS"),
        }
    }

    /// Returns the set's type.
    pub fn kind(self) -> SetKind {
        match self {
            Self::LoopBack | Self::LoadBalancerSourceIp => SetKind::HashIpPortIp,
            Self::ClusterIp
            | Self::ExternalIp
            | Self::ExternalIpLocal
            | Self::LoadBalancer
            | Self::LoadBalancerFw
            | Self::LoadBalancerLocal
            | Self::NodePortSctpHash
            | Self::NodePortLocalSctpHash => SetKind::HashIpPort,
            Self::LoadBalancerSourceCidr => SetKind::HashIpPortNet,
            Self::NodePortTcp
            | Self::NodePortLocalTcp
            | Self::NodePortUdp
            | Self::NodePortLocalUdp
            | Self::HealthCheckNodePort => SetKind::BitmapPort,
            Self::IpvsIps => SetKind::HashIp,
        }
    }

    /// Returns the protocol of a set of node ports; `None` for other sets.
    fn node_port_protocol(self) -> Option<Protocol> {
        match self {
            Self::NodePortTcp | Self::NodePortLocalTcp => Some(Protocol::Tcp),
            Self::NodePortUdp | Self::NodePortLocalUdp => Some(Protocol::Udp),
            Self::NodePortSctpHash | Self::NodePortLocalSctpHash => Some(Protocol::Sctp),
            Self::LoopBack
            | Self::ClusterIp
            | Self::ExternalIp
            | Self::ExternalIpLocal
            | Self::LoadBalancer
            | Self::LoadBalancerFw
            | Self::LoadBalancerLocal
            | Self::LoadBalancerSourceIp
            | Self::LoadBalancerSourceCidr
            | Self::HealthCheckNodePort
            | Self::IpvsIps => None,
        }
    }

    /// Returns the comment of the rules that match the set, as `iptables-save` prints it: with the single
    /// quotes in two of them escaped.
    pub fn comment(self) -> &'static str {
        match self {
            Self::LoopBack => {
                "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"
            }
            Self::ClusterIp => "Kubernetes service cluster ip + port for masquerade purpose",
            Self::ExternalIp => {
                "Kubernetes service external ip + port for masquerade and filter purpose"
            }
            Self::ExternalIpLocal => {
                "Kubernetes service external ip + port with externalTrafficPolicy=local"
            }
            Self::LoadBalancer => "Kubernetes service lb portal",
            Self::LoadBalancerFw => {
                "Kubernetes service load balancer ip + port for load balancer with sourceRange"
            }
            Self::LoadBalancerLocal => {
                "Kubernetes service load balancer ip + port with externalTrafficPolicy=local"
            }
            Self::LoadBalancerSourceIp => {
                "Kubernetes service load balancer ip + port + source IP for packet filter purpose"
            }
            Self::LoadBalancerSourceCidr => {
                "Kubernetes service load balancer ip + port + source cidr for packet filter purpose"
            }
            Self::NodePortTcp => "Kubernetes nodeport TCP port for masquerade purpose",
            Self::NodePortLocalTcp => {
                "Kubernetes nodeport TCP port with externalTrafficPolicy=local"
            }
            Self::NodePortUdp => "Kubernetes nodeport UDP port for masquerade purpose",
            Self::NodePortLocalUdp => {
                "Kubernetes nodeport UDP port with externalTrafficPolicy=local"
            }
            Self::NodePortSctpHash => {
                r"Kubernetes nodeport SCTP port for masquerade purpose with type \'hash ip:port\'"
            }
            Self::NodePortLocalSctpHash => {
                r"Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type \'hash ip:port\'"
            }
            Self::HealthCheckNodePort => "Kubernetes health check node port",
            Self::IpvsIps => "Addresses on the ipvs interface",
        }
    }
}

/// The key of one of the 34 sets of a dual-stack node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetKey {
    /// The family of the set.
    pub family: Family,
    /// The name of the set.
    pub name: SetName,
}

impl SetKey {
    /// Returns the node port that an entry contains; `None` if this is not a set of node ports.
    pub fn node_port(self, entry: &Entry) -> Option<NodePort> {
        let protocol = self.name.node_port_protocol()?;
        match entry {
            Entry::Port(port) | Entry::AddressPort(_, _, port) => {
                Some(NodePort { family: self.family, protocol, port: *port })
            }
            Entry::Address(_)
            | Entry::AddressPortAddress(..)
            | Entry::AddressPortNet(..)
            | Entry::Unplanned(_) => None,
        }
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.kernel_name(self.family))
    }
}

/// An entry of a set. A network of a single host equals the kernel's form of it without a prefix length. So
/// comparing never deletes and re-adds an entry that is already right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// An entry of `hash:ip`.
    Address(IpAddr),
    /// An entry of `hash:ip,port`.
    AddressPort(IpAddr, Protocol, u16),
    /// An entry of `hash:ip,port,ip`: destination address, port, source address.
    AddressPortAddress(IpAddr, Protocol, u16, IpAddr),
    /// An entry of `hash:ip,port,net`: destination address, port, source network without host bits.
    AddressPortNet(IpAddr, Protocol, u16, Net),
    /// An entry of `bitmap:port`.
    Port(u16),
    /// An entry that another program has made and that no plan makes.
    Unplanned(UnplannedEntry),
}

impl Entry {
    /// Returns the exception (`nomatch`) that the kernel may hold in place of this entry; `None` if its type
    /// has no exceptions.
    pub fn exception(&self) -> Option<Self> {
        let Self::AddressPortNet(address, protocol, port, net) = *self else { return None };
        let (protocol, source) = (protocol.number(), UnplannedSource::Exception(net));
        Some(Self::Unplanned(UnplannedEntry { address, protocol, port, source }))
    }

    /// Returns the entry that this exception replaces in the kernel. `None` if this is no exception, or if no
    /// plan could make that entry.
    pub fn instead_of_exception(&self) -> Option<Self> {
        let Self::Unplanned(UnplannedEntry { address, protocol, port, source }) = *self else {
            return None;
        };
        let UnplannedSource::Exception(net) = source else { return None };
        Some(Self::AddressPortNet(address, Protocol::of_number(protocol)?, port, net))
    }

    /// Returns the service address in the entry, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address)
            | Self::AddressPort(address, ..)
            | Self::AddressPortAddress(address, ..)
            | Self::AddressPortNet(address, ..) => Some(*address),
            Self::Unplanned(entry) => Some(entry.address),
            Self::Port(_) => None,
        }
    }
}

impl Entry {
    /// Returns the virtual server whose address, protocol and port are in the entry, if it has all three.
    pub fn frontend(&self) -> Option<VirtualServerKey> {
        match *self {
            Self::AddressPort(address, protocol, port)
            | Self::AddressPortAddress(address, protocol, port, _)
            | Self::AddressPortNet(address, protocol, port, _) => {
                Some(VirtualServerKey { protocol, address, port })
            }
            Self::Unplanned(UnplannedEntry { address, protocol, port, .. }) => {
                let protocol = Protocol::of_number(protocol)?;
                Some(VirtualServerKey { protocol, address, port })
            }
            Self::Address(_) | Self::Port(_) => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::AddressPort(address, protocol, port) => write!(f, "{address},{protocol}:{port}"),
            Self::AddressPortAddress(address, protocol, port, source) => {
                write!(f, "{address},{protocol}:{port},{source}")
            }
            Self::AddressPortNet(address, protocol, port, net) => {
                write!(f, "{address},{protocol}:{port},{}", Source(*net))
            }
            Self::Port(port) => write!(f, "{port}"),
            Self::Unplanned(entry) => write!(f, "{entry}"),
        }
    }
}
