//! Encodes commands as netlink requests.
//!
//! Takes the parameters of a command. Gives a [`Request`] that is ready to be sent, written directly into its
//! buffer. Uses no socket, and no attribute that a kernel with protocol 6 does not know.
//!
//! The layout is `struct nfgenmsg`, then attributes, beginning with `IPSET_ATTR_PROTOCOL`. Integers need
//! `NLA_F_NET_BYTEORDER` and nests need `NLA_F_NESTED`; otherwise the kernel refuses them
//! (`net/netfilter/ipset/ip_set_core.c`, `include/linux/netfilter/ipset/ip_set.h: ip_set_attr_netorder`).

use std::{net::IpAddr, ops::RangeInclusive};

use netlink_batch::{
    Request,
    attribute::{EncodeError, Writer},
};
use netlink_packet_core::{NLA_F_NET_BYTEORDER, NLM_F_CREATE, NLM_F_EXCL};

#[allow(clippy::wildcard_imports, reason = "the kernel's names, most of them")]
use crate::uapi::*;
use crate::{Entry, Protocol, Reason, SetName, SetSpec, SetType};

/// The treatment of a command whose result already holds: the set or element to be added exists, or the
/// element to be deleted does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// The command succeeds, as with `ipset -exist`. A set must still match in type and size.
    Accept,
    /// The command fails.
    Refuse,
}

impl Repeat {
    fn flag(self) -> u16 {
        match self {
            Repeat::Accept => 0,
            Repeat::Refuse => NLM_F_EXCL,
        }
    }
}

/// The direction of a change to a set's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Adds elements to the set.
    Add,
    /// Deletes elements from the set.
    Delete,
}

/// The detail with which sets are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Names only.
    Names,
    /// Names and headers.
    Headers,
    /// Names, headers and elements.
    Elements,
}

/// The protocol version in use, which each command contains. The methods return an error only if a message is
/// too long, which can only happen in [`Dialect::edit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect(pub u8);

impl Dialect {
    /// The newest version that this crate supports. The kernel is asked for its versions with this one.
    pub const NEWEST: Dialect = Dialect(IPSET_PROTOCOL);

    /// Returns the newest version that both this crate and the kernel support. `kernel` are the kernel's
    /// versions, from [`reply::protocols`](crate::reply::protocols).
    ///
    /// # Errors
    ///
    /// Returns [`Reason::UnknownProtocol`] if there is no common version.
    pub fn shared(kernel: RangeInclusive<u8>) -> Result<Self, Reason> {
        let (oldest, newest) = kernel.into_inner();
        let version = newest.min(IPSET_PROTOCOL);
        if version < oldest.max(IPSET_PROTOCOL_MIN) {
            return Err(Reason::UnknownProtocol { oldest, newest });
        }
        Ok(Dialect(version))
    }

