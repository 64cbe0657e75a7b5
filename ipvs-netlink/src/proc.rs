//! Parser of `/proc/net/ip_vs` (every virtual server with its destinations) and `/proc/net/ip_vs_status`
//! (their number).
//!
//! Takes the text. Gives a [`Listing`] for each virtual server. Over netlink the kernel dumps the
//! destinations of only one virtual server at a time, so for a large table this text is many times faster. It
//! lacks what `net/netfilter/ipvs/ip_vs_ctl.c: ip_vs_info_seq_show` does not print:
//!
//! - For a virtual server: flags but two, persistence engine, counters, the family of a firewall mark.
//!   Timeout and netmask are not read, because they are printed in clock ticks and in no useful byte order.
//!   One netlink dump of the virtual servers has all of it
//!   ([`Client::table`](crate::Client::table) joins the two).
//! - For a destination: thresholds, persistence templates, counters, the kind of a tunnel. "Bypass" is
//!   printed as `Masq`.
//!
//! **The text may lack virtual servers that exist, even while nothing changes.** The kernel writes the text a
//! page at a time and finds its place again by a number. Up to Linux 7.0 one table holds the virtual servers
//! of all network namespaces, and the two halves of the walk count differently. `ip_vs_info_seq_next` counts
//! every virtual server that it passes, of any namespace. `ip_vs_info_array`, which begins the next page at a
//! number, counts only those of its own namespace. So each page begins too late: it skips one own virtual
//! server for each foreign one on the pages before. With one foreign virtual server, one is missing, always
//! the same for readers with the same buffer size. With as many foreign ones as own ones, half of the own
//! ones are missing. Nothing in the text shows it. A netlink dump counts in one way only and is complete
//! while nothing changes. [`Client::table`](crate::Client::table) queries what the text lacks.
//!
//! Since Linux 7.1 each namespace has its own table, and the text is complete while nothing changes. But
//! tables grow and shrink by themselves, some time after virtual servers came or went, and a walk meanwhile
//! may skip some. `/proc/net/ip_vs_status`, which exists since then, tells how many there are
//! ([`parse_services`]).
//!
//! Does not panic, and does not skip a line silently: text in another format is a [`ParseError`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
};

use self::word::{decimal, hex, words};
use crate::{
    Destination, DestinationKey, ForwardMethod, Protocol,
    uapi::{IP_VS_SVC_F_ONEPACKET, IP_VS_SVC_F_PERSISTENT},
};

mod word;

/// A virtual server with its destinations, with the fields that the text contains.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The key of the virtual server.
    pub key: ListedKey,
    /// The name of the scheduler; `none` for none.
    pub scheduler: String,
    /// The set flags among [`ServiceFlags::PERSISTENT`](crate::ServiceFlags::PERSISTENT) and
    /// [`ServiceFlags::ONE_PACKET`](crate::ServiceFlags::ONE_PACKET). The text shows the second one for IPv4
    /// addresses and marks only.
    pub flags: u32,
    /// The destinations, in the kernel's order.
    pub destinations: Vec<ListedDestination>,
}

/// The key of a virtual server in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListedKey {
    /// Packets to this address and port.
    Address {
        /// The protocol of the packets.
        protocol: Protocol,
        /// The destination address of the packets.
        address: IpAddr,
        /// The destination port of the packets.
        port: u16,
    },
    /// Packets with this firewall mark; the text does not contain their family.
    Mark(NonZeroU32),
}

/// A destination, with the fields that the text contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ListedDestination {
    /// The address of the destination.
    pub address: IpAddr,
    /// The port of the destination.
    pub port: u16,
    /// The method by which packets reach the destination.
    pub forward: ListedForward,
    /// The share of new connections.
    pub weight: u32,
    /// The number of connections that count as active.
    pub active_connections: u32,
    /// The number of all other connections.
    pub inactive_connections: u32,
}

