//! Encodes requests and decodes answers.
//!
//! Takes flows, or a family and a protocol, and gives [`Request`]s. Takes answers and gives flows. A deletion
//! always identifies one flow. An unknown attribute does not fail a listing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_batch::attribute::{Attribute, Attributes, EncodeError, Writer};
use netlink_batch::{DecodeError, ReplyRef, Request};

use crate::flow::{Family, Flow, Protocol, Selection, Translated, Tuple};
use crate::uapi::{
    CTA_FILTER, CTA_FILTER_F_CTA_PROTO_NUM, CTA_FILTER_ORIG_FLAGS, CTA_ID, CTA_IP_V4_DST,
    CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_MARK, CTA_MARK_MASK, CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_STATUS, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY, CTA_TUPLE_ZONE, CTA_ZONE, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET,
    IPCTNL_MSG_CT_NEW, IPS_DST_NAT, IPS_SRC_NAT, NFNETLINK_V0, NFNL_SUBSYS_CTNETLINK,
};

/// The choice to let the kernel filter by protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The kernel filters by protocol number and nothing else.
    ByProtocol,
    /// The kernel does not filter: kernels before 5.8 do not support it, and some refuse it.
    None,
}

/// Asks for the flows of a family. Also asks for a mark if the selection has one, and for the protocol if the
/// kernel may filter by it. A kernel that does not know the mark ignores it.
///
/// # Errors
/// Returns no error in practice: the attributes have fixed lengths.
pub fn list(selection: &Selection, filter: Filter) -> Result<Request, EncodeError> {
    let mut payload = header(selection.family);
    let mut writer = Writer::new(&mut payload);
    if let Some((value, mask)) = selection.mark {
        // The kernel masks only its own side of the comparison (`ctnetlink_filter_match`).
        writer.be32(CTA_MARK, value & mask);
        writer.be32(CTA_MARK_MASK, mask);
    }
    if filter == Filter::ByProtocol {
        writer.nested(CTA_TUPLE_ORIG, |tuple| {
            tuple.nested(CTA_TUPLE_PROTO, |proto| {
                proto.u8(CTA_PROTO_NUM, selection.protocol.0);
                Ok(())
            })
        })?;
        writer.nested(CTA_FILTER, |filter| {
            filter.u32(CTA_FILTER_ORIG_FLAGS, CTA_FILTER_F_CTA_PROTO_NUM);
            Ok(())
        })?;
    }
    Ok(request(IPCTNL_MSG_CT_GET, payload))
}

/// Asks to delete one flow.
///
/// # Errors
/// Returns no error in practice: the attributes have fixed lengths.
pub fn delete(flow: &Flow) -> Result<Request, EncodeError> {
    let mut payload = header(flow.family());
    let mut writer = Writer::new(&mut payload);
    writer.nested(CTA_TUPLE_ORIG, |tuple| write_tuple(tuple, flow.protocol, &flow.original))?;
    if flow.zone != 0 {
        writer.be16(CTA_ZONE, flow.zone);
    }
    if let Some(id) = flow.id {
        writer.be32(CTA_ID, id);
    }
    Ok(request(IPCTNL_MSG_CT_DELETE, payload))
}

