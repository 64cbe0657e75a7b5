//! What a source of objects says.
//!
//! In: converted objects. Out: one stream of [`Event`] for the sync thread. Never: a reply; a
//! source does not learn whether anything was programmed.

use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::Slice;
use super::name::{ServiceName, SliceName};
use super::node::{InterfaceAddress, Node, NodeReadiness};
use super::service::Service;

/// One thing a source says about objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<K, V> {
    /// These are all the objects there are; what is not among them is gone. The first one of each
    /// kind ends the wait before which nothing is programmed.
    Listed(Vec<V>),
    /// This object is new or has changed.
    Put(V),
    /// This object is gone.
    Gone(K),
}

/// What the kernel says was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The dummy device with all its addresses; one that was renamed counts as removed.
    Device,
    /// An address of the dummy device.
    Address(IpAddr),
}

/// One thing a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of Services this proxy is responsible for.
    Service(Update<ServiceName, Service>),
    /// Of EndpointSlices with addresses of either family.
    Slice(Update<SliceName, Slice>),
    /// Of this node's Node object. The first one counts as the list, and `None` then says that
    /// there is none; later `None` changes nothing.
    Node(Option<Node>),
    /// Of all nodes of the cluster: whether each is ready. Needed only where destinations on dead
    /// nodes drain for a shorter time; while nothing was listed, every node counts as ready, and
    /// afterwards a node that is not there as dead.
    NodeReadiness(Update<Arc<str>, NodeReadiness>),
    /// All addresses of all interfaces but the dummy device, replacing what was said before. The
    /// first one ends the wait before which nothing is programmed.
    Addresses(Vec<InterfaceAddress>),
    /// Something was removed from the dummy device, by somebody else or by this proxy.
    Removed(Removed),
    /// The address at which this proxy asks an API server. It is told where the server's URL has an address and
    /// no name, and says nothing about what is to be programmed.
    ApiServer(IpAddr),
    /// All of this became true at once, in this order: no round sees a part of it. An address that one Service loses
    /// and another gains is never without an owner.
    Together(Vec<Event>),
}
