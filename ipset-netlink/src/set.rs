//! Sets: type, family and size, as requested by the caller or found in the kernel.
//!
//! Takes the caller's parameters ([`SetSpec`]), or a decoded listing ([`Set`]). A set of an unknown type is
//! not an error: it is listed as [`Kind::Other`], and its elements stay bytes.

use std::{fmt, net::IpAddr, ops::RangeInclusive};

pub use netlink_batch::AddressFamily as Family;

use crate::{Entry, Reason, SetName};

/// The set types that this crate reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SetType {
    /// The type `hash:ip`.
    HashIp,
    /// The type `hash:ip,port`.
    HashIpPort,
    /// The type `hash:ip,port,ip`.
    HashIpPortIp,
    /// The type `hash:ip,port,net`.
    HashIpPortNet,
    /// The type `bitmap:port`.
    BitmapPort,
}

impl SetType {
    /// All types, in the order of declaration.
    pub const ALL: [SetType; 5] = [
        SetType::HashIp,
        SetType::HashIpPort,
        SetType::HashIpPortIp,
        SetType::HashIpPortNet,
        SetType::BitmapPort,
    ];

    /// Returns the kernel's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            SetType::HashIp => "hash:ip",
            SetType::HashIpPort => "hash:ip,port",
            SetType::HashIpPortIp => "hash:ip,port,ip",
            SetType::HashIpPortNet => "hash:ip,port,net",
            SetType::BitmapPort => "bitmap:port",
        }
    }

    /// Returns the newest revision that this crate was written for: `IPSET_TYPE_REV_MAX` of
    /// `net/netfilter/ipset/ip_set_{hash_*,bitmap_port}.c`. A set is created with this revision or the
    /// kernel's newest one, whichever is older.
    pub const fn newest_revision(self) -> u8 {
        match self {
            SetType::HashIp | SetType::HashIpPortIp => 6,
            SetType::HashIpPort => 7,
            SetType::HashIpPortNet => 8,
            SetType::BitmapPort => 3,
        }
    }

    /// Returns the revision for creating a set: the newest that both this crate and the kernel know. `kernel`
    /// are the kernel's revisions, from [`reply::revisions`](crate::reply::revisions).
    ///
    /// # Errors
    ///
    /// Returns [`Reason::UnknownRevision`] if the kernel's revisions are all newer.
    pub fn shared_revision(self, kernel: RangeInclusive<u8>) -> Result<u8, Reason> {
        let (oldest, newest) = kernel.into_inner();
        let known = self.newest_revision();
        let shared = newest.min(known);
        if shared < oldest {
            return Err(Reason::UnknownRevision { kind: self, oldest, known });
        }
        Ok(shared)
    }

    pub(crate) fn of_name(name: &[u8]) -> Option<SetType> {
        SetType::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)
    }
}

impl fmt::Display for SetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parameters of a set to be created.
///
/// ```
/// use ipset_netlink::{Family, SetSpec, SetType};
///
/// let spec = SetSpec::new("services".parse()?, SetType::HashIpPort, Family::Inet);
/// let larger = SetSpec { max_elements: 1 << 20, ..spec };
/// # Ok::<(), ipset_netlink::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    /// The name of the set.
    pub name: SetName,
    /// The type of the set.
    pub kind: SetType,
    /// The family of the addresses in a hash. A bitmap ignores it.
    pub family: Family,
    /// The initial number of buckets of a hash. The kernel rounds it up to a power of two, and increases it
    /// when needed.
    pub hash_size: u32,
    /// The largest number of elements of a hash.
    pub max_elements: u32,
    /// The ports that a bitmap can contain. A hash ignores them.
    pub ports: RangeInclusive<u16>,
}

impl SetSpec {
    /// Returns a set with the kernel's own defaults: 1,024 buckets, at most 65,536 elements, all ports.
    pub fn new(name: SetName, kind: SetType, family: Family) -> Self {
        let (hash_size, max_elements) = (1024, 65536);
        SetSpec { name, kind, family, hash_size, max_elements, ports: 0..=u16::MAX }
    }

    /// True if a set of this name in the kernel can be used as this one. The type must be equal, and the
    /// family and capacity of a hash or the range of a bitmap. Elements must also stay as they are added. So
    /// a default timeout does not match, since elements expire, nor does a netmask or bitmask, which stores
    /// only part of an address. Bucket count and revision do not matter.
    pub fn matches(&self, found: &Header) -> bool {
        let kind = found.name == self.name && found.kind == Kind::Known(self.kind);
        let is_cut = found.netmask.is_some() || found.bitmask.is_some();
        let keeps = found.timeout.is_none() && !is_cut;
        kind && keeps
            && match self.kind {
                SetType::BitmapPort => found.ports.as_ref() == Some(&self.ports),
                SetType::HashIp
                | SetType::HashIpPort
                | SetType::HashIpPortIp
                | SetType::HashIpPortNet => {
                    found.family == Some(self.family)
                        && found.max_elements == Some(self.max_elements)
                }
            }
    }
}

