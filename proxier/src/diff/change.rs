//! Changes of the kernel as data.
//!
//! Takes what the comparison finds. Gives one value for each kernel operation, which prints as one line with
//! the operation and its object. Does not know the order of changes, which `apply::order` decides.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::flow::Flow;
use crate::model::Family;
use crate::plan::{
    DirtyKeys, Entry, Jump, Rules, ServerSettings, SetKey, VirtualServerDestination,
    VirtualServerKey,
};

/// One kernel operation, by the kind of object that it changes. A first sync has hundreds of thousands of
/// changes, so that large and rare parts are boxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create the dummy device.
    AddDevice,
    /// Remove the dummy device with its addresses. Only a cleanup does this.
    RemoveDevice,
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
    /// Add the address to the dummy device, which makes it local.
    Add(IpAddr),
    /// Remove the address from the dummy device.
    Remove(IpAddr),
}

/// An operation on a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetChange {
    /// Create an empty set.
    Create(SetKey),
    /// Give a set room for this number of entries, keeping the entries it has. A bigger set is filled and
    /// swapped with it in one step.
    Grow(SetKey, u32),
    /// Add an entry to a set.
    AddEntry(SetKey, Entry),
    /// Remove an entry from a set.
    RemoveEntry(SetKey, Entry),
    /// Destroy the set of this name with its entries. It need not be the set of a plan, since a killed process may have
    /// left one that it needed for a moment. Only a cleanup does this.
    Destroy(&'static str),
}

/// An operation on the rules of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesChange {
    /// Rewrite all chains of this proxy and add missing jumps.
    Write(Box<RulesStep>),
    /// Remove the chains, rules and tables that kube-proxy's other modes have left behind.
    RemoveLegacy(Family),
    /// Remove the chains and jumps of every mode of kube-proxy from one table. Only a cleanup does this.
    RemoveAll(Box<StandingTable>),
    /// Remove the table that kube-proxy's nftables mode has left behind. Only a cleanup does this.
    RemoveNftTable(Family),
}

/// An operation on a virtual server or one of its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerChange {
    /// Create a virtual server without destinations.
    Add(VirtualServerKey, ServerSettings),
    /// Change the settings of a virtual server, keeping its destinations and connections.
    Update(VirtualServerKey, ServerSettings),
    /// Remove a virtual server with its destinations.
    Remove(VirtualServerKey),
    /// Add a destination with a weight.
    AddDestination(VirtualServerKey, SocketAddr, u32),
    /// Change the weight of a destination; 0 keeps its connections and takes no new ones.
    UpdateDestination(VirtualServerKey, SocketAddr, u32),
    /// Remove a destination.
    RemoveDestination(VirtualServerKey, SocketAddr),
}

impl ServerChange {
    /// The virtual server that changes, or whose destination changes.
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
    /// The family of the set that changes, or whose entry changes; `None` if the set has only a name.
    fn family(&self) -> Option<Family> {
        match self {
            Self::Create(set)
            | Self::Grow(set, _)
            | Self::AddEntry(set, _)
            | Self::RemoveEntry(set, _) => Some(set.family),
            Self::Destroy(_) => None,
        }
    }
}

impl AddressChange {
    /// The address that is added or removed.
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
            Self::RemoveLegacy(family) | Self::RemoveNftTable(family) => *family,
            Self::RemoveAll(table) => table.family,
        }
    }
}

/// The rules of one family, to be written in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesStep {
    /// The family of the rules.
    pub family: Family,
    /// All chains and jumps as they are to stand afterwards.
    pub rules: Rules,
    /// Jumps that do not stand yet.
    pub missing_jumps: BTreeSet<Jump>,
    /// True if rules can have comments. Otherwise a jump is written as [`Jump::bare_rule`].
    pub has_comments: bool,
    /// The point of the round at which they are written.
    pub moment: Moment,
}

/// The chains and jumps of every mode of kube-proxy that stand in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingTable {
    /// The family of the table.
    pub family: Family,
    /// The name of the table.
    pub table: String,
    /// The jumps and chains, in words for the operator.
    pub names: Vec<String>,
    /// The chains that cannot be removed because rules of other programs jump to them; they are emptied.
    pub kept: Vec<String>,
    /// The input of `iptables-restore` that removes all but these chains in one transaction.
    pub removal: String,
}

