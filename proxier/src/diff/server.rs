//! Compares virtual servers and destinations.
//!
//! Takes the desired state and the kernel state. Gives additions, updates in place, and the steps by which a
//! destination leaves. Does not delete and add an object that can be updated.
//!
//! A destination of UDP or SCTP is removed at once (spec 3.6). A destination of TCP first gets weight 0,
//! which keeps its connections and admits no new ones. It is removed when a later count finds no connections.
//! The weight in the kernel is the only record of this, so that a restarted proxy continues where the process
//! before it stopped. An endpoint that comes back gets its weight again.

use std::net::SocketAddr;

use super::own::{Ownership, is_excluded, is_our_server};
use super::{
    Change, ChangeSet, Comparison, ObservedDestination, ObservedServer, Scan, ServerChange,
};
use crate::model::Protocol;
use crate::plan::{ServerFlags, ServerSettings, VirtualServer, VirtualServerKey, weight};
use crate::sorted::{Side, join};

impl Comparison<'_> {
    pub(super) fn compare_servers(&self, extent: Scan<'_>, changes: &mut ChangeSet) {
        match extent {
            Scan::Everything => {
                for (key, side) in join(self.desired.servers(), &self.observed.servers) {
                    self.compare_sides(key, side, changes);
                }
            }
            Scan::Dirty(dirty_keys) => {
                for key in &dirty_keys.servers {
                    self.compare_server(key, changes);
                }
            }
        }
    }

    fn compare_server(&self, key: &VirtualServerKey, changes: &mut ChangeSet) {
        let side = match (self.desired.server(key), self.observed.servers.get(key)) {
            (Some(desired), None) => Side::Left(desired),
            (Some(desired), Some(observed)) => Side::Both(desired, observed),
            (None, Some(observed)) => Side::Right(observed),
            (None, None) => return,
        };
        self.compare_sides(key, side, changes);
    }

    fn compare_sides(
        &self,
        key: &VirtualServerKey,
        side: Side<&VirtualServer, &ObservedServer>,
        changes: &mut ChangeSet,
    ) {
        match side {
            Side::Left(desired) => add_server(key, desired, changes),
            Side::Both(desired, observed) => change_server(key, desired, observed, changes),
            Side::Right(observed) if self.is_ours(key, observed) => {
                // A cleanup removes the entries after the virtual servers, so it needs no flag.
                let is_planned = matches!(self.ownership, Ownership::Planned(_));
                if is_planned && is_excluded(key, &self.settings.exclude_nets) {
                    flag_as_leaving(key, &observed.settings, changes);
                }
                remove_server(key, observed, changes);
            }
            Side::Right(_) => {}
        }
    }

    fn is_ours(&self, key: &VirtualServerKey, observed: &ObservedServer) -> bool {
        is_our_server(key, observed.settings.flags, self.settings, self.ownership)
    }
}

fn add_server(key: &VirtualServerKey, desired: &VirtualServer, changes: &mut ChangeSet) {
    changes.push(Change::Server(ServerChange::Add(*key, desired.settings.clone())));
    for destination in &desired.destinations {
        changes.push(Change::Server(ServerChange::AddDestination(
            *key,
            *destination,
            weight::SERVING,
        )));
    }
}

/// Sets the flag `LEAVING` on a virtual server that is to be removed. The caller does this only for excluded
/// networks. There its set entries show that it is this proxy's, and they are removed before it. If the process ends
/// between the two, the next process knows the virtual server by this flag.
fn flag_as_leaving(key: &VirtualServerKey, settings: &ServerSettings, changes: &mut ChangeSet) {
    if !settings.flags.has(ServerFlags::LEAVING) {
        let flags = settings.flags.with(ServerFlags::LEAVING);
        let settings = ServerSettings { flags, ..settings.clone() };
        changes.push(Change::Server(ServerChange::Update(*key, settings)));
    }
}

/// Removes a virtual server with its destinations, each by its own change. It has to be empty before its
/// entries go, so that it does not answer without them. It has to stand until they have gone, so that no
/// process of the host is reached in its place. Connections end in either case.
fn remove_server(key: &VirtualServerKey, observed: &ObservedServer, changes: &mut ChangeSet) {
    let destinations: Vec<_> = observed.destinations.keys().copied().collect();
    // Removing the last element of a sorted list is the cheapest.
    for destination in destinations.into_iter().rev() {
        changes.push(Change::Server(ServerChange::RemoveDestination(*key, destination)));
    }
    changes.push(Change::Server(ServerChange::Remove(*key)));
}

fn change_server(
    key: &VirtualServerKey,
    desired: &VirtualServer,
    observed: &ObservedServer,
    changes: &mut ChangeSet,
) {
    if desired.settings != observed.settings {
        changes.push(Change::Server(ServerChange::Update(*key, desired.settings.clone())));
    }
    let wished = desired.destinations.iter().map(|destination| (destination, ()));
    for (destination, side) in join(wished, observed.destinations.iter()) {
        match side {
            Side::Left(()) => {
                changes.push(Change::Server(ServerChange::AddDestination(
                    *key,
                    *destination,
                    weight::SERVING,
                )));
            }
            Side::Both((), found) if found.weight != weight::SERVING || !found.masquerades => {
                changes.push(Change::Server(ServerChange::UpdateDestination(
                    *key,
                    *destination,
                    weight::SERVING,
                )));
            }
            Side::Both((), _) => {}
            Side::Right(found) => leave(key, destination, &found, changes),
        }
    }
}

fn leave(
    key: &VirtualServerKey,
    destination: &SocketAddr,
    found: &ObservedDestination,
    changes: &mut ChangeSet,
) {
    match key.protocol {
        Protocol::Udp | Protocol::Sctp => {
            changes.push(Change::Server(ServerChange::RemoveDestination(*key, *destination)));
        }
        Protocol::Tcp => match (found.weight, found.connections) {
            (weight::DRAINING, Some(0)) => {
                changes.push(Change::Server(ServerChange::RemoveDestination(*key, *destination)));
            }
            (weight::DRAINING, Some(_) | None) => {
                changes.draining.insert((*key, *destination));
            }
            (_, Some(_) | None) => {
                changes.push(Change::Server(ServerChange::UpdateDestination(
                    *key,
                    *destination,
                    weight::DRAINING,
                )));
                changes.draining.insert((*key, *destination));
            }
        },
    }
}
