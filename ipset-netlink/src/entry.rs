//! The elements of sets.
//!
//! Takes addresses, ports and networks from the caller, or text as `ipset save` prints it. Gives values that
//! compare, sort and print like the kernel's. Each element has only one form: a network contains no host
//! bits, and a single host is the same network with and without its prefix length.

use std::{
    fmt,
    net::{AddrParseError, IpAddr},
    num::ParseIntError,
    str::FromStr,
};

use ipnet::{IpNet, PrefixLenError};
use thiserror::Error;

pub use netlink_batch::Protocol;

use crate::SetType;

/// An element of a set. Prints as `ipset save` does.
///
/// ```
/// use ipset_netlink::{Entry, Protocol};
///
/// let dns = Entry::IpPort {
///     ip: "10.96.0.10".parse()?,
///     protocol: Protocol::UDP,
///     port: 53,
/// };
/// assert_eq!(dns.to_string(), "10.96.0.10,udp:53");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Entry {
    /// An element of a `hash:ip` set.
    Ip(IpAddr),
    /// An element of a `hash:ip,port` set.
    IpPort {
        /// The address.
        ip: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
    /// An element of a `hash:ip,port,ip` set.
    IpPortIp {
        /// The first address.
        ip: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// The second address.
        ip2: IpAddr,
    },
    /// An element of a `hash:ip,port,net` set.
    IpPortNet {
        /// The address.
        ip: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// The network. The kernel refuses prefix length 0; the two halves `0.0.0.0/1` and `128.0.0.0/1` have
        /// the same meaning.
        net: Network,
    },
    /// An exception (`nomatch`) of a `hash:ip,port,net` set. Its network does not match, although a larger
    /// network of the set contains it. It takes the place of the [`Entry::IpPortNet`] with the same parts.
    /// Adding either with [`Repeat::Accept`](crate::Repeat::Accept) replaces the other, and deleting either
    /// deletes whichever is there.
    IpPortNetNomatch {
        /// The address.
        ip: IpAddr,
        /// The transport protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// The network.
        net: Network,
    },
    /// An element of a `bitmap:port` set.
    Port(u16),
}

impl Entry {
    /// Returns the type of the sets that the element belongs in.
    pub fn kind(&self) -> SetType {
        match self {
            Entry::Ip(_) => SetType::HashIp,
            Entry::IpPort { .. } => SetType::HashIpPort,
            Entry::IpPortIp { .. } => SetType::HashIpPortIp,
            Entry::IpPortNet { .. } | Entry::IpPortNetNomatch { .. } => SetType::HashIpPortNet,
            Entry::Port(_) => SetType::BitmapPort,
        }
    }

    /// Parses an element of a set of type `kind` in the form that `ipset save` prints. The type is necessary,
    /// because `10.0.0.1,tcp:80,10.0.0.2` may end in an address or in a network.
    ///
    /// ```
    /// use ipset_netlink::{Entry, SetType};
    ///
    /// let short = Entry::parse(SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.9")?;
    /// let long = Entry::parse(SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.9/32")?;
    /// assert_eq!(short, long);
    /// # Ok::<(), ipset_netlink::InvalidEntry>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidEntry`] for the first part that is missing, superfluous or unreadable.
    pub fn parse(kind: SetType, text: &str) -> Result<Self, InvalidEntry> {
        let mut parts = text.split(',');
        let mut part = || parts.next().ok_or(InvalidEntry::Parts(kind));
        let entry = match kind {
            SetType::HashIp => Entry::Ip(part()?.parse()?),
            SetType::HashIpPort => {
                let (ip, (protocol, port)) = (part()?.parse()?, service(part()?)?);
                Entry::IpPort { ip, protocol, port }
            }
            SetType::HashIpPortIp => {
                let (ip, (protocol, port)) = (part()?.parse()?, service(part()?)?);
                Entry::IpPortIp { ip, protocol, port, ip2: part()?.parse()? }
            }
            SetType::HashIpPortNet => {
                let (ip, (protocol, port)) = (part()?.parse()?, service(part()?)?);
                let net = part()?;
                match net.strip_suffix(NOMATCH) {
                    Some(net) => Entry::IpPortNetNomatch { ip, protocol, port, net: net.parse()? },
                    None => Entry::IpPortNet { ip, protocol, port, net: net.parse()? },
                }
            }
            SetType::BitmapPort => Entry::Port(part()?.parse()?),
        };
        parts.next().map_or(Ok(entry), |_| Err(InvalidEntry::Parts(kind)))
    }
}

/// The suffix of an exception.
const NOMATCH: &str = " nomatch";