impl ListedDestination {
    /// Returns the key of the destination within its virtual server.
    pub fn key(&self) -> DestinationKey {
        DestinationKey { address: self.address, port: self.port }
    }
}

impl From<&Destination> for ListedDestination {
    /// Returns what the text would contain about a destination.
    fn from(destination: &Destination) -> Self {
        let connections = destination.connections.unwrap_or_default();
        ListedDestination {
            address: destination.address,
            port: destination.port,
            forward: match destination.forward {
                ForwardMethod::Local => ListedForward::Local,
                ForwardMethod::Tunnel(_) => ListedForward::Tunnel,
                ForwardMethod::DirectRoute => ListedForward::DirectRoute,
                // The kernel prints the same: ip_vs_fwd_name.
                ForwardMethod::Masquerade | ForwardMethod::Bypass | ForwardMethod::Other(_) => {
                    ListedForward::Masquerade
                }
            },
            weight: destination.weight,
            active_connections: connections.active,
            inactive_connections: connections.inactive,
        }
    }
}

/// A forwarding method, as the text names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListedForward {
    /// The text `Masq`: masquerading, or bypass.
    Masquerade,
    /// The text `Local`.
    Local,
    /// The text `Tunnel`, for any encapsulation.
    Tunnel,
    /// The text `Route`.
    DirectRoute,
}

/// The error for a line that does not have the expected format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("/proc/net/ip_vs, line {line}: {expected}")]
pub struct ParseError {
    /// The number of the line, from 1.
    pub line: usize,
    /// The item that was expected.
    pub expected: &'static str,
}

/// Parses the whole text.
///
/// ```
/// let text = "\
/// IP Virtual Server version 1.2.1 (size=4096)
/// Prot LocalAddress:Port Scheduler Flags
///   -> RemoteAddress:Port Forward Weight ActiveConn InActConn
/// TCP  0A600001:0050 rr \x20
///   -> C000020A:1F90      Masq    1      0          0        \x20
/// ";
/// let listings = ipvs_netlink::proc::parse(text)?;
/// assert_eq!(listings[0].destinations[0].key().to_string(), "192.0.2.10:8080");
/// # Ok::<(), ipvs_netlink::proc::ParseError>(())
/// ```
///
/// # Errors
///
/// Returns a [`ParseError`] with the number of the first line that does not have the expected format.
pub fn parse(text: &str) -> Result<Vec<Listing>, ParseError> {
    let (listings, errors) = parse_readable(text);
    match errors.first() {
        Some(error) => Err(*error),
        None => Ok(listings),
    }
}

/// Parses as much as possible, and returns an error for each line that does not have the expected format.
/// Leaves out a whole virtual server if its line, or the line of one of its destinations, has an error.
pub fn parse_readable(text: &str) -> (Vec<Listing>, Vec<ParseError>) {
    let mut listings: Vec<Option<Listing>> = Vec::new();
    let mut errors = Vec::new();
    // Three lines of headings come first.
    for (index, line) in text.lines().enumerate().skip(3) {
        let mut fail = |expected| errors.push(ParseError { line: index + 1, expected });
        match line.trim_start().strip_prefix("->") {
            Some(rest) => match (listings.last_mut(), destination(rest)) {
                (Some(Some(server)), Ok(found)) => server.destinations.push(found),
                (Some(None), Ok(_)) => {}
                (Some(server), Err(expected)) => {
                    *server = None;
                    fail(expected);
                }
                (None, _) => fail("a virtual server before its destinations"),
            },
            None => listings.push(listing(line).map_err(fail).ok()),
        }
    }
    (listings.into_iter().flatten().collect(), errors)
}

/// Returns the number of virtual servers in a network namespace, firewall marks included. It stands in the
/// line `Services:` of `/proc/net/ip_vs_status` (`ip_vs_ctl.c: ip_vs_status_show`, since Linux 7.1). `None`
/// if there is no such line.
///
/// ```
/// let text = "Conns:\t0\nConn buckets:\t4096 (12 bits, lfactor -4)\nServices:\t3\n";
/// assert_eq!(ipvs_netlink::proc::parse_services(text), Some(3));
/// ```
pub fn parse_services(text: &str) -> Option<usize> {
    text.lines().find_map(|line| line.strip_prefix("Services:"))?.trim().parse().ok()
}

