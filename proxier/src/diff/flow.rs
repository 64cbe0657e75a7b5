//! Tracked flows of connectionless clients: which of them lead where nobody serves any more.
//!
//! In: entries of the connection tracking table, and the virtual servers whose destinations have
//! changed. Out: the flows to forget, so that the client's next packet finds an endpoint of today.
//! Never: a flow to an address, protocol and port that is not one of our virtual servers, whatever
//! its port: other hosts' flows that happen to use the number of a node port stay.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use super::{Change, Comparison};
use crate::model::Protocol;
use crate::plan::{VirtualServerDestination, VirtualServerKey};

/// One entry of the connection tracking table. With connection tracking on, IPVS writes the chosen
/// destination into the reply direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// UDP or SCTP.
    pub protocol: Protocol,
    /// Who sends (source of the original direction).
    pub client: SocketAddr,
    /// Where to (destination of the original direction).
    pub frontend: SocketAddr,
    /// Who answers (source of the reply direction).
    pub server: SocketAddr,
    /// Whom the answer is sent to (destination of the reply direction).
    pub answered: SocketAddr,
    /// The kernel's identifier of the entry (`CTA_ID`), so that a newer flow of the same addresses
    /// is not taken for it.
    pub id: u32,
    /// The zone (`CTA_ZONE`); 0 unless somebody uses zones.
    pub zone: u16,
}

impl Flow {
    /// The virtual server in whose place the flow's first sender answered: of a flow that an endpoint
    /// seems to have begun, because its client's own had just been forgotten.
    pub fn answers_from(&self) -> VirtualServerKey {
        VirtualServerKey {
            protocol: self.protocol,
            address: self.answered.ip(),
            port: self.answered.port(),
        }
    }

    /// The virtual server it was sent to.
    pub fn key(&self) -> VirtualServerKey {
        VirtualServerKey {
            protocol: self.protocol,
            address: self.frontend.ip(),
            port: self.frontend.port(),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}/{} -> {}", self.client, self.frontend, self.protocol, self.server)
    }
}

impl Comparison<'_> {
    /// Of the flows to these virtual servers those that lead to no destination of today.
    ///
    /// `Departs:` upstream keeps flows to any endpoint that serves, chosen or not, and takes every
    /// flow whose port is a node port's for its own, whomever it goes to.
    pub(crate) fn stale_flows(
        &self,
        flows: Vec<Flow>,
        suspects: &BTreeSet<VirtualServerKey>,
    ) -> Vec<Change> {
        let is_stale = |flow: &Flow| {
            let key = flow.key();
            let wanted = self.desired.server(&key);
            let leads_astray = suspects.contains(&key)
                && wanted.is_some_and(|server| !server.destinations.contains(&flow.server));
            leads_astray || suspects.contains(&flow.answers_from())
        };
        flows.into_iter().filter(is_stale).map(Box::new).map(Change::RemoveFlow).collect()
    }
}

/// The virtual servers whose flows may lead astray after these changes. Connection tracking knows
/// only of protocols without connections, or whose connections are not scheduled anew.
pub(crate) fn suspects(changes: &[Change]) -> BTreeSet<VirtualServerKey> {
    let suspect = |change: &Change| match change {
        Change::AddServer(key, _)
        | Change::AddDestination(key, ..)
        | Change::RemoveDestination(key, _) => is_tracked(key.protocol).then_some(*key),
        _ => None,
    };
    changes.iter().filter_map(suspect).collect()
}

/// The virtual servers of tracked protocols that these changes make.
pub(crate) fn new_servers<'a>(
    changes: impl Iterator<Item = &'a Change>,
) -> BTreeSet<VirtualServerKey> {
    let new = changes.filter_map(|change| match change {
        Change::AddServer(key, _) if is_tracked(key.protocol) => Some(*key),
        _ => None,
    });
    new.collect()
}

/// Of the flows to virtual servers that are about to get these destinations, their first ones, those that lead
/// elsewhere.
pub(crate) fn earlier_flows(
    new: &BTreeSet<VirtualServerKey>,
    destinations: &BTreeSet<VirtualServerDestination>,
    flows: Vec<Flow>,
) -> Vec<Change> {
    let leads_elsewhere = |flow: &Flow| {
        new.contains(&flow.key()) && !destinations.contains(&(flow.key(), flow.server))
    };
    flows.into_iter().filter(leads_elsewhere).map(Box::new).map(Change::RemoveFlow).collect()
}

/// True for protocols whose flows outlive their destination.
pub(crate) fn is_tracked(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Udp | Protocol::Sctp => true,
        Protocol::Tcp => false,
    }
}
