//! Flows: what connection tracking knows of a connection.
//!
//! In: addresses and ports. Out: plain values that compare. Never: counters, states, timeouts,
//! which change while one looks.

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
    /// The bits (first) that a flow's mark must have under a mask (second); `None` asks for every mark.
    pub mark: Option<(u32, u32)>,
}

impl Selection {
    /// All flows of a protocol.
    pub fn new(family: Family, protocol: Protocol) -> Self {
        Self { family, protocol, mark: None }
    }

    /// Those of them whose mark, under `mask`, is `value`.
    #[must_use]
    pub fn with_mark(self, value: u32, mask: u32) -> Self {
        Self { mark: Some((value, mask)), ..self }
    }

    /// Returns true if the selection asks for the flow.
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
    /// Who sends.
    pub source: SocketAddr,
    /// Who receives.
    pub destination: SocketAddr,
}

/// The ends of the original direction that rules of the table `nat` have translated: `SNAT`, `MASQUERADE`,
/// `DNAT` and the like. IPVS writes its translation into the reply direction and sets neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Translated {
    /// Its source (`IPS_SRC_NAT`).
    pub source: bool,
    /// Its destination (`IPS_DST_NAT`).
    pub destination: bool,
}

/// One tracked flow of a protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Flow {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The direction of the first packet, as it came.
    pub original: Tuple,
    /// The direction of the answer, as it comes: what was translated shows as the difference.
    pub reply: Tuple,
    /// The ends that rules of the table `nat` have translated. A deletion does not compare them.
    pub translated: Translated,
    /// The mark of the flow (`CTA_MARK`); 0 where nobody sets one. A deletion does not compare it.
    pub mark: u32,
    /// The kernel's identifier (`CTA_ID`), if it gave one.
    pub id: Option<u32>,
    /// The zone of the original direction; 0 where nobody uses zones.
    pub zone: u16,
}

impl Flow {
    /// A flow that nobody has translated or marked, in zone 0, whatever its identifier.
    pub fn new(protocol: Protocol, original: Tuple, reply: Tuple) -> Self {
        let (translated, mark, id, zone) = (Translated::default(), 0, None, 0);
        Self { protocol, original, reply, translated, mark, id, zone }
    }

    /// The family of its original direction.
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