/// Parses a line like `TCP  0A600001:0050 rr persistent 75000 FFFFFFFF` or `FWM  00000007 wlc ops `.
fn listing(line: &str) -> Result<Listing, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().ok_or("a protocol")?;
    let place = words.next().ok_or("an address")?;
    let key = if kind == "FWM" {
        let mark = u32::from_str_radix(place, 16).ok().and_then(NonZeroU32::new);
        ListedKey::Mark(mark.ok_or("a firewall mark")?)
    } else {
        let (address, port) = address_and_port(place.as_bytes()).ok_or("an address and port")?;
        ListedKey::Address { protocol: protocol(kind).ok_or("a protocol")?, address, port }
    };
    let scheduler = words.next().ok_or("a scheduler")?.to_owned();
    let mut flags = 0;
    for word in words {
        match word {
            "ops" => flags |= IP_VS_SVC_F_ONEPACKET,
            "persistent" => flags |= IP_VS_SVC_F_PERSISTENT,
            // These are the timeout and netmask, which follow "persistent".
            _ if flags & IP_VS_SVC_F_PERSISTENT != 0 => {}
            _ => return Err("flags"),
        }
    }
    Ok(Listing { key, scheduler, flags, destinations: Vec::new() })
}

/// Parses the rest of a line like ` C000020A:1F90      Masq    1      0          0`.
fn destination(rest: &str) -> Result<ListedDestination, &'static str> {
    let mut words = words(rest);
    let place = words.next().and_then(address_and_port);
    let (address, port) = place.ok_or("an address and port")?;
    let forward = match words.next() {
        Some(b"Masq") => ListedForward::Masquerade,
        Some(b"Local") => ListedForward::Local,
        Some(b"Tunnel") => ListedForward::Tunnel,
        Some(b"Route") => ListedForward::DirectRoute,
        _ => return Err("a forwarding method"),
    };
    let mut number = |what| words.next().and_then(decimal).ok_or(what);
    Ok(ListedDestination {
        address,
        port,
        forward,
        weight: number("a weight")?,
        active_connections: number("a number of active connections")?,
        inactive_connections: number("a number of inactive connections")?,
    })
}

/// Returns the protocol that `ip_vs_proto_name` (`net/netfilter/ipvs/ip_vs_core.c`) prints with this name.
fn protocol(name: &str) -> Option<Protocol> {
    Some(match name {
        "IP" => Protocol(0),
        "ICMP" => Protocol(1),
        "TCP" => Protocol::TCP,
        "UDP" => Protocol::UDP,
        "ICMPv6" => Protocol(58),
        "SCTP" => Protocol::SCTP,
        _ => Protocol(name.strip_prefix("IP_")?.parse().ok()?),
    })
}

/// Parses `0A600001:0050` or `[2001:0db8:0000:0000:0000:0000:0000:0053]:0035`.
fn address_and_port(word: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, port) = word.split_at_checked(word.len().checked_sub(5)?)?;
    let address = match address.strip_prefix(b"[") {
        Some(rest) => {
            let text = std::str::from_utf8(rest.strip_suffix(b"]")?).ok()?;
            IpAddr::V6(text.parse::<Ipv6Addr>().ok()?)
        }
        None => IpAddr::V4(Ipv4Addr::from(hex(address)?)),
    };
    Some((address, hex(port.strip_prefix(b":")?)?.try_into().ok()?))
}

impl fmt::Display for ListedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListedKey::Address { protocol, address, port } => {
                write!(f, "{protocol} {}", std::net::SocketAddr::new(*address, *port))
            }
            ListedKey::Mark(mark) => write!(f, "mark {mark}"),
        }
    }
}

#[cfg(test)]
mod tests;