/// Parses text like `tcp:80`.
fn service(text: &str) -> Result<(Protocol, u16), InvalidEntry> {
    let (protocol, port) = text.split_once(':').ok_or(InvalidEntry::Service)?;
    Ok((protocol.parse()?, port.parse()?))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Ip(ip) => ip.fmt(f),
            Entry::IpPort { ip, protocol, port } => write!(f, "{ip},{protocol}:{port}"),
            Entry::IpPortIp { ip, protocol, port, ip2 } => {
                write!(f, "{ip},{protocol}:{port},{ip2}")
            }
            Entry::IpPortNet { ip, protocol, port, net } => {
                write!(f, "{ip},{protocol}:{port},{net}")
            }
            Entry::IpPortNetNomatch { ip, protocol, port, net } => {
                write!(f, "{ip},{protocol}:{port},{net}{NOMATCH}")
            }
            Entry::Port(port) => port.fmt(f),
        }
    }
}

/// The reason why text is not an element.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidEntry {
    /// The text has too few or too many parts between commas.
    #[error("an element of {0} has as many parts as its type names")]
    Parts(SetType),
    /// The text is not `protocol:port`.
    #[error("a service is written protocol:port")]
    Service,
    /// A port or protocol is not a number, or too large.
    #[error(transparent)]
    Number(#[from] ParseIntError),
    /// An address is unreadable.
    #[error(transparent)]
    Address(#[from] AddrParseError),
    /// A prefix is longer than the address.
    #[error(transparent)]
    Prefix(#[from] PrefixLenError),
}

/// A network without host bits. A single host prints without its prefix length, as in `ipset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Returns the network of the first `prefix` bits of `address`.
    ///
    /// # Errors
    ///
    /// Returns a [`PrefixLenError`] if the address has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, PrefixLenError> {
        IpNet::new(address, prefix).map(Network::from)
    }

    /// Returns the first address of the network.
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// Returns the prefix length.
    pub fn prefix(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Network(net.trunc())
    }
}

impl From<IpAddr> for Network {
    fn from(host: IpAddr) -> Self {
        Network(host.into())
    }
}

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        network.0
    }
}

impl FromStr for Network {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        match text.split_once('/') {
            Some((address, prefix)) => Ok(Network::new(address.parse()?, prefix.parse()?)?),
            None => Ok(Network::from(text.parse::<IpAddr>()?)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(f);
        }
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_element_prints_as_it_was_read() {
        for (kind, text) in [
            (SetType::HashIp, "10.96.0.1"),
            (SetType::HashIp, "fd00::1"),
            (SetType::HashIpPort, "10.96.0.10,udp:53"),
            (SetType::HashIpPort, "::ffff:10.0.0.1,tcp:80"),
            (SetType::HashIpPort, "10.0.0.1,47:0"),
            (SetType::HashIpPortIp, "10.244.1.5,sctp:8080,10.244.1.5"),
            (SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.0/24"),
            (SetType::HashIpPortNet, "fd00::1,udplite:80,fd00:1::/64"),
            (SetType::HashIpPortNet, "fd00::1,tcp:80,fd00:1::5"),
            (SetType::HashIpPortNet, "203.0.113.7,tcp:80,198.51.100.9 nomatch"),
            (SetType::BitmapPort, "30080"),
        ] {
            assert_eq!(Entry::parse(kind, text).map(|entry| entry.to_string()), Ok(text.into()));
        }
    }

    #[test]
    fn a_network_holds_no_host_bits() {
        let net: Network = "10.1.2.3/8".parse().unwrap();
        assert_eq!((net.to_string(), net.prefix()), ("10.0.0.0/8".into(), 8));
        assert_eq!("fd00::5".parse::<Network>(), "fd00::5/128".parse());
    }

    #[test]
    fn text_of_another_type_is_refused() {
        for (kind, text) in [
            (SetType::HashIp, "10.0.0.1,tcp:80"),
            (SetType::HashIpPort, "10.0.0.1"),
            (SetType::HashIpPort, "10.0.0.1,80"),
            (SetType::HashIpPort, "10.0.0.1,tcp:65536"),
            (SetType::HashIpPortIp, "10.0.0.1,tcp:80,10.0.0.0/8"),
            (SetType::HashIpPortNet, "10.0.0.1,tcp:80,10.0.0.0/33"),
            (SetType::HashIpPort, "10.0.0.1,tcp:80 nomatch"),
            (SetType::BitmapPort, "80-90"),
            (SetType::BitmapPort, ""),
        ] {
            assert!(Entry::parse(kind, text).is_err(), "{kind} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            for kind in SetType::ALL {
                let _ = Entry::parse(kind, &text);
            }
        }
    }
}
