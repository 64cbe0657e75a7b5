//! What rules and sets are made of, and what is lost where a kernel has less.
//!
//! In: nothing. Out: the names of matches, targets and set types, and of each the sentence that tells an
//! operator what becomes of the node without it. Never: a look at what a kernel has, which
//! [`Kernel::prepare`](crate::apply::Kernel::prepare) finds out.
//!
//! The plan goes on without any of them (`docs/rights.md` has the table): a comment is left out of its rule,
//! any other rule is left out with what it cannot match or do. Only load balancers with source ranges are not
//! served where their guard cannot be had: they would be open to everybody.

use std::collections::BTreeSet;
use std::fmt;

use super::set::SetKind;

/// A match or target of `iptables`, an option of one, or a type of set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// `-m comment`.
    Comment,
    /// `-m set`.
    Set,
    /// `-m addrtype`.
    AddressType,
    /// `-m physdev`.
    Physdev,
    /// `-m conntrack`.
    Conntrack,
    /// `-m mark`.
    Mark,
    /// `-m ipvs`.
    Ipvs,
    /// `-j MARK`.
    SetMark,
    /// `-j MASQUERADE`.
    Masquerade,
    /// `--random-fully` of `-j MASQUERADE`.
    RandomFully,
    /// `-j REJECT`.
    Reject,
    /// Sets of a type.
    SetType(SetKind),
}

/// Features that a node lacks in one family.
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

    /// What is unprotected or unserved without it: a clause about the family's Services.
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