/// Decodes one answer to a listing. `None` for a flow without ports or addresses, and for a message of
/// another kind.
///
/// # Errors
/// Returns an error if the message is malformed.
pub fn flow(reply: ReplyRef<'_>) -> Result<Option<Flow>, DecodeError> {
    if reply.kind != kind(IPCTNL_MSG_CT_NEW) {
        return Ok(None);
    }
    let (mut original, mut answer) = (Half::default(), Half::default());
    let (mut id, mut zone, mut mark, mut status) = (None, None, 0, 0);
    for attribute in Attributes::new(reply.payload.get(HEADER_LENGTH..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind {
            CTA_TUPLE_ORIG => original = half(&attribute)?,
            CTA_TUPLE_REPLY => answer = half(&attribute)?,
            CTA_STATUS => status = attribute.be32()?,
            CTA_MARK => mark = attribute.be32()?,
            CTA_ID => id = Some(attribute.be32()?),
            CTA_ZONE => zone = Some(attribute.be16()?),
            _ => {}
        }
    }
    let zone_of_original = original.zone;
    Ok(original.protocol.zip(original.tuple().zip(answer.tuple())).map(
        |(protocol, (original, reply))| Flow {
            protocol: Protocol(protocol),
            original,
            reply,
            translated: Translated {
                source: status & IPS_SRC_NAT != 0,
                destination: status & IPS_DST_NAT != 0,
            },
            mark,
            id,
            // The zone of a single direction stands in its tuple; a deletion ignores that of the reply
            // direction.
            zone: zone.or(zone_of_original).unwrap_or(0),
        },
    ))
}

/// The length of `struct nfgenmsg`: family, version, two unused bytes.
const HEADER_LENGTH: usize = 4;

fn header(family: Family) -> Vec<u8> {
    vec![family.number(), NFNETLINK_V0, 0, 0]
}

fn request(command: u16, payload: Vec<u8>) -> Request {
    Request { kind: kind(command), flags: 0, payload }
}

fn kind(command: u16) -> u16 {
    (NFNL_SUBSYS_CTNETLINK << 8) | command
}

fn write_tuple(
    writer: &mut Writer<'_>,
    protocol: Protocol,
    tuple: &Tuple,
) -> Result<(), EncodeError> {
    writer.nested(CTA_TUPLE_IP, |ip| {
        match tuple.source.ip() {
            IpAddr::V4(source) => ip.fixed(CTA_IP_V4_SRC, source.octets()),
            IpAddr::V6(source) => ip.fixed(CTA_IP_V6_SRC, source.octets()),
        }
        match tuple.destination.ip() {
            IpAddr::V4(destination) => ip.fixed(CTA_IP_V4_DST, destination.octets()),
            IpAddr::V6(destination) => ip.fixed(CTA_IP_V6_DST, destination.octets()),
        }
        Ok(())
    })?;
    writer.nested(CTA_TUPLE_PROTO, |proto| {
        proto.u8(CTA_PROTO_NUM, protocol.0);
        proto.be16(CTA_PROTO_SRC_PORT, tuple.source.port());
        proto.be16(CTA_PROTO_DST_PORT, tuple.destination.port());
        Ok(())
    })
}

/// A tuple whose attributes are still being read.
#[derive(Default)]
struct Half {
    protocol: Option<u8>,
    source: (Option<IpAddr>, Option<u16>),
    destination: (Option<IpAddr>, Option<u16>),
    zone: Option<u16>,
}

impl Half {
    fn tuple(&self) -> Option<Tuple> {
        let end = |(ip, port): (Option<IpAddr>, Option<u16>)| Some(SocketAddr::new(ip?, port?));
        Some(Tuple { source: end(self.source)?, destination: end(self.destination)? })
    }
}

fn half(attribute: &Attribute<'_>) -> Result<Half, DecodeError> {
    let mut half = Half::default();
    for part in attribute.nested() {
        let part = part?;
        match part.kind {
            CTA_TUPLE_IP => read_addresses(&part, &mut half)?,
            CTA_TUPLE_PROTO => read_protocol(&part, &mut half)?,
            CTA_TUPLE_ZONE => half.zone = Some(part.be16()?),
            _ => {}
        }
    }
    Ok(half)
}

fn read_addresses(attribute: &Attribute<'_>, half: &mut Half) -> Result<(), DecodeError> {
    for address in attribute.nested() {
        let address = address?;
        let four = || <[u8; 4]>::try_from(address.value).map(Ipv4Addr::from).map(IpAddr::V4).ok();
        let six = || <[u8; 16]>::try_from(address.value).map(Ipv6Addr::from).map(IpAddr::V6).ok();
        match address.kind {
            CTA_IP_V4_SRC => half.source.0 = four(),
            CTA_IP_V4_DST => half.destination.0 = four(),
            CTA_IP_V6_SRC => half.source.0 = six(),
            CTA_IP_V6_DST => half.destination.0 = six(),
            _ => {}
        }
    }
    Ok(())
}

fn read_protocol(attribute: &Attribute<'_>, half: &mut Half) -> Result<(), DecodeError> {
    for part in attribute.nested() {
        let part = part?;
        match part.kind {
            CTA_PROTO_NUM => half.protocol = Some(part.u8()?),
            CTA_PROTO_SRC_PORT => half.source.1 = Some(part.be16()?),
            CTA_PROTO_DST_PORT => half.destination.1 = Some(part.be16()?),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
