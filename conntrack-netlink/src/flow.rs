//! Flows: what connection tracking knows of a connection.
//!
//! In: addresses and ports. Out: plain values that compare. Never: counters, states, timeouts,
//! which change while one looks.

use std::fmt;
use std::net::SocketAddr;

use crate::uapi;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Inet => uapi::AF_INET,
            Self::Inet6 => uapi::AF_INET6,
        }
    }

    pub(crate) fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::Inet,
            SocketAddr::V6(_) => Self::Inet6,
        }
    }
}

/// A transport protocol that has ports, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// SCTP.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::SCTP => f.write_str("sctp"),
            Self(number) => write!(f, "protocol {number}"),
        }
    }
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Who sends.
    pub source: SocketAddr,
    /// Who receives.
    pub destination: SocketAddr,
}

/// One tracked flow of a protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The direction of the first packet, as it came.
    pub original: Tuple,
    /// The direction of the answer, as it comes: what was translated shows as the difference.
    pub reply: Tuple,
    /// The kernel's identifier (`CTA_ID`), if it gave one.
    pub id: Option<u32>,
    /// The zone of both directions; 0 where nobody uses zones.
    pub zone: u16,
}

impl Flow {
    /// The family of its original direction.
    pub fn family(&self) -> Family {
        Family::of(self.original.source)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, original, reply, .. } = self;
        write!(
            f,
            "{protocol} {} -> {} (answered {} -> {})",
            original.source, original.destination, reply.source, reply.destination
        )
    }
}
