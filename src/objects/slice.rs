//! Defines the fields of `discovery.k8s.io/v1 EndpointSlice` that kube-proxy's IPVS mode uses.
//!
//! Takes JSON or YAML. Returns the fields that decide kernel state. Does not keep `targetRef`,
//! `hostname`, an endpoint's own `zone` and `appProtocol`.

use serde::Deserialize;

use super::field::{Field, List};
use super::meta::{Metadata, presence};

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    /// `apiVersion`. An API server leaves it out of the items of a list.
    #[serde(rename = "apiVersion")]
    pub api_version: Field<String>,
    /// `kind`. An API server leaves it out of the items of a list.
    pub kind: Field<String>,
    /// `metadata`.
    pub metadata: Field<Metadata<Labels>>,
    /// `addressType`: IPv4, IPv6 or FQDN.
    pub address_type: Field<String>,
    /// `endpoints`.
    pub endpoints: List<Endpoint>,
    /// `ports`.
    pub ports: List<Port>,
}

/// The labels of an EndpointSlice that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// `kubernetes.io/service-name`: the Service this slice belongs to.
    #[serde(rename = "kubernetes.io/service-name")]
    pub service_name: Field<String>,
    /// True if `service.kubernetes.io/headless` is set: no proxy serves the slice.
    #[serde(rename = "service.kubernetes.io/headless", deserialize_with = "presence")]
    pub is_headless: bool,
}

/// An element of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// `addresses`; only the first counts.
    pub addresses: List<String>,
    /// `conditions`.
    pub conditions: Field<Conditions>,
    /// `nodeName`.
    pub node_name: Field<String>,
    /// `hints`.
    pub hints: Field<Hints>,
}

/// `endpoints[].conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// `ready`; absent means true.
    pub ready: Field<bool>,
    /// `serving`; absent means true.
    pub serving: Field<bool>,
    /// `terminating`; absent means false.
    pub terminating: Field<bool>,
}

/// `endpoints[].hints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    /// `forZones`.
    pub for_zones: List<Hint>,
    /// `forNodes`.
    pub for_nodes: List<Hint>,
}

/// An element of `forZones` or `forNodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hint {
    /// `name` of the zone or the node.
    pub name: Field<String>,
}

/// An element of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// `name`. The API server turns an absent name into an empty one, so an absent name in a
    /// manifest is read as empty. An explicit `null` is no name.
    #[serde(default = "unnamed")]
    pub name: Field<String>,
    /// `protocol`: TCP (also when absent), UDP or SCTP.
    #[serde(default)]
    pub protocol: Field<String>,
    /// `port`.
    #[serde(default)]
    pub port: Field<u16>,
}

fn unnamed() -> Field<String> {
    Field::Given(String::new())
}
