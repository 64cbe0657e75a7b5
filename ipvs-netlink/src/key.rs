//! The key of a virtual server: an address with protocol and port, or a firewall mark.
//!
//! The same few attributes identify a virtual server in every command (`net/netfilter/ipvs/ip_vs_ctl.c:
//! ip_vs_genl_parse_service`).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use netlink_batch::attribute::Writer;
pub use netlink_batch::{AddressFamily, Protocol};
use netlink_packet_core::DecodeError;

use crate::{
    uapi::{
        IPVS_SVC_ATTR_ADDR, IPVS_SVC_ATTR_AF, IPVS_SVC_ATTR_FWMARK, IPVS_SVC_ATTR_PORT,
        IPVS_SVC_ATTR_PROTOCOL,
    },
    wire,
};

/// Returns the kernel's number of an address family, which has 16 bits here.
pub(crate) fn family_code(family: AddressFamily) -> u16 {
    family.number().into()
}

pub(crate) fn family_of_code(code: u16) -> Result<AddressFamily, DecodeError> {
    let family = u8::try_from(code).ok().and_then(AddressFamily::of_number);
    family.ok_or_else(|| DecodeError::from(format!("address family {code}")))
}

/// Returns the protocol with a number, which has 16 bits here. The kernel stores any value, but packets have
/// only 8 bits.
pub(crate) fn protocol_of_code(code: u16) -> Result<Protocol, DecodeError> {
    let number = u8::try_from(code);
    number.map(Protocol).map_err(|_| DecodeError::from(format!("protocol {code}")))
}

/// The key of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKey {
    /// Packets to this address and port.
    Address {
        /// The protocol. The kernel accepts any, but forwards only TCP, UDP and SCTP.
        protocol: Protocol,
        /// The destination address of the packets.
        address: IpAddr,
        /// The destination port of the packets; zero means every port, which needs persistence.
        port: u16,
    },
    /// Packets with this firewall mark.
    Mark {
        /// The address family: each family has its own marks.
        family: AddressFamily,
        /// The mark; not zero, which the kernel takes for "no mark".
        mark: NonZeroU32,
    },
}

impl ServiceKey {
    /// Returns the key of a virtual server at an address.
    pub fn address(protocol: Protocol, address: IpAddr, port: u16) -> Self {
        ServiceKey::Address { protocol, address, port }
    }

    /// Returns the key of a virtual server for a firewall mark.
    pub fn mark(family: AddressFamily, mark: NonZeroU32) -> Self {
        ServiceKey::Mark { family, mark }
    }

    /// Returns the family of the packets.
    pub fn family(&self) -> AddressFamily {
        match self {
            ServiceKey::Address { address, .. } => AddressFamily::of(*address),
            ServiceKey::Mark { family, .. } => *family,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(IPVS_SVC_ATTR_AF, family_code(self.family()));
        match self {
            ServiceKey::Address { protocol, address, port } => {
                writer.u16(IPVS_SVC_ATTR_PROTOCOL, protocol.0.into());
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
