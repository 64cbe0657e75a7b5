//! Decodes rtnetlink messages about links and addresses.
//!
//! Takes the payload of a message. Returns the few fields that are needed here. Does not refuse a message
//! because of attributes that it does not need, which grow in number with every kernel.

use std::net::IpAddr;

use netlink_batch::DecodeError;
use netlink_batch::attribute::{Attribute, Attributes};

/// The message type of a link that is new or has changed.
pub(super) const RTM_NEWLINK: u16 = 16;
/// The message type of a link that is gone.
pub(super) const RTM_DELLINK: u16 = 17;
/// The message type that asks for links.
pub(super) const RTM_GETLINK: u16 = 18;
/// The message type of an address that is new or has changed.
pub(super) const RTM_NEWADDR: u16 = 20;
/// The message type of an address that is gone.
pub(super) const RTM_DELADDR: u16 = 21;
/// The message type that asks for addresses.
pub(super) const RTM_GETADDR: u16 = 22;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// A network device (`struct ifinfomsg`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// The name; empty if the message has none, which does not happen.
    pub(super) name: String,
}

impl Link {
    /// Reads a link. Returns `None` for messages of another family: a bridge reports a port that leaves it as
    /// a link that is gone.
    pub(super) fn read(payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (header, attributes) = split::<16>(payload, "ifinfomsg")?;
        let [AF_UNSPEC, _, _, _, a, b, c, d, ..] = *header else { return Ok(None) };
        let mut name = String::new();
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            if attribute.kind == IFLA_IFNAME {
                name = attribute.string_lossy();
            }
        }
        Ok(Some(Self { index: u32::from_ne_bytes([a, b, c, d]), name }))
    }
}

/// An address of a device (`struct ifaddrmsg`). Addresses that differ in any field are different to the
/// kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The device's index, which stays the same when its name changes.
    pub index: u32,
    /// The device's own address.
    pub local: IpAddr,
    /// The prefix length.
    pub prefix: u8,
    /// The other end of a point-to-point link in IPv4, and otherwise the same as `local`. In IPv6 the other
    /// end does not distinguish addresses and may change in place.
    pub peer: IpAddr,
}

impl Address {
    /// Reads an address; `None` if it is of another family.
    pub(super) fn read(payload: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (header, attributes) = split::<8>(payload, "ifaddrmsg")?;
        let [family @ (AF_INET | AF_INET6), prefix, _, _, a, b, c, d] = *header else {
            return Ok(None);
        };
        // IPv4 gives the address as IFA_LOCAL; IPv6 without a peer gives IFA_ADDRESS only.
        let (mut local, mut peer) = (None, None);
        for attribute in Attributes::new(attributes) {
            let attribute = attribute?;
            match attribute.kind {
                IFA_LOCAL => local = Some(ip(family, &attribute)?),
                IFA_ADDRESS => peer = Some(ip(family, &attribute)?),
                _ => {}
            }
        }
        let index = u32::from_ne_bytes([a, b, c, d]);
        Ok(local.or(peer).map(|local| {
            let peer = if family == AF_INET { peer.unwrap_or(local) } else { local };
            Self { index, local, prefix, peer }
        }))
    }
}

/// The kind of a virtual link, such as `dummy`; `None` for other links.
pub(super) fn kind(payload: &[u8]) -> Result<Option<String>, DecodeError> {
    let (_, attributes) = split::<16>(payload, "ifinfomsg")?;
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        if attribute.kind != IFLA_LINKINFO {
            continue;
        }
        for inner in Attributes::new(attribute.value) {
            let inner = inner?;
            if inner.kind == IFLA_INFO_KIND {
                return Ok(Some(inner.string_lossy()));
            }
        }
    }
    Ok(None)
}

fn ip(family: u8, attribute: &Attribute<'_>) -> Result<IpAddr, DecodeError> {
    let address = match family {
        AF_INET => <[u8; 4]>::try_from(attribute.value).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(attribute.value).ok().map(IpAddr::from),
    };
    address.ok_or_else(|| format!("an address of {} bytes", attribute.value.len()).into())
}

fn split<'a, const N: usize>(
    payload: &'a [u8],
    name: &str,
) -> Result<(&'a [u8; N], &'a [u8]), DecodeError> {
    payload.split_first_chunk().ok_or_else(|| DecodeError::invalid_buffer(name, payload.len(), N))
}

#[cfg(test)]
mod tests;
