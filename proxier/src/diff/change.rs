//! Changes as data.
//!
//! In: findings of the comparison. Out: one value per kernel operation, which prints as one line
//! with what it does and to which object. Never: the order in which they are carried out, which
//! `apply::order` owns.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::flow::Flow;
use crate::model::Family;
use crate::plan::{
    DirtyKeys, Entry, Jump, Rules, ServerSettings, SetKey, VirtualServerDestination,
    VirtualServerKey,
};

/// One operation on the kernel. A first sync has hundreds of thousands, so that what is large and seldom
/// is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create the dummy device.
    AddLink,
    /// Create a set, empty.
    AddSet(SetKey),
    /// Give a set room for more entries than it was made for, keeping those it has: a bigger set
    /// is filled and put in its place at once. The capacity is in entries.
    GrowSet(SetKey, u32),
    /// Put an entry into a set.
    AddEntry(SetKey, Entry),
    /// Rewrite all our chains of a family, and put missing jumps in place.
    WriteRules(Box<RulesStep>),
    /// Make an address local.
    AddAddress(IpAddr),
    /// Create a virtual server without destinations.
    AddServer(VirtualServerKey, ServerSettings),
    /// Give a virtual server other settings, keeping its destinations and connections.
    UpdateServer(VirtualServerKey, ServerSettings),
    /// Add a destination with a weight.
    AddDestination(VirtualServerKey, SocketAddr, u32),
    /// Give a destination another weight; 0 keeps its connections and takes no new ones.
    UpdateDestination(VirtualServerKey, SocketAddr, u32),
    /// Remove a destination.
    RemoveDestination(VirtualServerKey, SocketAddr),
    /// Take an address off the dummy device.
    RemoveAddress(IpAddr),
    /// Remove a virtual server with its destinations.
    RemoveServer(VirtualServerKey),
    /// Take an entry out of a set.
    RemoveEntry(SetKey, Entry),
    /// Forget a tracked flow.
    RemoveFlow(Box<Flow>),
    /// Take away the chains, rules and tables that kube-proxy's other modes have left behind.
    RemoveLegacyRules(Family),
}

/// A state of one family's rules to be written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesStep {
    /// Whose rules.
    pub family: Family,
    /// All chains and jumps as they will stand.
    pub rules: Rules,
    /// Jumps that do not stand yet.
    pub missing_jumps: BTreeSet<Jump>,
    /// Whether rules can have comments; without, a jump is written as [`Jump::bare_rule`].
    pub has_comments: bool,
    /// When in a round.
    pub moment: Moment,
}

/// When in a round rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before anything becomes reachable.
    BeforeGrowth,
    /// After everything that goes has gone.
    AfterRemoval,
}

impl Change {
    /// True if it is of one of these keys.
    pub(crate) fn is_of(&self, keys: &DirtyKeys) -> bool {
        match self {
            Self::AddAddress(address) | Self::RemoveAddress(address) => {
                keys.addresses.contains(address)
            }
            Self::AddEntry(set, entry) | Self::RemoveEntry(set, entry) => {
                keys.entries.contains(&(*set, *entry))
            }
            Self::AddServer(key, _)
            | Self::UpdateServer(key, _)
            | Self::RemoveServer(key)
            | Self::AddDestination(key, ..)
            | Self::UpdateDestination(key, ..)
            | Self::RemoveDestination(key, _) => keys.servers.contains(key),
            Self::AddLink
            | Self::AddSet(_)
            | Self::GrowSet(..)
            | Self::WriteRules(_)
            | Self::RemoveFlow(_)
            | Self::RemoveLegacyRules(_) => false,
        }
    }

    /// True if it follows from all facts together.
    pub(crate) fn is_common(&self) -> bool {
        matches!(self, Self::WriteRules(_) | Self::RemoveLegacyRules(_) | Self::GrowSet(..))
    }

    /// True if every comparison names it, whichever keys it looks at. Of two of these the later one counts.
    pub(crate) fn is_always_compared(&self) -> bool {
        self.is_common() || matches!(self, Self::AddLink | Self::AddSet(_))
    }