impl StandingTable {
    /// The reason why a part stays after the removal, for the operator; `None` if nothing stays.
    pub fn reason_to_stay(&self) -> Option<String> {
        let kept = self.kept.join(", ");
        (!kept.is_empty()).then(|| format!("emptied, but rules of others lead to {kept}"))
    }
}

/// The point of a round at which rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before anything becomes reachable.
    BeforeGrowth,
    /// After everything that is to be removed has gone.
    AfterRemoval,
}

impl Change {
    /// True if the changed object has one of these keys.
    pub(crate) fn is_of(&self, keys: &DirtyKeys) -> bool {
        match self {
            Self::Address(change) => keys.addresses.contains(&change.address()),
            Self::Set(SetChange::AddEntry(set, entry) | SetChange::RemoveEntry(set, entry)) => {
                keys.entries.contains(&(*set, *entry))
            }
            Self::Server(change) => keys.servers.contains(change.key()),
            Self::AddDevice
            | Self::RemoveDevice
            | Self::Set(_)
            | Self::Rules(_)
            | Self::RemoveFlow(_) => false,
        }
    }

    /// True if the change depends on all Services together, not on single keys.
    pub(crate) fn is_common(&self) -> bool {
        matches!(self, Self::Rules(_) | Self::Set(SetChange::Grow(..)))
    }

    /// True if every comparison may find it, whichever keys are compared. The result of the latest comparison
    /// counts.
    pub(crate) fn is_always_compared(&self) -> bool {
        self.is_common() || matches!(self, Self::AddDevice | Self::Set(SetChange::Create(_)))
    }

    /// True if it must be the last change of a round, because waiting changes may need what it removes.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Rules(RulesChange::Write(step)) => step.moment == Moment::AfterRemoval,
            Self::Rules(_) => true,
            Self::AddDevice
            | Self::RemoveDevice
            | Self::Address(_)
            | Self::Set(_)
            | Self::Server(_)
            | Self::RemoveFlow(_) => false,
        }
    }

    /// The destination that the change adds.
    pub(crate) fn new_destination(&self) -> Option<VirtualServerDestination> {
        match self {
            Self::Server(ServerChange::AddDestination(key, destination, _)) => {
                Some((*key, *destination))
            }
            _ => None,
        }
    }

    /// All kinds of objects that a comparison with the kernel can find to differ, as [`Change::object`] names
    /// them.
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

    /// The kind of the changed object, in lower case.
    pub fn object(&self) -> &'static str {
        match self {
            Self::AddDevice | Self::RemoveDevice => "device",
            Self::Address(_) => "address",
            Self::Set(SetChange::AddEntry(..) | SetChange::RemoveEntry(..)) => "set_entry",
            Self::Set(_) => "set",
            Self::Rules(RulesChange::Write(_) | RulesChange::RemoveAll(_)) => "rule",
            Self::Rules(RulesChange::RemoveLegacy(_) | RulesChange::RemoveNftTable(_)) => {
                "legacy_rules"
            }
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

    /// The family of the changed object; `None` for the device, which both families share, and for a set that has
    /// only a name.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::AddDevice | Self::RemoveDevice => None,
            Self::Address(change) => Some(Family::of(change.address())),
            Self::Set(change) => change.family(),
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
            Self::RemoveDevice => write!(f, "remove link kube-ipvs0"),
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
            Self::Destroy(name) => write!(f, "remove set {name}"),
        }
    }
}

impl fmt::Display for RulesChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(step) => write!(f, "write rules {}", step.family),
            Self::RemoveLegacy(family) => write!(f, "remove legacy rules of other modes {family}"),
            Self::RemoveAll(table) => write!(f, "remove rules {} {}", table.family, table.table),
            Self::RemoveNftTable(family) => write!(f, "remove nftables table kube-proxy {family}"),
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
    /// The changes, in the order in which they were found.
    pub changes: Vec<Change>,
    /// Destinations at weight 0 that have or may have connections, and are to be looked at again.
    pub draining: BTreeSet<VirtualServerDestination>,
}

impl ChangeSet {
    pub(super) fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// True if the kernel state is the desired state and no destination drains.
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
