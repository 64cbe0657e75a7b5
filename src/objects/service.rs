//! Defines the fields of `core/v1 Service` that kube-proxy's IPVS mode uses.
//!
//! Takes JSON or YAML. Returns the fields that decide kernel state. Does not keep `targetPort`,
//! selectors, `loadBalancerClass` and other fields that the proxy ignores.

use serde::Deserialize;

use super::field::{Field, List};
use super::meta::{Metadata, presence};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
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

/// The labels of a Service that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// True if `service.kubernetes.io/service-proxy-name` is set: another proxy serves the Service.
    #[serde(rename = "service.kubernetes.io/service-proxy-name", deserialize_with = "presence")]
    pub has_proxy_name: bool,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// `type`: ClusterIP (also when absent), NodePort, LoadBalancer or ExternalName.
    #[serde(rename = "type")]
    pub kind: Field<String>,
    /// `clusterIP`: an address, `None` or empty.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Field<String>,
    /// `clusterIPs`: one address for each element of `ipFamilies`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: List<String>,
    /// `ipFamilies`: IPv4, IPv6.
    pub ip_families: List<String>,
    /// `ports`.
    pub ports: List<Port>,
    /// `sessionAffinity`: None (also when absent) or ClientIP.
    pub session_affinity: Field<String>,
    /// `sessionAffinityConfig`.
    pub session_affinity_config: Field<AffinityConfig>,
    /// `internalTrafficPolicy`: Cluster (also when absent) or Local.
    pub internal_traffic_policy: Field<String>,
    /// `externalTrafficPolicy`: Cluster (also when absent) or Local.
    pub external_traffic_policy: Field<String>,
    /// `externalIPs`.
    #[serde(rename = "externalIPs")]
    pub external_ips: List<String>,
    /// `loadBalancerSourceRanges`.
    pub load_balancer_source_ranges: List<String>,
    /// `healthCheckNodePort`.
    pub health_check_node_port: Field<u16>,
}

/// An element of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    /// `name`; absent and empty are the same.
    pub name: Field<String>,
    /// `protocol`: TCP (also when absent), UDP or SCTP.
    pub protocol: Field<String>,
    /// `port`.
    pub port: Field<u16>,
    /// `nodePort`; absent and 0 are the same.
    pub node_port: Field<u16>,
}

/// `spec.sessionAffinityConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AffinityConfig {
    /// `clientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: Field<ClientIpConfig>,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// `timeoutSeconds`.
    pub timeout_seconds: Field<i64>,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// `loadBalancer`.
    pub load_balancer: Field<LoadBalancer>,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// `ingress`.
    pub ingress: List<Ingress>,
}

/// An element of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// `ip`; absent where the balancer is known by a host name only.
    pub ip: Field<String>,
    /// `ipMode`: VIP (also when absent) or Proxy.
    pub ip_mode: Field<String>,
}
