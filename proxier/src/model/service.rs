//! Services, reduced to what decides kernel state.
//!
//! In: a checked `core/v1 Service` that this proxy is responsible for (headless ones, ExternalName
//! and those with the label `service.kubernetes.io/service-proxy-name` never get here). Out: plain
//! values. Never: fields that kube-proxy ignores (`targetPort`, `loadBalancerClass`, selectors).

use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Net, PerFamily, Protocol};
use super::name::ServiceName;

/// One Service with at least one cluster IP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ServiceName,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 when unknown. Of two Services that
    /// claim one address, port and protocol the older wins.
    pub created: i64,
    /// The cluster IP of each family it has (`spec.clusterIPs` by `spec.ipFamilies`).
    pub cluster_ips: PerFamily<Option<IpAddr>>,
    /// `spec.ports`, in the order of the object.
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity` with its timeout.
    pub affinity: Affinity,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`, `Local` only where it has a meaning: type LoadBalancer or
    /// NodePort, or ClusterIP with at least one external IP (spec 4.2).
    pub external_policy: TrafficPolicy,
    /// `spec.externalIPs`, both families.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` with `ipMode` VIP or unset, both families.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: SourceRanges,
    /// `spec.healthCheckNodePort` of a LoadBalancer with local external policy.
    pub health_check_node_port: Option<u16>,
}

impl Service {
    /// True if any of its ports is served at node ports.
    pub fn has_node_port(&self) -> bool {
        self.ports.iter().any(|port| port.node_port.is_some())
    }

    /// Its own addresses: cluster IPs, external ones, those of load balancers.
    pub fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        let cluster_ips = [&self.cluster_ips.v4, &self.cluster_ips.v6].into_iter().flatten();
        cluster_ips.chain(self.outside_addresses())
    }

    /// External addresses and those of load balancers.
    pub fn outside_addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.external_ips.iter().chain(&self.load_balancer_ips)
    }
}

/// Which clients a load balancer's addresses admit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceRanges {
    /// Everyone: the list is absent or empty.
    #[default]
    Unrestricted,
    /// Only clients in these networks, as far as the list says.
    Listed {
        /// The networks that could be read, of both families, as they are written.
        nets: Vec<Net>,
        /// Whether all of the list could be read. What could not be read admits nobody.
        completeness: Completeness,
    },
}

/// Whether everything that was written could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It could.
    Complete,
    /// An element, or the list itself, could not; it may have named any network of either family.
    PartlyUnreadable,
}

/// The list in which every element could be read.
impl FromIterator<Net> for SourceRanges {
    fn from_iter<I: IntoIterator<Item = Net>>(nets: I) -> Self {
        let nets: Vec<Net> = nets.into_iter().collect();
        if nets.is_empty() {
            return Self::Unrestricted;
        }
        Self::Listed { nets, completeness: Completeness::Complete }
    }
}

/// One element of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; may be empty. With the protocol it selects the slices' ports.
    pub name: Arc<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// 1–65535.
    pub port: u16,
    /// 1–65535, if the port has one.
    pub node_port: Option<u16>,
}

/// Whether connections of one client stay with one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Every connection is scheduled by itself.
    None,
    /// Connections of one client address go to one endpoint.
    ClientIp {
        /// Seconds after the last connection for which the choice is kept; 1–86400.
        timeout: u32,
    },
}

/// Which endpoints a traffic policy admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Endpoints on any node.
    Cluster,
    /// Endpoints on this node.
    Local,
}
