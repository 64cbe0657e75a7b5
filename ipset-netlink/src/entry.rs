//! The elements of sets.
//!
//! In: addresses, ports and networks of a caller, or the text `ipset save` prints. Out: values
//! that compare, sort and print as the kernel's do. Never: two spellings of one element: a network
//! holds no host bits, and a single host is the same network with and without its prefix length.

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

/// One element of a set. Prints as `ipset save` does.
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
    /// Of a `hash:ip` set.
    Ip(IpAddr),
    /// Of a `hash:ip,port` set.
    IpPort {
        /// Address.
        ip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
    },
    /// Of a `hash:ip,port,ip` set.
    IpPortIp {
        /// First address.
        ip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
        /// Second address.
        ip2: IpAddr,
    },
    /// Of a `hash:ip,port,net` set.
    IpPortNet {
        /// Address.
        ip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
        /// Network. The kernel refuses prefix length 0; two halves (`0.0.0.0/1`, `128.0.0.0/1`)
        /// say the same.
        net: Network,
    },
    /// An exception (`nomatch`) of a `hash:ip,port,net` set: what it names does not match, although a
    /// larger network of the set has it. In its set it takes the place of the [`Entry::IpPortNet`] with
    /// the same parts: adding either one, with [`Repeat::Accept`](crate::Repeat::Accept), replaces the
    /// other, and deleting either one deletes what is there.
    IpPortNetNomatch {
        /// Address.
        ip: IpAddr,
        /// Transport protocol.
        protocol: Protocol,
        /// Port.
        port: u16,
        /// Network.
        net: Network,
    },
    /// Of a `bitmap:port` set.
    Port(u16),
}

impl Entry {
    /// The type of the sets it belongs in.
    pub fn kind(&self) -> SetType {
        match self {
            Entry::Ip(_) => SetType::HashIp,
            Entry::IpPort { .. } => SetType::HashIpPort,
            Entry::IpPortIp { .. } => SetType::HashIpPortIp,
            Entry::IpPortNet { .. } | Entry::IpPortNetNomatch { .. } => SetType::HashIpPortNet,
            Entry::Port(_) => SetType::BitmapPort,
        }
    }

    /// Reads an element of a set of type `kind` in the form `ipset save` prints. The type is
    /// needed: `10.0.0.1,tcp:80,10.0.0.2` may end in an address or in a network.
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
    /// [`InvalidEntry`] names the first part that is missing, superfluous or unreadable.
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

/// What follows an exception.
const NOMATCH: &str = " nomatch";

/// `tcp:80`.
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

/// Why text is not an element.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidEntry {
    /// Too few or too many parts between commas.
    #[error("an element of {0} has as many parts as its type names")]
    Parts(SetType),
    /// Not `protocol:port`.
    #[error("a service is written protocol:port")]
    Service,
    /// A port or protocol number is none, or too large.
    #[error(transparent)]
    Number(#[from] ParseIntError),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] AddrParseError),
    /// A prefix is longer than the address.
    #[error(transparent)]
    Prefix(#[from] PrefixLenError),
}

/// A network without host bits. A single host prints without its prefix length, as `ipset` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// The network that holds the first `prefix` bits of `address`.
    ///
    /// # Errors
    ///
    /// [`PrefixLenError`] when the address has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, PrefixLenError> {
        IpNet::new(address, prefix).map(Network::from)
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// The prefix length.
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
