//! The knobs that change plans.
//!
//! In: a checked configuration. Out: one value that every planning function takes. Never: knobs
//! of the shell (periods, listen addresses).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::feature::{Feature, Missing};
use super::set::{SetKey, SetName};
use crate::model::{Family, Net, PerFamily};

/// What the configuration says about plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's name; endpoints with it are local. Empty: no endpoint is local.
    pub node_name: Arc<str>,
    /// Which families are programmed. A family the node lacks is left entirely alone.
    pub families: PerFamily<bool>,
    /// `ipvs.scheduler`; any name the kernel has. Default `rr`.
    pub scheduler: Arc<str>,
    /// `iptables.masqueradeBit`, 0–31. Default 14.
    pub masquerade_bit: u8,
    /// `iptables.masqueradeAll`.
    pub masquerade_all: bool,
    /// `detectLocalMode` with its parameters.
    pub local_detection: LocalDetection,
    /// Whether the final MASQUERADE rule may carry `--random-fully` (iptables 1.6.2 and later).
    pub random_fully: bool,
    /// `ipvs.excludeCIDRs`: virtual servers at these addresses are not ours to delete.
    pub exclude_nets: Vec<Net>,
    /// `nodePortAddresses`.
    pub node_ports: NodePortAddresses,
    /// `bindAddress`, unless it is unspecified: the node's own address in its family.
    pub bind_address: Option<IpAddr>,
    /// Whether Services may have external IPs (feature gate `AllowServiceExternalIPs`).
    pub external_ips: bool,
    /// Load-balancer addresses in these networks are treated as those with `ipMode: Proxy`: the balancer connects by
    /// itself, and nothing is programmed at the address.
    pub ip_mode_proxy: Vec<Net>,
    /// Whether upstream's results stand where the API promises others.
    pub policy: Compatibility,
    /// What rules and sets cannot be made of, because the kernel or `iptables` lacks it.
    pub missing: PerFamily<Missing>,
    /// How long destinations may drain.
    pub drain: DrainLimits,
}

/// Which addresses of the node serve node ports (`nodePortAddresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The Node object's first address of each family.
    Primary,
    /// Addresses in these networks; of a family without any, every address.
    In(Vec<Net>),
}

/// What wins where kube-proxy's IPVS mode gives another result than the API promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Upstream's result.
    #[default]
    AsUpstream,
    /// The API's promise (`strictTrafficPolicies`): no fall-back to other nodes' endpoints under
    /// local internal traffic policy; source ranges of the other family alone deny this family;
    /// no node ports in a family for which `primary` finds no address.
    Strict,
}

/// The longest time for which a destination may only finish its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainLimits {
    /// Of any destination; `None` is upstream's: until its last connection has ended.
    pub usual: Option<Duration>,
    /// Of a destination on a node that is gone or not ready; `None` makes no difference.
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
    /// True if nothing is programmed at a load balancer's address.
    pub fn is_of_a_proxy(&self, address: &IpAddr) -> bool {
        self.ip_mode_proxy.iter().any(|net| net.contains(address))
    }

    /// The firewall mark that asks for source NAT.
    pub fn masquerade_mark(&self) -> u32 {
        1u32.checked_shl(u32::from(self.masquerade_bit)).unwrap_or(0)
    }

    /// True if the node has a feature in a family.
    pub(crate) fn has(&self, family: Family, feature: Feature) -> bool {
        !self.missing.of(family).contains(&feature)
    }

    /// True if sets of this name can be made in a family.
    pub(crate) fn has_set(&self, set: SetKey) -> bool {
        self.has(set.family, Feature::SetType(set.name.kind()))
    }

    /// True if clients outside the source ranges of a load balancer can be kept from it. Whether the node
    /// itself can be is another matter, see [`Feature::Ipvs`].
    pub(crate) fn can_guard(&self, family: Family) -> bool {
        let guard = [SetName::LoadBalancerFw, SetName::LoadBalancerSourceCidr];
        self.has(family, Feature::Set)
            && guard.iter().all(|name| self.has_set(SetKey { family, name: *name }))
    }
}

/// How traffic of local pods is told from other traffic (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalDetection {
    /// By source address: the first `clusterCIDR` of each family, if there is one.
    ClusterCidr(PerFamily<Option<Net>>),
    /// By source address: the Node's own pod range of each family.
    NodeCidr,
    /// By the interface the packet came in on: this bridge.
    BridgeInterface(String),
    /// By the interface the packet came in on: any whose name starts with this.
    InterfaceNamePrefix(String),
}

impl Default for LocalDetection {
    fn default() -> Self {
        Self::ClusterCidr(PerFamily::default())
    }
}
