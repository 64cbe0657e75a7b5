//! Tracked flows of UDP and SCTP that lead to no current destination.
//!
//! Takes entries of the connection tracking table, and the virtual servers that have gone or whose
//! destinations have changed. Returns the flows to remove, so that the client's next packet reaches a current
//! endpoint or none. Does not touch a flow to an address, protocol and port that is not a virtual server of
//! this proxy. Flows of other hosts that use the number of a node port stay. So do flows of pods whose source
//! port was translated to such a number.

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
    /// The protocol: UDP or SCTP.
    pub protocol: Protocol,
    /// The sender: source of the original direction.
    pub client: SocketAddr,
    /// The address that the client sends to: destination of the original direction.
    pub frontend: SocketAddr,
    /// The address that answers: source of the reply direction.
    pub server: SocketAddr,
    /// The address to which replies are sent: destination of the reply direction. If a rule has translated the
    /// source, masquerading for example, it is `client`, so that it shows only what IPVS has translated.
    pub answered: SocketAddr,
    /// The kernel's identifier of the entry (`CTA_ID`), which distinguishes it from a newer flow between the
    /// same addresses.
    pub id: u32,
    /// The zone (`CTA_ZONE`); 0 unless zones are in use.
    pub zone: u16,
}

impl Flow {
    /// The virtual server for which the flow's first sender answered. An endpoint's reply seems to have begun
    /// such a flow, because the client's flow had just been removed. IPVS has replaced the endpoint's address
    /// by that of the virtual server.
    ///
    /// `None` if IPVS has not translated the source. A process of this host may well send from a port whose
    /// number is also a node port.
    pub fn answers_from(&self) -> Option<VirtualServerKey> {
        (self.answered != self.client).then(|| VirtualServerKey {
            protocol: self.protocol,
            address: self.answered.ip(),
            port: self.answered.port(),
        })
    }

    /// The virtual server to which the client sends.
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
    /// True if the flow goes to one of these virtual servers and leads to none of its current destinations.
    /// Also true if a current or earlier destination seems to have begun it.
    ///
    /// `Departs:` upstream keeps flows to any endpoint that serves, chosen or not. It also removes every flow
    /// whose port is a node port, whatever its address.
    pub(crate) fn is_stale(&self, flow: &Flow, suspects: &StaleCandidates) -> bool {
        self.leads_astray(flow, suspects) || self.answers_for(flow, suspects)
    }

    fn leads_astray(&self, flow: &Flow, suspects: &StaleCandidates) -> bool {
        let key = flow.key();
        suspects.contains_key(&key)
            && match self.desired.server(&key) {
                Some(server) => !server.destinations.contains(&flow.server),
                // The virtual server has gone. An untranslated flow went to a process at that address, not to
                // an endpoint.
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

/// Virtual servers that may have stale flows, with the destinations that each of them has lost.
pub(crate) type StaleCandidates = BTreeMap<VirtualServerKey, BTreeSet<SocketAddr>>;

/// Notes the virtual servers that may have stale flows after these changes. `standing` is the kernel state
/// before them. Only tracked protocols matter ([`is_tracked`]): TCP connections are scheduled anew.
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

/// The virtual servers of tracked protocols that these changes add.
pub(crate) fn new_servers<'a>(
    changes: impl Iterator<Item = &'a Change>,
) -> BTreeSet<VirtualServerKey> {
    let new = changes.filter_map(|change| match change {
        Change::Server(ServerChange::Add(key, _)) if is_tracked(key.protocol) => Some(*key),
        _ => None,
    });
    new.collect()
}

/// True if the flow goes to a new virtual server, but not to one of the destinations that it is about to get.
pub(crate) fn leads_elsewhere(
    flow: &Flow,
    new: &BTreeSet<VirtualServerKey>,
    destinations: &BTreeSet<VirtualServerDestination>,
) -> bool {
    new.contains(&flow.key()) && !destinations.contains(&(flow.key(), flow.server))
}

/// The changes that remove these flows.
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
