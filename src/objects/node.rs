//! Defines the fields of `core/v1 Node` that kube-proxy's IPVS mode uses.
//!
//! Takes JSON or YAML. Returns zone, addresses, pod networks, taints and conditions. Does not keep
//! capacity and images, which make a Node the most often written object of a cluster.

use serde::Deserialize;

use super::field::{Field, List};
use super::meta::Metadata;

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// `apiVersion`. An API server leaves it out of the items of a list.
    #[serde(rename = "apiVersion")]
    pub api_version: Field<String>,
    /// `kind`. An API server leaves it out of the items of a list.
    pub kind: Field<String>,
    /// `metadata`.
    pub metadata: Field<Metadata<Labels>>,
    /// `spec`.
    pub spec: Field<Spec>,
    /// `status`.
    pub status: Field<Status>,
}

/// The labels of a Node that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// `topology.kubernetes.io/zone`.
    #[serde(rename = "topology.kubernetes.io/zone")]
    pub zone: Field<String>,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// `podCIDR`, which counts only where `podCIDRs` is empty.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Field<String>,
    /// `podCIDRs`.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: List<String>,
    /// `taints`.
    pub taints: List<Taint>,
}

/// An element of `spec.taints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// `key`.
    pub key: Field<String>,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// `addresses`.
    pub addresses: List<Address>,
    /// `conditions`.
    pub conditions: List<Condition>,
}

/// An element of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `type`: Ready and others.
    #[serde(rename = "type")]
    pub kind: Field<String>,
    /// `status`: True, False or Unknown.
    pub status: Field<String>,
}

/// An element of `status.addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `type`: InternalIP, ExternalIP, Hostname and others.
    #[serde(rename = "type")]
    pub kind: Field<String>,
    /// `address`.
    pub address: Field<String>,
}
