//! Virtual servers and destinations.
//!
//! In: the wish and the kernel under the same keys. Out: additions, updates in place, and the
//! steps by which a destination leaves. Never: a delete and re-add where an update will do.
//!
//! A destination that leaves (spec 3.6): of UDP and SCTP it goes at once; of TCP it first gets
//! weight 0, which keeps its connections and admits no new ones, and goes when a count taken after
//! that finds none. Nothing is remembered for this: weight 0 in the kernel is the memory, so a
//! restart continues where the process before it stopped, and an endpoint that comes back simply
//! gets its weight again.

use std::net::SocketAddr;

use super::own::is_our_server;
use super::{Change, ChangeSet, Comparison, Extent, ObservedDestination, ObservedServer};
use crate::model::Protocol;
use crate::plan::{VirtualServer, VirtualServerKey, weight};

impl Comparison<'_> {
    pub(super) fn compare_servers(&self, extent: Extent<'_>, changes: &mut ChangeSet) {
        match extent {
            Extent::Everything => {
                for (key, _) in self.desired.servers() {
                    self.compare_server(key, changes);
                }
                for key in self.observed.servers.keys() {
                    if self.desired.server(key).is_none() {
                        self.compare_server(key, changes);
                    }
                }
            }
            Extent::Keys(touched) => {
                for key in &touched.servers {
                    self.compare_server(key, changes);
                }
            }
        }
    }

    fn compare_server(&self, key: &VirtualServerKey, changes: &mut ChangeSet) {
        match (self.desired.server(key), self.observed.servers.get(key)) {
            (Some(desired), None) => add_server(key, desired, changes),
            (Some(desired), Some(observed)) => change_server(key, desired, observed, changes),
            (None, Some(_)) if is_our_server(key, self.settings) => {
                changes.push(Change::RemoveServer(*key));
            }
            (None, Some(_) | None) => {}
        }
    }
}

fn add_server(key: &VirtualServerKey, desired: &VirtualServer, changes: &mut ChangeSet) {
    changes.push(Change::AddServer(*key, desired.settings.clone()));
    for destination in &desired.destinations {
        changes.push(Change::AddDestination(*key, *destination, weight::SERVING));
    }
}

fn change_server(
    key: &VirtualServerKey,
    desired: &VirtualServer,
    observed: &ObservedServer,
    changes: &mut ChangeSet,
) {
    if desired.settings != observed.settings {
        changes.push(Change::UpdateServer(*key, desired.settings.clone()));
    }
    for destination in &desired.destinations {
        match observed.destinations.get(destination) {
            None => changes.push(Change::AddDestination(*key, *destination, weight::SERVING)),
            Some(found) if found.weight != weight::SERVING || !found.masquerades => {
                changes.push(Change::UpdateDestination(*key, *destination, weight::SERVING));
            }
            Some(_) => {}
        }
    }
    for (destination, found) in observed.destinations.iter() {
        if !desired.destinations.contains(destination) {
            leave(key, destination, &found, changes);
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
            changes.push(Change::RemoveDestination(*key, *destination));
        }
        Protocol::Tcp => match (found.weight, found.connections) {
            (weight::DRAINING, Some(0)) => {
                changes.push(Change::RemoveDestination(*key, *destination));
            }
            (weight::DRAINING, Some(_) | None) => {
                changes.draining.insert((*key, *destination));
            }
            (_, Some(_) | None) => {
                changes.push(Change::UpdateDestination(*key, *destination, weight::DRAINING));
                changes.draining.insert((*key, *destination));
            }
        },
    }
}
