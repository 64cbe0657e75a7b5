//! Flows: the entries of connection tracking.
//!
//! Contains addresses, ports and marks as plain values that compare. Does not contain counters, states or
//! timeouts, which change all the time.

use std::fmt;
use std::net::SocketAddr;

pub use netlink_batch::{AddressFamily as Family, Protocol};

/// The flows that a listing asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Selection {
    /// The family of the flows' addresses.
    pub family: Family,
    /// The transport protocol of the flows.
    pub protocol: Protocol,
    /// The bits (first) that a flow's mark must have under a mask (second); `None` selects every mark.
    pub mark: Option<(u32, u32)>,
}

impl Selection {
    /// Returns a selection of all flows of a protocol.
    pub fn new(family: Family, protocol: Protocol) -> Self {
        Self { family, protocol, mark: None }
    }

    /// Returns a selection of only those flows whose mark, under `mask`, is `value`.
    #[must_use]
    pub fn with_mark(self, value: u32, mask: u32) -> Self {
        Self { mark: Some((value, mask)), ..self }
    }

    /// True if the selection contains the flow.
    pub fn contains(&self, flow: &Flow) -> bool {
        let is_marked = |(value, mask)| flow.mark & mask == value & mask;
        flow.protocol == self.protocol
            && flow.family() == self.family
            && self.mark.is_none_or(is_marked)
    }
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// The sender of the packets.
    pub source: SocketAddr,
    /// The receiver of the packets.
    pub destination: SocketAddr,
}

/// The ends of the original direction that rules of the table `nat` have translated: `SNAT`, `MASQUERADE`,
/// `DNAT` and the like. IPVS writes its translation into the reply direction and sets neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translated {
    /// True if the source was translated (`IPS_SRC_NAT`).
    pub source: bool,
    /// True if the destination was translated (`IPS_DST_NAT`).
    pub destination: bool,
}

/// One tracked flow of a protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Flow {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The original direction: addresses and ports of the first packet as it arrived.
    pub original: Tuple,
    /// The reply direction: addresses and ports of the answer as it arrives. It shows what was translated.
    pub reply: Tuple,
    /// The ends that rules of the table `nat` have translated. A deletion does not compare them.
    pub translated: Translated,
    /// The mark of the flow (`CTA_MARK`); 0 if none was set. A deletion does not compare it.
    pub mark: u32,
    /// The kernel's identifier (`CTA_ID`), if it gave one.
    pub id: Option<u32>,
    /// The zone of the original direction; 0 if zones are not used.
    pub zone: u16,
}

impl Flow {
    /// Returns a flow in zone 0 without translation, mark or identifier.
    pub fn new(protocol: Protocol, original: Tuple, reply: Tuple) -> Self {
        let (translated, mark, id, zone) = (Translated::default(), 0, None, 0);
        Self { protocol, original, reply, translated, mark, id, zone }
    }

    /// Returns the family of the original direction.
    pub fn family(&self) -> Family {
        Family::of(self.original.source.ip())
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, original, reply, .. } = self;
        write!(
            f,
            "{protocol} {} -> {} (answered {} -> {})",
            original.source, original.destination, reply.source, reply.destination
        )
    }
}
