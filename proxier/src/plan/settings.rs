//! The knobs that change plans.
//!
//! In: a checked configuration. Out: one value that every planning function takes. Never: knobs
//! of the shell (periods, listen addresses).

use std::sync::Arc;

use crate::model::{Net, PerFamily};

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
        }
    }
}

impl Settings {
    /// The firewall mark that asks for source NAT.
    pub fn masquerade_mark(&self) -> u32 {
        1u32.checked_shl(u32::from(self.masquerade_bit)).unwrap_or(0)
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
