//! Decodes the kernel's answers.
//!
//! Takes payloads after the netlink header, beginning with `struct nfgenmsg`. Gives protocol versions, type
//! revisions and sets. Skips unknown attributes. Elements of unknown types stay bytes. Does not panic, and
//! one malformed set does not hide the others.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use netlink_batch::{
    DecodeError,
    attribute::{Attribute, Attributes},
};

#[allow(clippy::wildcard_imports, reason = "the kernel's names, most of them")]
use crate::uapi::*;
use crate::{
    Entry, Family, Header, Kind, Network, Protocol, Set, SetName, SetType, message::NFGENMSG,
};

/// Returns the protocol versions that the kernel supports, oldest to newest.
///
/// # Errors
///
/// Returns a [`DecodeError`] if the answer contains no version or is malformed.
pub fn protocols(payload: &[u8]) -> Result<RangeInclusive<u8>, DecodeError> {
    range(payload, IPSET_ATTR_PROTOCOL, IPSET_ATTR_PROTOCOL_MIN)
}

/// Returns the revisions of a set type that the kernel has, oldest to newest.
///
/// # Errors
///
/// Returns a [`DecodeError`] if the answer contains no revision or is malformed.
pub fn revisions(payload: &[u8]) -> Result<RangeInclusive<u8>, DecodeError> {
    range(payload, IPSET_ATTR_REVISION, IPSET_ATTR_REVISION_MIN)
}

/// Returns the range from the attribute `oldest` to the attribute `newest`. Without `oldest`, the newest is
/// the only one.
fn range(payload: &[u8], newest: u16, oldest: u16) -> Result<RangeInclusive<u8>, DecodeError> {
    let (mut high, mut low) = (None, None);
    for attribute in attributes(payload)? {
        let attribute = attribute?;
        if attribute.kind == newest {
            high = Some(attribute.u8()?);
        } else if attribute.kind == oldest {
            low = Some(attribute.u8()?);
        }
    }
    let high = high.ok_or_else(|| DecodeError::from("no version in the answer"))?;
    Ok(low.unwrap_or(high)..=high)
}

/// Returns the number, from one, of the element at which an [`edit`](crate::message::Dialect::edit) was
/// refused. `echo` is the request as the kernel sent it back. `None` if the request was refused as a whole.
pub fn refused_line(echo: &[u8]) -> Option<u32> {
    let found = |attribute: &Attribute<'_>| attribute.kind == IPSET_ATTR_LINENO;
    let line = attributes(echo).ok()?.map_while(Result::ok).find(found)?.be32().ok()?;
    (line != 0).then_some(line)
}

/// Returns the names in a listing of any detail.
///
/// # Errors
///
/// Returns a [`DecodeError`] if a message is malformed.
pub fn names<'a>(
    payloads: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<SetName>, DecodeError> {
    let mut names = Vec::new();
    for payload in payloads {
        let name = Part::read(payload)?.map(|part| part.name);
        names.extend(name.filter(|name| names.last() != Some(name)));
    }
    Ok(names)
}

/// Returns the sets in a listing with headers or elements. A set may extend over several messages.
///
/// # Errors
///
/// Returns a [`DecodeError`] if a message is malformed outside its elements.
pub fn sets<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Set>, DecodeError> {
    let mut sets: Vec<Set> = Vec::new();
    for payload in payloads {
        let Some(part) = Part::read(payload)? else { continue };
        let started = sets.last().is_some_and(|set| set.header.name == part.name);
        if !started || part.kind.is_some() {
            sets.push(part.begin()?);
        }
        if let Some(set) = sets.last_mut() {
            part.fill(set);
        }
    }
    Ok(sets)
}

/// One message of a listing. Only the first message of a set has type and parameters.
struct Part<'a> {
    name: SetName,
    kind: Option<&'a [u8]>,
    family: u8,
    revision: u8,
    parameters: Attributes<'a>,
    elements: Attributes<'a>,
}

impl<'a> Part<'a> {
    /// Reads a message. `None` for a set without a name: the kernel allows one, but it cannot be referred to.
    fn read(payload: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let (mut name, mut kind, mut family, mut revision) = (None, None, 0, 0);
        let (mut parameters, mut elements) = (Attributes::new(&[]), Attributes::new(&[]));
        for attribute in attributes(payload)? {
            let attribute = attribute?;
            match attribute.kind {
                IPSET_ATTR_SETNAME => name = SetName::new(text(attribute)).ok(),
                IPSET_ATTR_TYPENAME => kind = Some(text(attribute)),
                IPSET_ATTR_FAMILY => family = attribute.u8()?,
                IPSET_ATTR_REVISION => revision = attribute.u8()?,
                IPSET_ATTR_DATA => parameters = attribute.nested(),
                IPSET_ATTR_ADT => elements = attribute.nested(),
                _ => {}
            }
        }
        Ok(name.map(|name| Part { name, kind, family, revision, parameters, elements }))
    }

