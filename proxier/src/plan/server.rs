//! Virtual servers and destinations: here the vocabulary changes from Kubernetes to the kernel.
//!
//! In: addresses, ports, a scheduler, an affinity. Out: keys and values as IPVS compares them
//! (`include/uapi/linux/ip_vs.h`). Never: attributes on the wire.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::{Affinity, Family, Protocol};
use crate::sorted::SortedSet;

/// Which virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VirtualServerKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The address clients connect to.
    pub address: IpAddr,
    /// The port clients connect to, 1–65535.
    pub port: u16,
}

impl VirtualServerKey {
    /// The family of its address.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The same at whatever address.
    pub fn node_port(&self) -> NodePort {
        NodePort { family: self.family(), protocol: self.protocol, port: self.port }
    }
}

impl fmt::Display for VirtualServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

/// A port at whatever address of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodePort {
    /// Of which addresses.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The port, 1–65535.
    pub port: u16,
}

/// Which destination of which virtual server.
pub type VirtualServerDestination = (VirtualServerKey, SocketAddr);

/// What a virtual server does with a connection, apart from its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The scheduler's name as the kernel knows it.
    pub scheduler: Arc<str>,
    /// Flags, without the ones that the kernel itself maintains.
    pub flags: ServerFlags,
    /// Persistence timeout in seconds; 0 without persistence.
    pub timeout: u32,
}

impl ServerSettings {
    /// The settings for a scheduler and an affinity.
    ///
    /// Scheduler `mh` hashes the source port as well (spec 3.1).
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

/// `IP_VS_SVC_F_*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFlags(pub u32);

impl ServerFlags {
    /// `IP_VS_SVC_F_PERSISTENT`.
    pub const PERSISTENT: Self = Self(0x1);
    /// `IP_VS_SVC_F_HASHED`: set by the kernel on every service it has; never compared.
    pub const HASHED: Self = Self(0x2);
    /// `IP_VS_SVC_F_SCHED_MH_PORT`, which is `IP_VS_SVC_F_SCHED2`.
    pub const MH_PORT: Self = Self(0x10);

    /// True if every bit of `flag` is set.
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 == flag.0
    }
}

/// A virtual server as it should be. Every destination has weight 1 and is reached by NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServer {
    /// Scheduler, flags, timeout.
    pub settings: ServerSettings,
    /// Where connections go.
    pub destinations: SortedSet<SocketAddr>,
}

/// The two weights in use.
pub mod weight {
    /// Takes new connections.
    pub const SERVING: u32 = 1;

    /// Only finishes the connections it has.
    pub const DRAINING: u32 = 0;
}