/// The type of a set found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A type that this crate reads and writes.
    Known(SetType),
    /// Another type, by the kernel's name for it.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Known(kind) => kind.fmt(f),
            Kind::Other(name) => f.write_str(name),
        }
    }
}

/// A set found in the kernel, without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The name of the set.
    pub name: SetName,
    /// The type of the set.
    pub kind: Kind,
    /// The family of the set; `None` if the type has none.
    pub family: Option<Family>,
    /// The revision of the type.
    pub revision: u8,
    /// The number of buckets of a hash.
    pub hash_size: Option<u32>,
    /// The largest number of elements of a hash.
    pub max_elements: Option<u32>,
    /// The ports that a bitmap can contain.
    pub ports: Option<RangeInclusive<u16>>,
    /// The lifetime of a new element in seconds; `None` for a set without timeouts.
    pub timeout: Option<u32>,
    /// The prefix length to which each address is cut before it is stored or looked up. `None` if addresses
    /// stay whole.
    pub netmask: Option<u8>,
    /// The mask for the bits of each address that are stored and looked up, unless they form a prefix. `None`
    /// if addresses stay whole or have a [`netmask`](Self::netmask).
    pub bitmask: Option<IpAddr>,
    /// The number of rules and other sets that refer to the set. A set with references cannot be destroyed.
    pub references: u32,
    /// The number of elements, if the kernel counts them.
    pub elements: u32,
    /// The kernel memory in bytes.
    pub memory: u32,
}

/// A set found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Set {
    /// The set's type and parameters.
    pub header: Header,
    /// The elements, in the kernel's order, without their timeouts, counters and comments.
    pub entries: Vec<Entry>,
    /// Elements that this crate cannot decode, as raw attributes: all of a [`Kind::Other`] set. In a set of a
    /// known type, only those that lack a part or have an invalid one, which no kernel is known to send.
    pub opaque: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::tests::bytes, reply};

    /// Returns the answer to `IPSET_CMD_TYPE` of a kernel that has these revisions of `hash:ip,port`.
    fn answer(oldest: u8, newest: u8) -> Vec<u8> {
        bytes(&format!(
            "
            02 00 00 00 05 00 01 00 07 00 00 00 11 00 03 00 68 61 73 68 3a 69 70 2c
            70 6f 72 74 00 00 00 00 05 00 05 00 02 00 00 00 05 00 04 00 {newest:02x} 00 00 00
            05 00 0a 00 {oldest:02x} 00 00 00"
        ))
    }

    fn shared(oldest: u8, newest: u8) -> Result<u8, Reason> {
        SetType::HashIpPort.shared_revision(reply::revisions(&answer(oldest, newest)).unwrap())
    }

    #[test]
    fn a_set_is_created_with_the_newest_revision_both_sides_know() {
        for (kernel, revision) in [((0, 7), 7), ((1, 5), 5), ((2, 9), 7), ((7, 9), 7)] {
            assert_eq!(shared(kernel.0, kernel.1).unwrap(), revision, "{kernel:?}");
        }
    }

    #[test]
    fn a_kernel_that_dropped_all_known_revisions_is_told_by_numbers() {
        let error = shared(8, 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel's oldest revision of hash:ip,port is 8, newest known is 7"
        );
    }

    #[test]
    fn a_set_that_forgets_its_elements_does_not_serve() {
        let spec = SetSpec::new("a".parse().unwrap(), SetType::HashIpPort, Family::Inet);
        let kept = Header {
            name: spec.name,
            kind: Kind::Known(spec.kind),
            family: Some(spec.family),
            revision: 7,
            hash_size: Some(64),
            max_elements: Some(spec.max_elements),
            ports: None,
            timeout: None,
            netmask: None,
            bitmask: None,
            references: 0,
            elements: 0,
            memory: 0,
        };
        assert!(spec.matches(&kept));
        assert!(!spec.matches(&Header { netmask: Some(24), ..kept.clone() }));
        let bitmask = Some("255.0.0.255".parse().unwrap());
        assert!(!spec.matches(&Header { bitmask, ..kept.clone() }));
        // With timeout zero, elements stay unless they are added with their own timeout. This crate creates
        // no such set.
        for timeout in [0, 600] {
            assert!(!spec.matches(&Header { timeout: Some(timeout), ..kept.clone() }));
        }
    }
}
