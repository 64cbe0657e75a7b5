//! The events that sources of objects send.
//!
//! Takes converted objects. Gives one stream of [`Batch`]es of [`Event`]s for the sync thread. Carries no reply: a source
//! does not learn whether anything was programmed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::Slice;
use super::name::{ServiceName, SliceName};
use super::node::{InterfaceAddress, Node, NodeAddresses, NodeReadiness};
use super::service::Service;

/// A change to the objects of one kind, as a source reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<K, V> {
    /// The complete list of objects; every other object is gone. Nothing is programmed before each kind has
    /// been listed once.
    Listed(Vec<V>),
    /// A list of which some objects could not be read. It counts as complete, except that the objects which
    /// could not be read stay as they were last known.
    PartlyListed(Vec<V>, Unread<K>),
    /// An object that is new or has changed.
    Put(V),
    /// The key of an object that is gone.
    Gone(K),
}

/// The objects of a list that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread<K> {
    /// The objects with these keys.
    Named(BTreeSet<K>),
    /// Objects whose names could not be read either, so that they may be any.
    Any,
}

impl<K: Ord> Unread<K> {
    /// True if every object could be read.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Named(keys) if keys.is_empty())
    }

    /// True if the object with this key may be one that could not be read.
    pub fn may_be(&self, key: &K) -> bool {
        match self {
            Self::Named(keys) => keys.contains(key),
            Self::Any => true,
        }
    }
}

impl<K: Ord> Default for Unread<K> {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl<K: Ord, V> Update<K, V> {
    /// Returns the update of a list, of which some objects may not have been read.
    pub fn listed(read: Vec<V>, unread: Unread<K>) -> Self {
        if unread.is_none() { Self::Listed(read) } else { Self::PartlyListed(read, unread) }
    }
}

/// A removal from the dummy device that the kernel reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The kernel removed the dummy device with all its addresses. A renamed device counts as removed.
    Device,
    /// The kernel removed this address from the dummy device.
    Address(IpAddr),
}

/// One message of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A change to the Services that this proxy is responsible for.
    Service(Update<ServiceName, Service>),
    /// A change to the EndpointSlices with IPv4 or IPv6 addresses.
    Slice(Update<SliceName, Slice>),
    /// This node's Node object. The first event counts as the list; `None` in it means that the object does
    /// not exist. A later `None` changes nothing.
    Node(Option<Node>),
    /// A change to the readiness of the cluster's nodes. Needed only where destinations on dead nodes drain
    /// for a shorter time. Before the first list every node counts as ready; afterwards a node that is
    /// missing counts as dead.
    NodeReadiness(Update<Arc<str>, NodeReadiness>),
    /// All addresses of all interfaces except the dummy device, replacing the previous ones. Nothing is
    /// programmed before the first of these events.
    Addresses(Vec<InterfaceAddress>),
    /// A removal from the dummy device, by this proxy or by another program.
    Removed(Removed),
    /// The address of the API server that this proxy connects to. Sent if the host in the server's URL is an
    /// address and not a name. Does not affect what is programmed.
    ApiServer(IpAddr),
    /// The addresses of all nodes, replacing the previous ones. Sent where not all nodes are watched and Services
    /// have external or load-balancer addresses. Does not affect what is programmed.
    OtherNodes(Vec<NodeAddresses>),
}

/// Events that became true at once, in this order. No round runs between them, so an address that moves from one
/// Service to another always has an owner.
pub type Batch = Vec<Event>;
