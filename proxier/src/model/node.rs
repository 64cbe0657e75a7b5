//! This node: its Node object, and the addresses of its interfaces.
//!
//! Takes the Node object with this node's name, the addresses of this node's interfaces, and the readiness of
//! the cluster's nodes. Gives plain values.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::Net;

/// The device that makes service addresses local. Its addresses belong to this proxy and not to the node.
pub const DUMMY_DEVICE: &str = "kube-ipvs0";

/// This node's Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's name (`metadata.name`).
    pub name: Arc<str>,
    /// The zone, from the label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// The addresses in `status.addresses`: InternalIPs in their order, then ExternalIPs.
    pub addresses: Vec<IpAddr>,
    /// The pod networks (`spec.podCIDRs`).
    pub pod_nets: Vec<Net>,
    /// True if the node is about to be removed, so that load balancers should send no new traffic here.
    pub is_leaving: bool,
}

/// The readiness of a node of the cluster, this node included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReadiness {
    /// The node's name (`metadata.name`).
    pub name: Arc<str>,
    /// True if the condition `Ready` is `True`.
    pub ready: bool,
    /// The addresses in `status.addresses`, in the same order as [`Node::addresses`].
    pub addresses: Vec<IpAddr>,
}

/// The addresses of a node of the cluster, this node included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// The node's name (`metadata.name`).
    pub name: Arc<str>,
    /// The addresses in `status.addresses`, or at least the first internal and the first external one.
    pub addresses: Vec<IpAddr>,
}

/// One address of one of the node's interfaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceAddress {
    /// The interface's name, at most 15 bytes.
    pub device: Arc<str>,
    /// The address with its prefix length.
    pub address: Net,
}

impl InterfaceAddress {
    /// True if this is an IPv6 link-local address.
    pub fn is_link_local(&self) -> bool {
        match self.address.addr() {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
    }
}