    /// Asks for the protocol versions that the kernel supports; see
    /// [`reply::protocols`](crate::reply::protocols).
    pub fn ask_protocol(self) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_PROTOCOL, 0, |_| Ok(()))
    }

    /// Asks for the revisions of a set type that the kernel has; see
    /// [`reply::revisions`](crate::reply::revisions).
    pub fn ask_type(self, spec: &SetSpec) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_TYPE, 0, |w| {
            w.nul_string(IPSET_ATTR_TYPENAME, spec.kind.name())?;
            w.u8(IPSET_ATTR_FAMILY, family(spec));
            Ok(())
        })
    }

    /// Creates a set of a type `revision` that the kernel has.
    pub fn create(
        self,
        spec: &SetSpec,
        revision: u8,
        repeat: Repeat,
    ) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_CREATE, NLM_F_CREATE | repeat.flag(), |w| {
            set_name(w, IPSET_ATTR_SETNAME, &spec.name)?;
            w.nul_string(IPSET_ATTR_TYPENAME, spec.kind.name())?;
            w.u8(IPSET_ATTR_REVISION, revision);
            w.u8(IPSET_ATTR_FAMILY, family(spec));
            w.nested(IPSET_ATTR_DATA, |w| {
                match spec.kind {
                    SetType::BitmapPort => {
                        be16(w, IPSET_ATTR_PORT_FROM, *spec.ports.start());
                        be16(w, IPSET_ATTR_PORT_TO, *spec.ports.end());
                    }
                    SetType::HashIp
                    | SetType::HashIpPort
                    | SetType::HashIpPortIp
                    | SetType::HashIpPortNet => {
                        be32(w, IPSET_ATTR_HASHSIZE, spec.hash_size);
                        be32(w, IPSET_ATTR_MAXELEM, spec.max_elements);
                    }
                }
                Ok(())
            })
        })
    }

    /// Adds or deletes `entries`, numbered from one. Not atomic: the kernel stops at the first element that
    /// it refuses and reports its number; see [`reply::refused_line`](crate::reply::refused_line).
    ///
    /// # Errors
    ///
    /// Returns [`EncodeError::TooLong`] from about 710 entries on; [`ENTRIES_PER_MESSAGE`] always fit.
    pub fn edit(
        self,
        edit: Edit,
        set: &SetName,
        entries: &[Entry],
        repeat: Repeat,
    ) -> Result<Request, EncodeError> {
        let send_command = match edit {
            Edit::Add => IPSET_CMD_ADD,
            Edit::Delete => IPSET_CMD_DEL,
        };
        self.request_of(send_command, repeat.flag(), 64 + entries.len() * LONGEST_ENTRY, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            // The kernel replaces this zero by the number of a refused element.
            be32(w, IPSET_ATTR_LINENO, 0);
            w.nested(IPSET_ATTR_ADT, |w| {
                (1..).zip(entries).try_for_each(|(line, entry)| element(w, entry, line))
            })
        })
    }

    /// Lists one set or all sets. The request is a dump; see [`reply::sets`](crate::reply::sets).
    pub fn list(self, set: Option<&SetName>, detail: Detail) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_LIST, 0, |w| {
            set.map_or(Ok(()), |set| set_name(w, IPSET_ATTR_SETNAME, set))?;
            match detail {
                Detail::Names => be32(w, IPSET_ATTR_FLAGS, IPSET_FLAG_LIST_SETNAME),
                Detail::Headers => be32(w, IPSET_ATTR_FLAGS, IPSET_FLAG_LIST_HEADER),
                Detail::Elements => {}
            }
            Ok(())
        })
    }

    /// Swaps the contents of two sets of the same type and family.
    pub fn swap(self, set: &SetName, other: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_SWAP, 0, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            set_name(w, IPSET_ATTR_SETNAME2, other)
        })
    }

    /// Renames a set to which no rule or set refers.
    pub fn rename(self, set: &SetName, new: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_RENAME, 0, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            set_name(w, IPSET_ATTR_SETNAME2, new)
        })
    }

    /// Destroys a set to which no rule or set refers. Without `NLM_F_EXCL`, newer kernels would accept that the
    /// set does not exist (`ip_set_core.c: ip_set_destroy`).
    pub fn destroy(self, set: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_DESTROY, NLM_F_EXCL, |w| set_name(w, IPSET_ATTR_SETNAME, set))
    }

    /// Removes all elements of a set.
    pub fn flush(self, set: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_FLUSH, 0, |w| set_name(w, IPSET_ATTR_SETNAME, set))
    }

    fn request(
        self,
        send_command: u16,
        flags: u16,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<Request, EncodeError> {
        self.request_of(send_command, flags, 128, fill)
    }

    fn request_of(
        self,
        send_command: u16,
        flags: u16,
        capacity: usize,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<Request, EncodeError> {
        let mut payload = Vec::with_capacity(capacity);
        payload.extend_from_slice(&NFGENMSG);
        let mut writer = Writer::new(&mut payload);
        writer.u8(IPSET_ATTR_PROTOCOL, self.0);
        fill(&mut writer)?;
        Ok(Request { kind: NFNL_SUBSYS_IPSET << 8 | send_command, flags, payload })
    }
}

/// The number of elements in a message. More save nothing, because a message costs about as much as one
/// element. After a refusal the rest of the message is sent again, so fewer elements limit that work. They
/// also limit the size of the message, which the kernel sends back whole.
pub const ENTRIES_PER_MESSAGE: usize = 256;

/// The size in bytes of the longest element: an exception in an IPv6 `hash:ip,port,net` set.
const LONGEST_ENTRY: usize = 92;

/// The header `struct nfgenmsg`: family `AF_INET` as in the `ipset` tool (ipset ignores it), `NFNETLINK_V0`,
/// no resource.
pub(crate) const NFGENMSG: [u8; 4] = [2, 0, 0, 0];

/// Returns the family of a set on the wire; that of a bitmap is `NFPROTO_UNSPEC`.
fn family(spec: &SetSpec) -> u8 {
    match spec.kind {
        SetType::BitmapPort => 0,
        SetType::HashIp | SetType::HashIpPort | SetType::HashIpPortIp | SetType::HashIpPortNet => {
            spec.family.number()
        }
    }
}

fn element(w: &mut Writer<'_>, entry: &Entry, line: u32) -> Result<(), EncodeError> {
    w.nested(IPSET_ATTR_DATA, |w| {
        match *entry {
            Entry::Ip(ip) => address(w, IPSET_ATTR_IP, ip)?,
            Entry::IpPort { ip, protocol, port } => service(w, ip, protocol, port)?,
            Entry::IpPortIp { ip, protocol, port, ip2 } => {
                service(w, ip, protocol, port)?;
                address(w, IPSET_ATTR_IP2, ip2)?;
            }
            Entry::IpPortNet { ip, protocol, port, net } => {
                service(w, ip, protocol, port)?;
                address(w, IPSET_ATTR_IP2, net.address())?;
                w.u8(IPSET_ATTR_CIDR2, net.prefix());
            }
            Entry::IpPortNetNomatch { ip, protocol, port, net } => {
                service(w, ip, protocol, port)?;
                address(w, IPSET_ATTR_IP2, net.address())?;
                w.u8(IPSET_ATTR_CIDR2, net.prefix());
                be32(w, IPSET_ATTR_CADT_FLAGS, IPSET_FLAG_NOMATCH);
            }
            Entry::Port(port) => be16(w, IPSET_ATTR_PORT, port),
        }
        be32(w, IPSET_ATTR_LINENO, line);
        Ok(())
    })
}

fn service(
    w: &mut Writer<'_>,
    ip: IpAddr,
    protocol: Protocol,
    port: u16,
) -> Result<(), EncodeError> {
    address(w, IPSET_ATTR_IP, ip)?;
    be16(w, IPSET_ATTR_PORT, port);
    w.u8(IPSET_ATTR_PROTO, protocol.0);
    Ok(())
}

fn address(w: &mut Writer<'_>, kind: u16, ip: IpAddr) -> Result<(), EncodeError> {
    w.nested(kind, |w| {
        match ip {
            IpAddr::V4(ip) => w.fixed(IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, ip.octets()),
            IpAddr::V6(ip) => w.fixed(IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, ip.octets()),
        }
        Ok(())
    })
}

fn set_name(w: &mut Writer<'_>, kind: u16, name: &SetName) -> Result<(), EncodeError> {
    w.bytes(kind, name.with_nul())
}

fn be16(w: &mut Writer<'_>, kind: u16, value: u16) {
    w.be16(kind | NLA_F_NET_BYTEORDER, value);
}

fn be32(w: &mut Writer<'_>, kind: u16, value: u32) {
    w.be32(kind | NLA_F_NET_BYTEORDER, value);
}

#[cfg(test)]
pub(crate) mod tests;
