//! The 11 chains, their rules and the 9 jumps to them.
//!
//! Takes the settings, the node's pod network, and which sets have entries. Gives the rules of one family,
//! spelled exactly as `iptables-save` prints them. `iptables-restore` reads the same form, so rules are up to
//! date if the text is equal. Makes no rule per Service, except in `KUBE-IPVS-OUT-FILTER`: rules
//! depend on a few facts and change only with them.
//!
//! Sources: spec 1.1, 1.2, 1.5, 1.6.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::feature::{Feature, Missing};
use super::server::VirtualServerKey;
use super::set::SetName;
use super::settings::{LocalDetection, Settings};
use crate::model::{Family, Net, Node};

mod filter;
mod nat;

pub(crate) use self::filter::refused_by;

/// A netfilter table that this proxy writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The table `filter`.
    Filter,
    /// The table `nat`.
    Nat,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        })
    }
}

/// The key of one of this proxy's chains. `KUBE-NODE-PORT` exists in both tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainKey {
    /// The table of the chain.
    pub table: Table,
    /// The name of the chain.
    pub chain: &'static str,
}

/// The chain whose rules have no order: each keeps this node from one load-balancer frontend.
pub(crate) const OUT_FILTER: ChainKey = filter("KUBE-IPVS-OUT-FILTER");

const fn nat(chain: &'static str) -> ChainKey {
    ChainKey { table: Table::Nat, chain }
}

const fn filter(chain: &'static str) -> ChainKey {
    ChainKey { table: Table::Filter, chain }
}

impl ChainKey {
    /// All chains of this proxy, in the order in which they are declared.
    pub const ALL: [Self; 11] = [
        nat("KUBE-SERVICES"),
        nat("KUBE-POSTROUTING"),
        nat("KUBE-NODE-PORT"),
        nat("KUBE-LOAD-BALANCER"),
        nat("KUBE-MARK-MASQ"),
        filter("KUBE-FORWARD"),
        filter("KUBE-NODE-PORT"),
        filter("KUBE-PROXY-FIREWALL"),
        filter("KUBE-SOURCE-RANGES-FIREWALL"),
        filter("KUBE-IPVS-FILTER"),
        OUT_FILTER,
    ];
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.chain)
    }
}

/// A rule in a built-in chain that jumps to one of this proxy's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Jump {
    /// The table of both chains.
    pub table: Table,
    /// The built-in chain.
    pub from: &'static str,
    /// This proxy's chain.
    pub to: &'static str,
    /// The comment of the rule, which is its only match.
    pub comment: &'static str,
}

impl Jump {
    /// All jumps, in the order in which each is inserted at the head of its built-in chain. In the kernel they
    /// stand in reverse order.
    pub const ALL: [Self; 9] = [
        Self::new(Table::Nat, "OUTPUT", "KUBE-SERVICES", "kubernetes service portals"),
        Self::new(Table::Nat, "PREROUTING", "KUBE-SERVICES", "kubernetes service portals"),
        Self::new(Table::Nat, "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
        Self::new(Table::Filter, "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
        Self::new(Table::Filter, "INPUT", "KUBE-NODE-PORT", "kubernetes health check rules"),
        Self::new(Table::Filter, "INPUT", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
        Self::new(Table::Filter, "FORWARD", "KUBE-PROXY-FIREWALL", "kube-proxy firewall rules"),
        Self::new(Table::Filter, "INPUT", "KUBE-IPVS-FILTER", "kubernetes ipvs access filter"),
        Self::new(Table::Filter, "OUTPUT", "KUBE-IPVS-OUT-FILTER", "kubernetes ipvs access filter"),
    ];

    const fn new(
        table: Table,
        from: &'static str,
        to: &'static str,
        comment: &'static str,
    ) -> Self {
        Self { table, from, to, comment }
    }

    /// Returns the rule without its chain, as `iptables-save` prints it.
    pub fn rule(&self) -> String {
        format!("-m comment --comment \"{}\" -j {}", self.comment, self.to)
    }

    /// Returns the rule without its comment, for a kernel whose rules cannot have comments.
    pub fn bare_rule(&self) -> String {
        format!("-j {}", self.to)
    }
}

/// The rules of one family: the rules of each of this proxy's chains, in order, and the jumps to the chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules without `-A CHAIN`. A chain that exists without rules is present and empty.
    pub chains: BTreeMap<ChainKey, Vec<String>>,
    /// The jumps that exist.
    pub jumps: BTreeSet<Jump>,
}

/// The facts that rules depend on besides the settings.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The family of the rules.
    pub(crate) family: Family,
    /// The sets with at least one entry.
    pub(crate) filled: BTreeSet<SetName>,
    /// The load-balancer frontends that this node may not connect to.
    pub(crate) refused: Vec<VirtualServerKey>,
    /// This node's Node object.
    pub(crate) node: Option<&'a Node>,
    /// The features that the family lacks.
    pub(crate) missing: &'a Missing,
}

impl Rules {
    /// Computes the rules from the settings and facts.
    pub(crate) fn planned(settings: &Settings, facts: &Facts<'_>) -> Self {
        let mut chains: BTreeMap<ChainKey, Vec<String>> =
            ChainKey::ALL.iter().map(|chain| (*chain, Vec::new())).collect();
        nat::fill(&mut chains, settings, facts);
        filter::fill(&mut chains, settings, facts);
        Self { chains, jumps: Jump::ALL.into_iter().collect() }
    }
}

impl Facts<'_> {
    fn has(&self, feature: Feature) -> bool {
        !self.missing.contains(&feature)
    }

    /// Returns the match `-m set --match-set NAME DIRECTIONS`. `None` if the node lacks the match or the type
    /// of set.
    fn in_set(&self, name: SetName, directions: &str) -> Option<String> {
        let can_match = self.has(Feature::Set) && self.has(Feature::SetType(name.kind()));
        can_match
            .then(|| format!("-m set --match-set {} {directions}", name.kernel_name(self.family)))
    }

    /// Returns the match of [`in_set`](Self::in_set) with the set's comment in front.
    fn in_set_with_comment(&self, name: SetName, directions: &str) -> Option<String> {
        Some(format!("{}{}", self.comment(name.comment()), self.in_set(name, directions)?))
    }

    /// Returns the match with the comment; also `None` if the set has no entries.
    fn in_filled_set(&self, name: SetName, directions: &str) -> Option<String> {
        self.is_filled(name).then(|| self.in_set_with_comment(name, directions)).flatten()
    }

    /// Returns a comment match followed by a space; empty if rules cannot have comments.
    fn comment(&self, text: &str) -> String {
        if self.has(Feature::Comment) {
            format!("-m comment --comment \"{text}\" ")
        } else {
            String::new()
        }
    }

    fn is_filled(&self, name: SetName) -> bool {
        self.filled.contains(&name)
    }
}

/// Returns the match for traffic that does not come from local pods. `None` if the two cannot be told apart.
fn not_local(settings: &Settings, facts: &Facts<'_>) -> Option<String> {
    let not_from = |net: &Net| format!("! -s {}", net.trunc());
    match &settings.local_detection {
        LocalDetection::ClusterCidr(nets) => nets.of(facts.family).as_ref().map(not_from),
        LocalDetection::NodeCidr => facts
            .node
            .into_iter()
            .flat_map(|node| &node.pod_nets)
            .find(|net| Family::of_net(net) == facts.family)
            .map(not_from),
        LocalDetection::BridgeInterface(name) => Some(format!("! -i {name}")),
        LocalDetection::InterfaceNamePrefix(prefix) => Some(format!("! -i {prefix}+")),
    }
}
