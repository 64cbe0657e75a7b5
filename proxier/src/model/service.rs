//! Services, reduced to the fields that determine kernel state.
//!
//! Takes a checked `core/v1 Service` that this proxy is responsible for. Headless Services, ExternalName
//! Services and those with the label `service.kubernetes.io/service-proxy-name` do not get here. Gives plain
//! values, without fields that kube-proxy ignores (`targetPort`, `loadBalancerClass`, selectors).

use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Net, PerFamily, Protocol};
use super::name::ServiceName;

/// One Service with at least one cluster IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The Service's namespace and name.
    pub name: ServiceName,
    /// The creation time (`metadata.creationTimestamp`) in seconds since 1970; 0 if unknown. If two Services
    /// claim the same address, port and protocol, the older one wins.
    pub created: i64,
    /// The cluster IP of each family that the Service has (`spec.clusterIPs` by `spec.ipFamilies`).
    pub cluster_ips: PerFamily<Option<IpAddr>>,
    /// The ports (`spec.ports`), in the order of the object.
    pub ports: Vec<ServicePort>,
    /// The session affinity with its timeout (`spec.sessionAffinity`).
    pub affinity: Affinity,
    /// The internal traffic policy (`spec.internalTrafficPolicy`).
    pub internal_policy: TrafficPolicy,
    /// The external traffic policy (`spec.externalTrafficPolicy`). `Local` only where that has a meaning:
    /// type LoadBalancer or NodePort, or ClusterIP with at least one external IP (spec 4.2).
    pub external_policy: TrafficPolicy,
    /// The external IPs of both families (`spec.externalIPs`).
    pub external_ips: Vec<IpAddr>,
    /// The load-balancer IPs of both families: `status.loadBalancer.ingress[].ip` with `ipMode` VIP or unset.
    pub load_balancer_ips: Vec<IpAddr>,
    /// The clients that load-balancer addresses admit (`spec.loadBalancerSourceRanges`).
    pub source_ranges: SourceRanges,
    /// The health-check node port of a LoadBalancer with external policy `Local`
    /// (`spec.healthCheckNodePort`).
    pub health_check_node_port: Option<u16>,
}

impl Service {
    /// True if any of the Service's ports has a node port.
    pub fn has_node_port(&self) -> bool {
        self.ports.iter().any(|port| port.node_port.is_some())
    }

    /// Returns the Service's own addresses: cluster IPs, external IPs and load-balancer IPs.
    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        let cluster_ips = [&self.cluster_ips.v4, &self.cluster_ips.v6].into_iter().flatten();
        cluster_ips.chain(self.outside_addresses())
    }

    /// Returns the external IPs and load-balancer IPs.
    pub fn outside_addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.external_ips.iter().chain(&self.load_balancer_ips)
    }
}

/// The clients that may connect to a Service's load-balancer addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceRanges {
    /// All clients, because the list is absent or empty.
    #[default]
    Unrestricted,
    /// Clients in the listed networks only.
    Listed {
        /// The readable networks of both families, as written in the object.
        nets: Vec<Net>,
        /// Says whether the whole list was readable. An unreadable element admits no client.
        completeness: Completeness,
    },
}

/// The completeness of a list that was read from an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every element was readable.
    Complete,
    /// An element, or the list itself, was unreadable. It may have named any network of either family.
    PartlyUnreadable,
}

/// Collects a list in which every element was readable.
impl FromIterator<Net> for SourceRanges {
    fn from_iter<I: IntoIterator<Item = Net>>(nets: I) -> Self {
        let nets: Vec<Net> = nets.into_iter().collect();
        if nets.is_empty() {
            return Self::Unrestricted;
        }
        Self::Listed { nets, completeness: Completeness::Complete }
    }
}

/// One element of a Service's `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; may be empty. Name and protocol select the ports of slices.
    pub name: Arc<str>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port that clients connect to, 1–65535.
    pub port: u16,
    /// The node port, 1–65535; `None` if the port has none.
    pub node_port: Option<u16>,
}

/// The session affinity of a Service: `spec.sessionAffinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Every connection is scheduled independently.
    None,
    /// All connections from one client address go to one endpoint.
    ClientIp {
        /// The time in seconds after the last connection for which the choice is kept, 1–86400.
        timeout: u32,
    },
}

/// The endpoints that a traffic policy admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Endpoints on any node.
    Cluster,
    /// Endpoints on this node.
    Local,
}