    /// Returns the set that this message begins, without elements yet.
    fn begin(&self) -> Result<Set, DecodeError> {
        let kind = self.kind.unwrap_or_default();
        let mut header = Header {
            name: self.name,
            kind: SetType::of_name(kind)
                .map_or_else(|| Kind::Other(String::from_utf8_lossy(kind).into()), Kind::Known),
            family: Family::of_number(self.family),
            revision: self.revision,
            hash_size: None,
            max_elements: None,
            ports: None,
            timeout: None,
            netmask: None,
            bitmask: None,
            references: 0,
            elements: 0,
            memory: 0,
        };
        let (mut first, mut last) = (None, None);
        for attribute in self.parameters.clone() {
            let attribute = attribute?;
            match attribute.kind {
                IPSET_ATTR_HASHSIZE => header.hash_size = Some(attribute.be32()?),
                IPSET_ATTR_MAXELEM => header.max_elements = Some(attribute.be32()?),
                IPSET_ATTR_PORT_FROM => first = Some(attribute.be16()?),
                IPSET_ATTR_PORT_TO => last = Some(attribute.be16()?),
                IPSET_ATTR_TIMEOUT => header.timeout = Some(attribute.be32()?),
                IPSET_ATTR_NETMASK => header.netmask = Some(attribute.u8()?),
                IPSET_ATTR_BITMASK => header.bitmask = address(attribute),
                IPSET_ATTR_REFERENCES => header.references = attribute.be32()?,
                IPSET_ATTR_ELEMENTS => header.elements = attribute.be32()?,
                IPSET_ATTR_MEMSIZE => header.memory = attribute.be32()?,
                _ => {}
            }
        }
        header.ports = first.zip(last).map(|(first, last)| first..=last);
        Ok(Set { header, entries: Vec::new(), opaque: Vec::new() })
    }

    /// Adds this message's elements to `set`, up to the first one with a wrong length.
    fn fill(self, set: &mut Set) {
        if let (Kind::Known(_), []) = (&set.header.kind, set.entries.as_slice()) {
            set.entries.reserve(set.header.elements.min(1 << 16) as usize);
        }
        for element in self.elements.map_while(Result::ok) {
            let entry = match set.header.kind {
                Kind::Known(kind) => entry(kind, element),
                Kind::Other(_) => None,
            };
            match entry {
                Some(entry) => set.entries.push(entry),
                None => set.opaque.push(element.value.to_vec()),
            }
        }
    }
}

/// Decodes one element of a set of type `kind`. `None` if it lacks a part of an [`Entry`] or has an invalid
/// one.
fn entry(kind: SetType, element: Attribute<'_>) -> Option<Entry> {
    let (mut ip, mut ip2, mut port, mut protocol, mut prefix) = (None, None, None, None, None);
    let mut is_exception = false;
    for attribute in element.nested() {
        let attribute = attribute.ok()?;
        match attribute.kind {
            IPSET_ATTR_IP => ip = Some(address(attribute)?),
            IPSET_ATTR_IP2 => ip2 = Some(address(attribute)?),
            IPSET_ATTR_PORT => port = Some(attribute.be16().ok()?),
            IPSET_ATTR_PROTO => protocol = Some(Protocol(attribute.u8().ok()?)),
            IPSET_ATTR_CIDR2 => prefix = Some(attribute.u8().ok()?),
            IPSET_ATTR_CADT_FLAGS => {
                is_exception = attribute.be32().ok()? & IPSET_FLAG_NOMATCH != 0;
            }
            _ => {}
        }
    }
    Some(match kind {
        SetType::HashIp => Entry::Ip(ip?),
        SetType::HashIpPort => Entry::IpPort { ip: ip?, protocol: protocol?, port: port? },
        SetType::HashIpPortIp => {
            Entry::IpPortIp { ip: ip?, protocol: protocol?, port: port?, ip2: ip2? }
        }
        SetType::HashIpPortNet => {
            let net = Network::new(ip2?, prefix?).ok()?;
            let (ip, protocol, port) = (ip?, protocol?, port?);
            if is_exception {
                return Some(Entry::IpPortNetNomatch { ip, protocol, port, net });
            }
            Entry::IpPortNet { ip, protocol, port, net }
        }
        SetType::BitmapPort => Entry::Port(port?),
    })
}

fn address(attribute: Attribute<'_>) -> Option<IpAddr> {
    let inner = attribute.nested().next()?.ok()?;
    match inner.kind {
        IPSET_ATTR_IPADDR_IPV4 => {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(inner.value).ok()?).into())
        }
        IPSET_ATTR_IPADDR_IPV6 => {
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(inner.value).ok()?).into())
        }
        _ => None,
    }
}

/// Returns the value up to its first NUL.
fn text<'a>(attribute: Attribute<'a>) -> &'a [u8] {
    attribute.value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns the attributes after `struct nfgenmsg`.
fn attributes(payload: &[u8]) -> Result<Attributes<'_>, DecodeError> {
    let attributes = payload.get(NFGENMSG.len()..);
    let short = || DecodeError::invalid_buffer("nfgenmsg", payload.len(), NFGENMSG.len());
    attributes.map(Attributes::new).ok_or_else(short)
}

#[cfg(test)]
mod tests;
