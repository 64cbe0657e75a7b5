//! This node: what the API says of it and which addresses its interfaces carry.
//!
//! In: the Node object with this node's name, and the node's interface addresses. Out: plain
//! values. Never: other nodes.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::Net;

/// This node's Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `status.addresses`: InternalIPs in their order, then ExternalIPs.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_nets: Vec<Net>,
}

/// One address of one of the node's interfaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The interface's name, at most 15 bytes.
    pub device: Arc<str>,
    /// The address with its prefix length.
    pub address: Net,
}
