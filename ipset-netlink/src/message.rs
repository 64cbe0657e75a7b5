//! Commands as netlink requests.
//!
//! In: a command's subject as values. Out: a [`Request`] that is ready to be sent, written straight
//! into its one buffer. Never: a socket, or an attribute a kernel of protocol 6 does not know.
//!
//! Layout: `struct nfgenmsg`, then attributes, `IPSET_ATTR_PROTOCOL` first. Integers carry
//! `NLA_F_NET_BYTEORDER` and nests `NLA_F_NESTED`; the kernel refuses them otherwise
//! (`net/netfilter/ipset/ip_set_core.c`, `include/linux/netfilter/ipset/ip_set.h:
//! ip_set_attr_netorder`).

use std::{net::IpAddr, ops::RangeInclusive};

use netlink_batch::{
    Request,
    attribute::{EncodeError, Writer},
};
use netlink_packet_core::{NLA_F_NET_BYTEORDER, NLM_F_CREATE, NLM_F_EXCL};

#[allow(clippy::wildcard_imports, reason = "the kernel's names, most of them")]
use crate::uapi::*;
use crate::{Entry, Protocol, Reason, SetName, SetSpec, SetType};

/// What to make of a command whose result is there already: the set or element to be added exists,
/// the element to be deleted does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// It succeeds, like `ipset -exist`. A set must still match in type and size.
    Accept,
    /// It fails.
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

/// Which way elements go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edit {
    /// Into the set.
    Add,
    /// Out of the set.
    Delete,
}

/// How much of a set to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Names.
    Names,
    /// Names and headers.
    Headers,
    /// Everything.
    Elements,
}

/// The protocol version spoken, written into each command. What can fail in the methods that write
/// one is only the length of [`Dialect::edit`]'s message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect(pub u8);

impl Dialect {
    /// The newest this crate speaks: the one to ask for the kernel's versions with.
    pub const NEWEST: Dialect = Dialect(IPSET_PROTOCOL);

    /// The newest that this crate and the kernel, which speaks those of `kernel`
    /// ([`reply::protocols`](crate::reply::protocols)), have in common.
    ///
    /// # Errors
    ///
    /// [`Reason::UnknownProtocol`] when they have none.
    pub fn shared(kernel: RangeInclusive<u8>) -> Result<Self, Reason> {
        let (oldest, newest) = kernel.into_inner();
        let version = newest.min(IPSET_PROTOCOL);
        if version < oldest.max(IPSET_PROTOCOL_MIN) {
            return Err(Reason::UnknownProtocol { oldest, newest });
        }
        Ok(Dialect(version))
    }

    /// Asks which protocol versions the kernel speaks; see [`reply::protocols`](crate::reply::protocols).
    pub fn ask_protocol(self) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_PROTOCOL, 0, |_| Ok(()))
    }

    /// Asks which revisions of a set type the kernel has; see
    /// [`reply::revisions`](crate::reply::revisions).
    pub fn ask_type(self, spec: &SetSpec) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_TYPE, 0, |w| {
            w.nul_string(IPSET_ATTR_TYPENAME, spec.kind.name())?;
            w.u8(IPSET_ATTR_FAMILY, family(spec));
            Ok(())
        })
    }

    /// Creates a set of a type `revision` the kernel has.
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

    /// Adds or deletes `entries`, numbered from one. Not atomic: the kernel stops at the first it
    /// refuses and names it; see [`reply::refused_line`](crate::reply::refused_line).
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] from about 710 entries on; [`ENTRIES_PER_MESSAGE`] always fit.
    pub fn edit(
        self,
        edit: Edit,
        set: &SetName,
        entries: &[Entry],
        repeat: Repeat,
    ) -> Result<Request, EncodeError> {
        let command = match edit {
            Edit::Add => IPSET_CMD_ADD,
            Edit::Delete => IPSET_CMD_DEL,
        };
        self.request_of(command, repeat.flag(), 64 + entries.len() * LONGEST_ENTRY, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            // Zero until the kernel puts the number of the refused element here.
            be32(w, IPSET_ATTR_LINENO, 0);
            w.nested(IPSET_ATTR_ADT, |w| {
                (1..).zip(entries).try_for_each(|(line, entry)| element(w, entry, line))
            })
        })
    }

    /// Lists one set, or all. A dump; see [`reply::sets`](crate::reply::sets).
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

    /// Swaps the contents of two sets of one type and family.
    pub fn swap(self, set: &SetName, other: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_SWAP, 0, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            set_name(w, IPSET_ATTR_SETNAME2, other)
        })
    }

    /// Renames a set nothing refers to.
    pub fn rename(self, set: &SetName, new: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_RENAME, 0, |w| {
            set_name(w, IPSET_ATTR_SETNAME, set)?;
            set_name(w, IPSET_ATTR_SETNAME2, new)
        })
    }

    /// Destroys a set nothing refers to. Newer kernels would accept that there is none
    /// (`ip_set_core.c: ip_set_destroy`) unless told otherwise.
    pub fn destroy(self, set: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_DESTROY, NLM_F_EXCL, |w| set_name(w, IPSET_ATTR_SETNAME, set))
    }

    /// Removes all elements of a set.
    pub fn flush(self, set: &SetName) -> Result<Request, EncodeError> {
        self.request(IPSET_CMD_FLUSH, 0, |w| set_name(w, IPSET_ATTR_SETNAME, set))
    }

    fn request(
        self,
        command: u16,
        flags: u16,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<Request, EncodeError> {
        self.request_of(command, flags, 128, fill)
    }

    fn request_of(
        self,
        command: u16,
        flags: u16,
        capacity: usize,
        fill: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<Request, EncodeError> {
        let mut payload = Vec::with_capacity(capacity);
        payload.extend_from_slice(&NFGENMSG);
        let mut writer = Writer::new(&mut payload);
        writer.u8(IPSET_ATTR_PROTOCOL, self.0);
        fill(&mut writer)?;
        Ok(Request { kind: NFNL_SUBSYS_IPSET << 8 | command, flags, payload })
    }
}

/// Elements to a message. More gain nothing: a message costs about as much as one element. Fewer
/// bound the work of a refusal, behind which the rest of the message is sent again, and the size of
/// the message, which the kernel then sends back whole.
pub const ENTRIES_PER_MESSAGE: usize = 256;

/// Bytes of an IPv6 `hash:ip,port,net` element that is an exception.
const LONGEST_ENTRY: usize = 92;

/// `struct nfgenmsg`: family `AF_INET` as the `ipset` tool says (ipset does not look at it),
/// `NFNETLINK_V0`, no resource.
pub(crate) const NFGENMSG: [u8; 4] = [2, 0, 0, 0];

/// The family of a set on the wire; a bitmap's is `NFPROTO_UNSPEC`.
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