    /// True if it must be the last of a round: it may take away what changes that wait still need.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::WriteRules(step) => step.moment == Moment::AfterRemoval,
            Self::RemoveLegacyRules(_) => true,
            _ => false,
        }
    }

    /// The destination that it adds.
    pub(crate) fn new_destination(&self) -> Option<VirtualServerDestination> {
        match self {
            Self::AddDestination(key, destination, _) => Some((*key, *destination)),
            _ => None,
        }
    }

    /// Every kind of object that a comparison with the kernel may find to differ, as [`Change::object`] says it.
    pub const OBJECTS: [&str; 8] = [
        "virtual_server",
        "destination",
        "address",
        "set",
        "set_entry",
        "rule",
        "device",
        "legacy_rules",
    ];

    /// The kind of object that it changes, in lower case.
    pub fn object(&self) -> &'static str {
        match self {
            Self::AddLink => "device",
            Self::AddSet(_) | Self::GrowSet(..) => "set",
            Self::AddEntry(..) | Self::RemoveEntry(..) => "set_entry",
            Self::WriteRules(_) => "rule",
            Self::AddAddress(_) | Self::RemoveAddress(_) => "address",
            Self::AddServer(..) | Self::UpdateServer(..) | Self::RemoveServer(_) => {
                "virtual_server"
            }
            Self::AddDestination(..)
            | Self::UpdateDestination(..)
            | Self::RemoveDestination(..) => "destination",
            Self::RemoveFlow(_) => "flow",
            Self::RemoveLegacyRules(_) => "legacy_rules",
        }
    }

    /// The family a change belongs to; `None` for the device, which both share.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::AddLink => None,
            Self::AddSet(set)
            | Self::GrowSet(set, _)
            | Self::AddEntry(set, _)
            | Self::RemoveEntry(set, _) => Some(set.family),
            Self::RemoveLegacyRules(family) => Some(*family),
            Self::RemoveFlow(flow) => Some(Family::of(flow.frontend.ip())),
            Self::WriteRules(step) => Some(step.family),
            Self::AddAddress(address) | Self::RemoveAddress(address) => Some(Family::of(*address)),
            Self::AddServer(key, _)
            | Self::UpdateServer(key, _)
            | Self::AddDestination(key, ..)
            | Self::UpdateDestination(key, ..)
            | Self::RemoveDestination(key, _)
            | Self::RemoveServer(key) => Some(key.family()),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddLink => write!(f, "add link kube-ipvs0"),
            Self::AddSet(set) => write!(f, "add set {set}"),
            Self::GrowSet(set, capacity) => write!(f, "grow set {set} to {capacity}"),
            Self::AddEntry(set, entry) => write!(f, "add entry {set} {entry}"),
            Self::RemoveEntry(set, entry) => write!(f, "remove entry {set} {entry}"),
            Self::WriteRules(step) => write!(f, "write rules {}", step.family),
            Self::RemoveFlow(flow) => write!(f, "remove flow {flow}"),
            Self::RemoveLegacyRules(family) => {
                write!(f, "remove legacy rules of other modes {family}")
            }
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::AddServer(key, settings) => write!(f, "add virtual server {key} {settings}"),
            Self::UpdateServer(key, settings) => {
                write!(f, "update virtual server {key} {settings}")
            }
            Self::RemoveServer(key) => write!(f, "remove virtual server {key}"),
            Self::AddDestination(key, destination, weight) => {
                write!(f, "add destination {key} -> {destination} weight {weight}")
            }
            Self::UpdateDestination(key, destination, weight) => {
                write!(f, "update destination {key} -> {destination} weight {weight}")
            }
            Self::RemoveDestination(key, destination) => {
                write!(f, "remove destination {key} -> {destination}")
            }
        }
    }
}

/// The changes of one comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// In the order found.
    pub changes: Vec<Change>,
    /// Destinations at weight 0 that still have connections, or may have: to be looked at again.
    pub draining: BTreeSet<VirtualServerDestination>,
}

impl ChangeSet {
    pub(super) fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// True if the kernel is as wished and nothing is draining.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.draining.is_empty()
    }
}

impl fmt::Display for ChangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}
