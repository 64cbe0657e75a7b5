//! This node: what the API says of it and which addresses its interfaces carry.
//!
//! In: the Node object with this node's name, and the node's interface addresses. Out: plain
//! values. Never: other nodes.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::Net;

/// The device that makes service addresses local. Addresses on it are ours, not the node's.
pub const DUMMY_DEVICE: &str = "kube-ipvs0";

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
    /// Whether it is about to be taken away, so that load balancers should send nothing more here.
    pub is_leaving: bool,
}

/// Whether a node of the cluster, this or another, can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReadiness {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    /// `status.addresses`, as of this node.
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
    /// Whether it is an IPv6 link-local address.
    pub fn is_link_local(&self) -> bool {
        match self.address.addr() {
            IpAddr::V4(_) => false,
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
    }
}
