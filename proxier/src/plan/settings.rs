//! The settings that plans depend on.
//!
//! Takes a checked configuration. Gives one value that every planning function takes. Does not contain
//! settings of the `ipvs-proxy` binary, such as periods and listen addresses.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::feature::{Feature, Missing};
use super::set::{SetKey, SetName};
use crate::model::{Family, Net, PerFamily, Service};

/// The part of the configuration that plans depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's name; endpoints with it are local. If empty, no endpoint is local.
    pub node_name: Arc<str>,
    /// True for each family that is programmed. A family that is not programmed is left alone entirely.
    pub families: PerFamily<bool>,
    /// The scheduler (`ipvs.scheduler`), by any name that the kernel has. Default `rr`.
    pub scheduler: Arc<str>,
    /// The bit of the masquerade mark (`iptables.masqueradeBit`), 0–31. Default 14.
    pub masquerade_bit: u8,
    /// True if all traffic to cluster IPs is masqueraded (`iptables.masqueradeAll`).
    pub masquerade_all: bool,
    /// The method that detects traffic from local pods (`detectLocalMode` with its parameters).
    pub local_detection: LocalDetection,
    /// True if the final MASQUERADE rule may carry `--random-fully` (iptables 1.6.2 and later).
    pub random_fully: bool,
    /// Networks in which virtual servers of other programs are kept (`ipvs.excludeCIDRs`).
    pub exclude_nets: Vec<Net>,
    /// The node's addresses that serve node ports (`nodePortAddresses`).
    pub node_ports: NodePortAddresses,
    /// The node's own address in its family (`bindAddress`); `None` if that is unspecified.
    pub bind_address: Option<IpAddr>,
    /// True if Services may have external IPs (feature gate `AllowServiceExternalIPs`).
    pub external_ips: bool,
    /// Networks whose load-balancer addresses are treated like those with `ipMode: Proxy`. The load balancer
    /// there connects by itself, so nothing is programmed at the address.
    pub ip_mode_proxy: Vec<Net>,
    /// The choice between upstream's results and the API's promises where they differ.
    pub policy: Compatibility,
    /// The features that the kernel or `iptables` lacks in each family.
    pub missing: PerFamily<Missing>,
    /// The limits on how long destinations may drain.
    pub drain: DrainLimits,
}

/// The addresses of the node that serve node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family.
    Primary,
    /// The addresses in these networks. If a family has none of the networks, all its addresses serve node
    /// ports.
    In(Vec<Net>),
}

/// The choice of results where kube-proxy's IPVS mode differs from what the API promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Upstream's result.
    #[default]
    AsUpstream,
    /// The API's promise (`strictTrafficPolicies`). Internal traffic policy `Local` does not fall back to
    /// endpoints of other nodes. Source ranges of the other family alone deny this family. There are no node
    /// ports in a family for which `primary` finds no address.
    Strict,
}

/// The longest time that a destination may spend finishing its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainLimits {
    /// The limit for any destination. `None` is upstream's behaviour: until its last connection has ended.
    pub usual: Option<Duration>,
    /// The limit for a destination on a node that is gone or not ready. `None` if no special limit applies.
    pub dead_node: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_name: "".into(),
            families: PerFamily { v4: true, v6: true },
            scheduler: "rr".into(),
            masquerade_bit: 14,
            masquerade_all: false,
            local_detection: LocalDetection::default(),
            random_fully: true,
            exclude_nets: Vec::new(),
            node_ports: NodePortAddresses::In(Vec::new()),
            bind_address: None,
            external_ips: true,
            ip_mode_proxy: Vec::new(),
            policy: Compatibility::AsUpstream,
            missing: PerFamily::default(),
            drain: DrainLimits::default(),
        }
    }
}

impl Settings {
    /// True if the address is a load balancer's at which nothing is programmed.
    pub fn is_of_a_proxy(&self, address: &IpAddr) -> bool {
        self.ip_mode_proxy.iter().any(|net| net.contains(address))
    }

    /// True if this external or load-balancer address of the Service is programmed.
    pub fn programs_outside(&self, service: &Service, address: &IpAddr) -> bool {
        let is_external = self.external_ips && service.external_ips.contains(address);
        let is_balancers = service.load_balancer_ips.contains(address);
        is_external || (is_balancers && !self.is_of_a_proxy(address))
    }

    /// Returns the firewall mark that requests source NAT.
    pub fn masquerade_mark(&self) -> u32 {
        1u32.checked_shl(u32::from(self.masquerade_bit)).unwrap_or(0)
    }

    /// True if the node has a feature in a family.
    pub(crate) fn has(&self, family: Family, feature: Feature) -> bool {
        !self.missing.of(family).contains(&feature)
    }

    /// True if sets of this type can be created in the set's family.
    pub(crate) fn has_set(&self, set: SetKey) -> bool {
        self.has(set.family, Feature::SetType(set.name.kind()))
    }

    /// True if clients outside a load balancer's source ranges can be kept from it. Keeping the node itself
    /// from it needs [`Feature::Ipvs`] instead.
    pub(crate) fn can_guard(&self, family: Family) -> bool {
        let guard = [SetName::LoadBalancerFw, SetName::LoadBalancerSourceCidr];
        self.has(family, Feature::Set)
            && guard.iter().all(|name| self.has_set(SetKey { family, name: *name }))
    }
}

/// The method that detects traffic from local pods (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDetection {
    /// By source address: the first `clusterCIDR` of each family, if there is one.
    ClusterCidr(PerFamily<Option<Net>>),
    /// By source address: the Node's own pod range of each family.
    NodeCidr,
    /// By the incoming interface: this bridge.
    BridgeInterface(String),
    /// By the incoming interface: any whose name starts with this prefix.
    InterfaceNamePrefix(String),
}

impl Default for LocalDetection {
    fn default() -> Self {
        Self::ClusterCidr(PerFamily::default())
    }
}
