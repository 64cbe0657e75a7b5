//! Virtual servers and destinations: here the terms change from those of Kubernetes to those of the kernel.
//!
//! Takes addresses, ports, a scheduler and an affinity. Gives keys and values as IPVS compares them
//! (`include/uapi/linux/ip_vs.h`). Does not encode netlink attributes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{Affinity, Family, Protocol};
use crate::sorted::SortedSet;

/// The key of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VirtualServerKey {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address clients connect to.
    pub address: IpAddr,
    /// The port clients connect to, 1–65535.
    pub port: u16,
}

impl VirtualServerKey {
    /// Returns the family of the address.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Returns the protocol and port without the address.
    pub fn node_port(&self) -> NodePort {
        NodePort { family: self.family(), protocol: self.protocol, port: self.port }
    }
}

impl fmt::Display for VirtualServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// A port on any address of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePort {
    /// The family of the addresses.
    pub family: Family,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port, 1–65535.
    pub port: u16,
}

/// The key of a destination: its virtual server, and its own address and port.
pub type VirtualServerDestination = (VirtualServerKey, SocketAddr);

/// The settings of a virtual server, apart from its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The scheduler's name as the kernel knows it.
    pub scheduler: Arc<str>,
    /// The flags, without those that only the kernel sets.
    pub flags: ServerFlags,
    /// The persistence timeout in seconds; 0 without persistence.
    pub timeout: u32,
}

impl ServerSettings {
    /// Returns the settings for a scheduler and an affinity.
    ///
    /// With scheduler `mh`, the source port is hashed as well (spec 3.1).
    pub fn new(scheduler: &Arc<str>, affinity: Affinity) -> Self {
        let hash = if &**scheduler == "mh" { ServerFlags::MH_PORT.0 } else { 0 };
        let (persistent, timeout) = match affinity {
            Affinity::None => (0, 0),
            Affinity::ClientIp { timeout } => (ServerFlags::PERSISTENT.0, timeout),
        };
        Self { scheduler: scheduler.clone(), flags: ServerFlags(hash | persistent), timeout }
    }
}

impl fmt::Display for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)?;
        if self.flags.has(ServerFlags::PERSISTENT) {
            write!(f, " persistent {}", self.timeout)?;
        }
        let rest = self.flags.0 & !ServerFlags::PERSISTENT.0;
        if rest != 0 {
            write!(f, " flags {rest:#x}")?;
        }
        Ok(())
    }
}

/// The flags of a virtual server: bits of `IP_VS_SVC_F_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFlags(pub u32);

impl ServerFlags {
    /// The flag `IP_VS_SVC_F_PERSISTENT`.
    pub const PERSISTENT: Self = Self(0x1);
    /// The flag `IP_VS_SVC_F_HASHED`. The kernel sets it on every virtual server, so comparisons ignore it.
    pub const HASHED: Self = Self(0x2);
    /// The flag `IP_VS_SVC_F_SCHED_MH_PORT`, which equals `IP_VS_SVC_F_SCHED2`.
    pub const MH_PORT: Self = Self(0x10);
    /// The flag `IP_VS_SVC_F_SCHED3`, which no scheduler reads. A virtual server in an excluded network gets it
    /// before its set entries are removed, so that it is known as this proxy's until it is removed itself.
    pub const LEAVING: Self = Self(0x20);

    /// Returns these flags and `flag`.
    #[must_use]
    pub fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    /// True if every bit of `flag` is set.
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// The desired state of a virtual server. Every destination has weight 1 and is reached by NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// The scheduler, flags and timeout.
    pub settings: ServerSettings,
    /// The addresses and ports of the endpoints that serve connections.
    pub destinations: SortedSet<SocketAddr>,
}

/// The two weights that this proxy gives to destinations.
pub mod weight {
    /// The weight of a destination that takes new connections.
    pub const SERVING: u32 = 1;

    /// The weight of a destination that only finishes the connections it has.
    pub const DRAINING: u32 = 0;
}
