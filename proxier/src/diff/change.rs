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

/// One operation on the kernel, by the kind of object that it changes. A first sync has hundreds of thousands, so that
/// large and rare parts are boxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create the dummy device.
    AddDevice,
    /// Change an address of the dummy device.
    Address(AddressChange),
    /// Change a set or its entries.
    Set(SetChange),
    /// Change the rules of a family.
    Rules(RulesChange),
    /// Change a virtual server or its destinations.
    Server(ServerChange),
    /// Delete a flow from connection tracking.
    RemoveFlow(Box<Flow>),
}

/// An operation on an address of the dummy device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// Make the address local.
    Add(IpAddr),
    /// Take the address off the dummy device.
    Remove(IpAddr),
}

/// An operation on a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// Create a set, empty.
    Create(SetKey),
    /// Give a set room for more entries than it was made for, keeping those it has: a bigger set
    /// is filled and put in its place at once. The capacity is in entries.
    Grow(SetKey, u32),
    /// Put an entry into a set.
    AddEntry(SetKey, Entry),
    /// Take an entry out of a set.
    RemoveEntry(SetKey, Entry),
}

/// An operation on the rules of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesChange {
    /// Rewrite all chains of this proxy, and put missing jumps in place.
    Write(Box<RulesStep>),
    /// Remove the chains, rules and tables that kube-proxy's other modes have left behind.
    RemoveLegacy(Family),
}

/// An operation on a virtual server or one of its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerChange {
    /// Create a virtual server without destinations.
    Add(VirtualServerKey, ServerSettings),
    /// Give a virtual server other settings, keeping its destinations and connections.
    Update(VirtualServerKey, ServerSettings),
    /// Remove a virtual server with its destinations.
    Remove(VirtualServerKey),
    /// Add a destination with a weight.
    AddDestination(VirtualServerKey, SocketAddr, u32),
    /// Give a destination another weight; 0 keeps its connections and takes no new ones.
    UpdateDestination(VirtualServerKey, SocketAddr, u32),
    /// Remove a destination.
    RemoveDestination(VirtualServerKey, SocketAddr),
}

impl ServerChange {
    /// The virtual server.
    pub fn key(&self) -> &VirtualServerKey {
        match self {
            Self::Add(key, _)
            | Self::Update(key, _)
            | Self::Remove(key)
            | Self::AddDestination(key, ..)
            | Self::UpdateDestination(key, ..)
            | Self::RemoveDestination(key, _) => key,
        }
    }
}

impl SetChange {
    /// The set.
    pub fn key(&self) -> SetKey {
        match self {
            Self::Create(set)
            | Self::Grow(set, _)
            | Self::AddEntry(set, _)
            | Self::RemoveEntry(set, _) => *set,
        }
    }
}

impl AddressChange {
    /// The address.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Add(address) | Self::Remove(address) => *address,
        }
    }
}

impl RulesChange {
    /// The family whose rules change.
    pub fn family(&self) -> Family {
        match self {
            Self::Write(step) => step.family,
            Self::RemoveLegacy(family) => *family,
        }
    }
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
    /// True if it changes an object that has one of these keys.
    pub(crate) fn is_of(&self, keys: &DirtyKeys) -> bool {
        match self {
            Self::Address(change) => keys.addresses.contains(&change.address()),
            Self::Set(SetChange::AddEntry(set, entry) | SetChange::RemoveEntry(set, entry)) => {
                keys.entries.contains(&(*set, *entry))
            }
            Self::Server(change) => keys.servers.contains(change.key()),
            Self::AddDevice
            | Self::Set(SetChange::Create(_) | SetChange::Grow(..))
            | Self::Rules(_)
            | Self::RemoveFlow(_) => false,
        }
    }

    /// True if it follows from all facts together.
    pub(crate) fn is_common(&self) -> bool {
        matches!(self, Self::Rules(_) | Self::Set(SetChange::Grow(..)))
    }

    /// True if every comparison names it, whichever keys it looks at. Of two of these the later one counts.
    pub(crate) fn is_always_compared(&self) -> bool {
        self.is_common() || matches!(self, Self::AddDevice | Self::Set(SetChange::Create(_)))
    }

    /// True if it must be the last of a round: it may take away what changes that wait still need.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Rules(RulesChange::Write(step)) => step.moment == Moment::AfterRemoval,
            Self::Rules(RulesChange::RemoveLegacy(_)) => true,
            Self::AddDevice
            | Self::Address(_)
            | Self::Set(_)
            | Self::Server(_)
            | Self::RemoveFlow(_) => false,
        }
    }

    /// The destination that it adds.
    pub(crate) fn new_destination(&self) -> Option<VirtualServerDestination> {
        match self {
            Self::Server(ServerChange::AddDestination(key, destination, _)) => {
                Some((*key, *destination))
            }
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
            Self::AddDevice => "device",
            Self::Address(_) => "address",
            Self::Set(SetChange::Create(_) | SetChange::Grow(..)) => "set",
            Self::Set(SetChange::AddEntry(..) | SetChange::RemoveEntry(..)) => "set_entry",
            Self::Rules(RulesChange::Write(_)) => "rule",
            Self::Rules(RulesChange::RemoveLegacy(_)) => "legacy_rules",
            Self::Server(
                ServerChange::Add(..) | ServerChange::Update(..) | ServerChange::Remove(_),
            ) => "virtual_server",
            Self::Server(
                ServerChange::AddDestination(..)
                | ServerChange::UpdateDestination(..)
                | ServerChange::RemoveDestination(..),
            ) => "destination",
            Self::RemoveFlow(_) => "flow",
        }
    }

    /// The family a change belongs to; `None` for the device, which both share.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::AddDevice => None,
            Self::Address(change) => Some(Family::of(change.address())),
            Self::Set(change) => Some(change.key().family),
            Self::Rules(change) => Some(change.family()),
            Self::Server(change) => Some(change.key().family()),
            Self::RemoveFlow(flow) => Some(Family::of(flow.frontend.ip())),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddDevice => write!(f, "add link kube-ipvs0"),
            Self::Address(change) => change.fmt(f),
            Self::Set(change) => change.fmt(f),
            Self::Rules(change) => change.fmt(f),
            Self::Server(change) => change.fmt(f),
            Self::RemoveFlow(flow) => write!(f, "remove flow {flow}"),
        }
    }
}

impl fmt::Display for AddressChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(address) => write!(f, "add address {address}"),
            Self::Remove(address) => write!(f, "remove address {address}"),
        }
    }
}

impl fmt::Display for SetChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(set) => write!(f, "add set {set}"),
            Self::Grow(set, capacity) => write!(f, "grow set {set} to {capacity}"),
            Self::AddEntry(set, entry) => write!(f, "add entry {set} {entry}"),
            Self::RemoveEntry(set, entry) => write!(f, "remove entry {set} {entry}"),
        }
    }
}

impl fmt::Display for RulesChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(step) => write!(f, "write rules {}", step.family),
            Self::RemoveLegacy(family) => write!(f, "remove legacy rules of other modes {family}"),
        }
    }
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(key, settings) => write!(f, "add virtual server {key} {settings}"),
            Self::Update(key, settings) => write!(f, "update virtual server {key} {settings}"),
            Self::Remove(key) => write!(f, "remove virtual server {key}"),
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
