//! The features of iptables and ipset that rules and sets need, and the consequence of lacking one.
//!
//! Gives the names of matches, targets and set types. For each there is a sentence that tells the operator
//! what the node loses without it. Does not look for features in the kernel;
//! [`Kernel::prepare`](crate::apply::Kernel::prepare) does.
//!
//! Plans work without any of them (`docs/rights.md` has the table). Without comments, rules have none. Any
//! other missing feature leaves out the rules that need it. Load balancers with source ranges are not served
//! if their guard is missing: they would be open to everyone.

use std::collections::BTreeSet;
use std::fmt;

use super::set::SetKind;

/// A match or target of `iptables`, an option of a target, or a type of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The match `-m comment`.
    Comment,
    /// The match `-m set`.
    Set,
    /// The match `-m addrtype`.
    AddressType,
    /// The match `-m physdev`.
    Physdev,
    /// The match `-m conntrack`.
    Conntrack,
    /// The match `-m mark`.
    Mark,
    /// The match `-m ipvs`.
    Ipvs,
    /// The target `-j MARK`.
    SetMark,
    /// The target `-j MASQUERADE`.
    Masquerade,
    /// The option `--random-fully` of `-j MASQUERADE`.
    RandomFully,
    /// The target `-j REJECT`.
    Reject,
    /// Sets of this type.
    SetType(SetKind),
}

/// The features that a node lacks in one family.
pub type Missing = BTreeSet<Feature>;

impl Feature {
    /// Every match, target and option.
    pub const OF_RULES: [Self; 11] = [
        Self::Comment,
        Self::Set,
        Self::AddressType,
        Self::Physdev,
        Self::Conntrack,
        Self::Mark,
        Self::Ipvs,
        Self::SetMark,
        Self::Masquerade,
        Self::RandomFully,
        Self::Reject,
    ];

    /// Returns what is unprotected or not served without the feature, as a clause about the family's
    /// Services.
    pub fn loss(self) -> &'static str {
        match self {
            Self::Comment => "rules have no comments; nothing else is lost",
            Self::Set => {
                "load balancers with source ranges are not served, the host's own ports are reachable at service \
                 addresses, and nothing is masqueraded: pods reach Services, clients outside and the node itself \
                 reach endpoints of this node only, and no pod reaches itself through a Service"
            }
            Self::AddressType => {
                "node ports are not masqueraded: clients outside reach endpoints of this node only"
            }
            Self::Physdev => {
                "nothing is lost at addresses of the node: packets to external IPs pass later nat rules only where \
                 another host has the address"
            }
            Self::Conntrack => {
                "the host's own ports are reachable at service addresses, and answers of endpoints are dropped where \
                 the policy of FORWARD is DROP"
            }
            Self::Mark | Self::SetMark => {
                "only what a pod sends to itself is masqueraded: pods reach Services, clients outside and the node \
                 itself reach endpoints of this node only"
            }
            Self::Ipvs => {
                "a load balancer whose source ranges leave this node out is open to the node all the same"
            }
            Self::Masquerade => {
                "nothing is masqueraded: pods reach Services, clients outside and the node itself reach endpoints of \
                 this node only, and no pod reaches itself through a Service"
            }
            Self::RandomFully => "source ports of masqueraded connections are not random",
            Self::Reject => {
                "what service addresses do not serve is dropped: clients wait instead of being refused"
            }
            Self::SetType(SetKind::HashIp) => {
                "the host's own ports are reachable at service addresses"
            }
            Self::SetType(SetKind::HashIpPort) => {
                "load balancers with source ranges are not served, the host's own ports are reachable at service \
                 addresses, and only node ports are masqueraded: pods reach Services, clients outside and the node \
                 itself reach endpoints of this node only"
            }
            Self::SetType(SetKind::HashIpPortIp) => {
                "no pod reaches itself through a Service, and this node is shut out of load balancers with source \
                 ranges"
            }
            Self::SetType(SetKind::HashIpPortNet) => {
                "load balancers with source ranges are not served"
            }
            Self::SetType(SetKind::BitmapPort) => {
                "node ports of TCP and UDP are not masqueraded: clients outside reach endpoints of this node only; \
                 health-check ports are not let in where the policy of INPUT is DROP"
            }
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comment => "-m comment",
            Self::Set => "-m set",
            Self::AddressType => "-m addrtype",
            Self::Physdev => "-m physdev",
            Self::Conntrack => "-m conntrack",
            Self::Mark => "-m mark",
            Self::Ipvs => "-m ipvs",
            Self::SetMark => "-j MARK",
            Self::Masquerade => "-j MASQUERADE",
            Self::RandomFully => "-j MASQUERADE --random-fully",
            Self::Reject => "-j REJECT",
            Self::SetType(kind) => kind.name(),
        })
    }
}
