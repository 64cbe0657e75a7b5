//! Which virtual server: an address with protocol and port, or a firewall mark.
//!
//! These few attributes identify a virtual server in every command
//! (`net/netfilter/ipvs/ip_vs_ctl.c: ip_vs_genl_parse_service`).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use netlink_batch::attribute::Writer;
use netlink_packet_core::DecodeError;

use crate::{
    uapi::{
        IPVS_SVC_ATTR_ADDR, IPVS_SVC_ATTR_AF, IPVS_SVC_ATTR_FWMARK, IPVS_SVC_ATTR_PORT,
        IPVS_SVC_ATTR_PROTOCOL,
    },
    wire,
};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl AddressFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => AddressFamily::V4,
            IpAddr::V6(_) => AddressFamily::V6,
        }
    }

    pub(crate) fn code(self) -> u16 {
        match self {
            AddressFamily::V4 => 2,
            AddressFamily::V6 => 10,
        }
    }

    pub(crate) fn from_code(code: u16) -> Result<Self, DecodeError> {
        match code {
            2 => Ok(AddressFamily::V4),
            10 => Ok(AddressFamily::V6),
            _ => Err(DecodeError::from(format!("address family {code}"))),
        }
    }
}

impl fmt::Display for AddressFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressFamily::V4 => "IPv4",
            AddressFamily::V6 => "IPv6",
        })
    }
}

/// The transport protocol of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
    /// Any other number; the kernel forwards nothing for it but accepts it. Make it with
    /// [`Protocol::from`], which knows the numbers above.
    Other(u16),
}

impl From<u16> for Protocol {
    fn from(number: u16) -> Self {
        match number {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            132 => Protocol::Sctp,
            other => Protocol::Other(other),
        }
    }
}

impl From<Protocol> for u16 {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
            Protocol::Other(number) => number,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Tcp => f.write_str("TCP"),
            Protocol::Udp => f.write_str("UDP"),
            Protocol::Sctp => f.write_str("SCTP"),
            Protocol::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

/// What identifies a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// Packets to an address and port.
    Address {
        /// Their protocol.
        protocol: Protocol,
        /// Their destination address.
        address: IpAddr,
        /// Their destination port; zero for every port, which needs persistence.
        port: u16,
    },
    /// Packets with a firewall mark.
    Mark {
        /// Their family: each family has marks of its own.
        family: AddressFamily,
        /// The mark. The kernel takes zero for "no mark".
        mark: NonZeroU32,
    },
}

impl ServiceKey {
    /// A virtual server at an address.
    pub fn address(protocol: Protocol, address: IpAddr, port: u16) -> Self {
        ServiceKey::Address { protocol, address, port }
    }

    /// A virtual server for a firewall mark.
    pub fn mark(family: AddressFamily, mark: NonZeroU32) -> Self {
        ServiceKey::Mark { family, mark }
    }

    /// The family of the packets.
    pub fn family(&self) -> AddressFamily {
        match self {
            ServiceKey::Address { address, .. } => AddressFamily::of(*address),
            ServiceKey::Mark { family, .. } => *family,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(IPVS_SVC_ATTR_AF, self.family().code());
        match self {
            ServiceKey::Address { protocol, address, port } => {
                writer.u16(IPVS_SVC_ATTR_PROTOCOL, (*protocol).into());
                writer.fixed(IPVS_SVC_ATTR_ADDR, wire::address_bytes(*address));
                writer.be16(IPVS_SVC_ATTR_PORT, *port);
            }
            ServiceKey::Mark { mark, .. } => writer.u32(IPVS_SVC_ATTR_FWMARK, mark.get()),
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Address { protocol, address, port } => {
                write!(f, "{protocol} {}", SocketAddr::new(*address, *port))
            }
            ServiceKey::Mark { family, mark } => write!(f, "{family} mark {mark}"),
        }
    }
}
