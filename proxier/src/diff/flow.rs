//! Tracked flows of connectionless clients: which of them lead where nobody serves any more.
//!
//! In: entries of the connection tracking table, and the virtual servers whose destinations have
//! changed, or that have gone. Out: the flows to forget, so that the client's next packet finds an
//! endpoint of today, or none. Never: a flow to an address, protocol and port that is not one of our
//! virtual servers, whatever its port: other hosts' flows that happen to use the number of a node
//! port stay, and so do flows of pods that a rule has given such a number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use super::{Change, Comparison, Observed, ServerChange};
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
    /// Whom the answer is sent to (destination of the reply direction), as far as IPVS has a hand in
    /// it: the client itself where a rule has translated the source, masquerading for example.
    pub answered: SocketAddr,
    /// The kernel's identifier of the entry (`CTA_ID`), so that a newer flow of the same addresses
    /// is not taken for it.
    pub id: u32,
    /// The zone (`CTA_ZONE`); 0 unless somebody uses zones.
    pub zone: u16,
}

impl Flow {
    /// The virtual server in whose place the flow's first sender answered: of a flow that an endpoint
    /// seems to have begun, because its client's own had just been forgotten. Then IPVS has put the
    /// virtual server's address in the place of the endpoint's.
    ///
    /// `None` for a flow whose source is nobody's but its own: a process of this host may well send
    /// from a port that is a node port's number.
    pub fn answers_from(&self) -> Option<VirtualServerKey> {
        (self.answered != self.client).then(|| VirtualServerKey {
            protocol: self.protocol,
            address: self.answered.ip(),
            port: self.answered.port(),
        })
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
    /// True for a flow to one of these virtual servers that leads to no destination of today, and for
    /// one that a destination, of today or before, seems to have begun.
    ///
    /// `Departs:` upstream keeps flows to any endpoint that serves, chosen or not, and takes every
    /// flow whose port is a node port's for its own, whomever it goes to.
    pub(crate) fn is_stale(&self, flow: &Flow, suspects: &StaleCandidates) -> bool {
        self.leads_astray(flow, suspects) || self.answers_for(flow, suspects)
    }

    fn leads_astray(&self, flow: &Flow, suspects: &StaleCandidates) -> bool {
        let key = flow.key();
        suspects.contains_key(&key)
            && match self.desired.server(&key) {
                Some(server) => !server.destinations.contains(&flow.server),
                // It has gone. What nobody has translated went to whoever answers there himself.
                None => flow.server != flow.frontend,
            }
    }

    fn answers_for(&self, flow: &Flow, suspects: &StaleCandidates) -> bool {
        let Some(key) = flow.answers_from() else { return false };
        let Some(before) = suspects.get(&key) else { return false };
        let today = self.desired.server(&key);
        before.contains(&flow.client)
            || today.is_some_and(|server| server.destinations.contains(&flow.client))
    }
}

/// Virtual servers whose flows may lead astray, and the destinations that each of them has lost.
pub(crate) type StaleCandidates = BTreeMap<VirtualServerKey, BTreeSet<SocketAddr>>;

/// The virtual servers whose flows may lead astray after these changes, before which `standing` stood.
/// Connection tracking knows only of protocols without connections, or whose connections are not
/// scheduled anew.
pub(crate) fn note_stale_candidates(
    changes: &[Change],
    standing: &Observed,
    suspects: &mut StaleCandidates,
) {
    for change in changes {
        match change {
            Change::Server(ServerChange::Add(key, _))
            | Change::Server(ServerChange::AddDestination(key, ..))
                if is_tracked(key.protocol) =>
            {
                suspects.entry(*key).or_default();
            }
            Change::Server(ServerChange::RemoveDestination(key, destination))
                if is_tracked(key.protocol) =>
            {
                suspects.entry(*key).or_default().insert(*destination);
            }
            Change::Server(ServerChange::Remove(key)) if is_tracked(key.protocol) => {
                let server = standing.servers.get(key);
                let lost = server.into_iter().flat_map(|server| server.destinations.keys());
                suspects.entry(*key).or_default().extend(lost);
            }
            _ => {}
        }
    }
}

/// The virtual servers of tracked protocols that these changes make.
pub(crate) fn new_servers<'a>(
    changes: impl Iterator<Item = &'a Change>,
) -> BTreeSet<VirtualServerKey> {
    let new = changes.filter_map(|change| match change {
        Change::Server(ServerChange::Add(key, _)) if is_tracked(key.protocol) => Some(*key),
        _ => None,
    });
    new.collect()
}

/// True for a flow to a virtual server that is about to get these destinations, its first ones, if it leads
/// elsewhere.
pub(crate) fn leads_elsewhere(
    flow: &Flow,
    new: &BTreeSet<VirtualServerKey>,
    destinations: &BTreeSet<VirtualServerDestination>,
) -> bool {
    new.contains(&flow.key()) && !destinations.contains(&(flow.key(), flow.server))
}

/// The removal of flows.
pub(crate) fn removals(flows: Vec<Flow>) -> Vec<Change> {
    flows.into_iter().map(Box::new).map(Change::RemoveFlow).collect()
}

/// True for protocols whose flows outlive their destination.
pub(crate) fn is_tracked(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Udp | Protocol::Sctp => true,
        Protocol::Tcp => false,
    }
}
