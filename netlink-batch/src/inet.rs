//! Address families and transport protocols, numbered as in every netlink family of networking.
//!
//! Takes the kernel's numbers, or names. Gives values that compare and print. Represents protocols without a
//! name here, too.

use std::{fmt, net::IpAddr, num::ParseIntError, str::FromStr};

/// An IP address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressFamily {
    /// IPv4: `AF_INET`, which is also `NFPROTO_IPV4`.
    Inet,
    /// IPv6: `AF_INET6`, which is also `NFPROTO_IPV6`.
    Inet6,
}

impl AddressFamily {
    /// Returns the family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Inet,
            IpAddr::V6(_) => Self::Inet6,
        }
    }

    /// Returns the kernel's number: 2 or 10.
    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 2,
            Self::Inet6 => 10,
        }
    }

    /// Returns the family with this number; `None` for any other number.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Inet6].into_iter().find(|family| family.number() == number)
    }
}

impl fmt::Display for AddressFamily {
    /// Prints `inet` or `inet6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

/// A transport protocol by its IANA number.
///
/// Prints and parses the name of the four protocols that have ports, and the number of any other.
///
/// ```
/// use netlink_batch::Protocol;
///
/// assert_eq!("udp".parse(), Ok(Protocol::UDP));
/// assert_eq!(Protocol(132).to_string(), "sctp");
/// assert_eq!(Protocol(47).to_string(), "47");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// TCP.
    pub const TCP: Protocol = Protocol(6);
    /// UDP.
    pub const UDP: Protocol = Protocol(17);
    /// SCTP.
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite.
    pub const UDPLITE: Protocol = Protocol(136);

    const NAMES: [(Protocol, &'static str); 4] = [
        (Protocol::TCP, "tcp"),
        (Protocol::UDP, "udp"),
        (Protocol::SCTP, "sctp"),
        (Protocol::UDPLITE, "udplite"),
    ];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Protocol::NAMES.iter().find(|(protocol, _)| protocol == self) {
            Some((_, name)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Protocol {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        match Protocol::NAMES.iter().find(|(_, name)| *name == text) {
            Some((protocol, _)) => Ok(*protocol),
            None => text.parse().map(Protocol),
        }
    }
}
