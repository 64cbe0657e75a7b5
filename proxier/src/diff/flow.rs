//! Decides which tracked flows of UDP and SCTP are removed, and which virtual servers may have such flows.
//!
//! Takes entries of the connection tracking table, and the virtual servers that are new, that have gone or whose
//! destinations have changed. Says of each flow whether to remove it, so that the client's next packet reaches a current
//! endpoint or none. Does not touch a flow to an address, protocol and port that is not a virtual server of
//! this proxy. Flows of other hosts that use the number of a node port stay. So do flows of pods whose source
//! port was translated to such a number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use super::{Change, Comparison, Observed, ServerChange};
use crate::model::{Family, Protocol};
use crate::plan::{Desired, VirtualServerDestination, VirtualServerKey};

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

/// The most flows that are read and removed at once; they need about 50 MB, however many are stale.
pub(crate) const FLOWS_AT_ONCE: usize = 1 << 16;

impl Comparison<'_> {
    /// True if the flow goes to one of these virtual servers and leads to none of its current destinations.
    /// Also true if a current or earlier destination seems to have begun it.
    ///
    /// `Departs:` upstream keeps flows to any endpoint that serves, chosen or not. It also removes every flow
    /// whose port is a node port, whatever its address.
    pub(crate) fn is_stale(&self, flow: &Flow, stale_candidates: &StaleCandidates) -> bool {
        self.leads_astray(flow, stale_candidates) || self.answers_for(flow, stale_candidates)
    }

    fn leads_astray(&self, flow: &Flow, stale_candidates: &StaleCandidates) -> bool {
        let key = flow.key();
        stale_candidates.lost.contains_key(&key)
            && match self.desired.server(&key) {
                Some(server) => !server.destinations.contains(&flow.server),
                // The virtual server has gone. An untranslated flow went to a process at that address, not to
                // an endpoint.
                None => flow.server != flow.frontend,
            }
    }

    fn answers_for(&self, flow: &Flow, stale_candidates: &StaleCandidates) -> bool {
        let Some(key) = flow.answers_from() else { return false };
        let Some(before) = stale_candidates.lost.get(&key) else { return false };
        let today = self.desired.server(&key);
        before.contains(&flow.client)
            || today.is_some_and(|server| server.destinations.contains(&flow.client))
    }
}

/// Virtual servers of tracked protocols that may have stale flows. TCP connections are scheduled anew.
#[derive(Debug, Default)]
pub(crate) struct StaleCandidates {
    /// The destinations that each of the virtual servers has lost.
    lost: BTreeMap<VirtualServerKey, BTreeSet<SocketAddr>>,
    /// True if all virtual servers are to be looked at, because no round has done so yet.
    and_all: bool,
}

impl StaleCandidates {
    /// The candidates before the first round: every virtual server.
    pub(crate) fn everything() -> Self {
        Self { and_all: true, ..Self::default() }
    }

    /// Adds the virtual servers that may have stale flows after these changes. `standing` is the kernel state
    /// before them. Returns the families and protocols of these virtual servers.
    pub(crate) fn note(
        &mut self,
        changes: &[Change],
        standing: &Observed,
    ) -> BTreeSet<(Family, Protocol)> {
        let mut kinds = BTreeSet::new();
        let changes = changes.iter().filter_map(|change| match change {
            Change::Server(change) if is_tracked(change.key().protocol) => Some(change),
            _ => None,
        });
        for change in changes {
            let key = *change.key();
            let lost = match change {
                ServerChange::Add(..) | ServerChange::AddDestination(..) => Vec::new(),
                ServerChange::RemoveDestination(_, destination) => vec![*destination],
                ServerChange::Remove(_) => {
                    let server = standing.servers.get(&key).into_iter();
                    server.flat_map(|server| server.destinations.keys().copied()).collect()
                }
                ServerChange::Update(..) | ServerChange::UpdateDestination(..) => continue,
            };
            kinds.insert(kind(&key));
            self.lost.entry(key).or_default().extend(lost);
        }
        kinds
    }

    /// The families and protocols in which there are candidates.
    pub(crate) fn kinds(&mut self, desired: &Desired) -> BTreeSet<(Family, Protocol)> {
        if std::mem::take(&mut self.and_all) {
            let servers = desired.servers().map(|(key, _)| *key);
            for key in servers.filter(|key| is_tracked(key.protocol)) {
                self.lost.entry(key).or_default();
            }
        }
        self.lost.keys().map(kind).collect()
    }

    /// Drops the candidates of a family and protocol, all of whose flows have been looked at.
    pub(crate) fn forget(&mut self, of: (Family, Protocol)) {
        self.lost.retain(|key, _| kind(key) != of);
    }
}

/// Virtual servers that are new and have no destinations yet, with the destinations that they are about to get.
///
/// A client may have begun a flow to such an address before. Connection tracking would repeat its old decision,
/// masquerading included, for as long as the flow lasts.
pub(crate) struct NewServers {
    servers: BTreeSet<VirtualServerKey>,
    destinations: BTreeSet<VirtualServerDestination>,
}

impl NewServers {
    /// Adds to these virtual servers the destinations that waiting changes give them.
    pub(crate) fn new<'a>(
        servers: BTreeSet<VirtualServerKey>,
        waiting: impl Iterator<Item = &'a Change>,
    ) -> Self {
        let destinations = waiting.filter_map(Change::new_destination);
        let destinations = destinations.filter(|(key, _)| servers.contains(key)).collect();
        Self { servers, destinations }
    }

    /// The virtual servers of tracked protocols that these changes add.
    pub(crate) fn among<'a>(
        changes: impl Iterator<Item = &'a Change>,
    ) -> BTreeSet<VirtualServerKey> {
        let new = changes.filter_map(|change| match change {
            Change::Server(ServerChange::Add(key, _)) if is_tracked(key.protocol) => Some(*key),
            _ => None,
        });
        new.collect()
    }

    /// The families and protocols of the virtual servers.
    pub(crate) fn kinds(&self) -> BTreeSet<(Family, Protocol)> {
        self.servers.iter().map(kind).collect()
    }

    /// True if the flow goes to one of the virtual servers, but not to one of its destinations.
    pub(crate) fn has_earlier(&self, flow: &Flow) -> bool {
        let key = flow.key();
        self.servers.contains(&key) && !self.destinations.contains(&(key, flow.server))
    }
}

/// The changes that remove these flows.
pub(crate) fn removals(flows: Vec<Flow>) -> Vec<Change> {
    flows.into_iter().map(Box::new).map(Change::RemoveFlow).collect()
}

fn kind(key: &VirtualServerKey) -> (Family, Protocol) {
    (key.family(), key.protocol)
}

/// True for protocols whose flows outlive their destination.
fn is_tracked(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Udp | Protocol::Sctp => true,
        Protocol::Tcp => false,
    }
}
