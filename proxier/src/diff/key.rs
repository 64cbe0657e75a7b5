//! The object that a change or a reading concerns.
//!
//! Takes a change. Returns the one object whose state decides whether the change is still needed. Does not
//! say what that state is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use super::change::{Change, Moment, RulesChange, ServerChange, SetChange};
use crate::model::{Family, Protocol};
use crate::plan::{DirtyKeys, Entry, SetKey, VirtualServerKey};

/// A kernel object that can fail by itself.
///
/// Objects that every comparison looks at come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKey {
    /// The whole kernel state of this proxy, to be read.
    Kernel,
    /// The counts of connections, to be read.
    Connections,
    /// The tracked flows of a family and protocol.
    Flows(Family, Protocol),
    /// The rules of a family, to be read.
    StandingRules(Family),
    /// The rules of a family, to be written at this point of a round.
    Rules(Family, Moment),
    /// The dummy device.
    Device,
    /// A set.
    Set(SetKey),
    /// The capacity of a set.
    Room(SetKey),
    /// A set that is to be destroyed, by its name.
    NamedSet(&'static str),
    /// The rules of kube-proxy's other modes.
    LegacyRules(Family),
    /// An address of the dummy device.
    Address(IpAddr),
    /// A set entry.
    Entry(SetKey, Entry),
    /// A virtual server.
    Server(VirtualServerKey),
    /// A destination of a virtual server.
    Destination(VirtualServerKey, SocketAddr),
}

impl ObjectKey {
    /// Adds the key under which the object is compared. Objects that every comparison looks at have none.
    pub(crate) fn touch(&self, dirty_keys: &mut DirtyKeys) {
        match *self {
            Self::Address(address) => drop(dirty_keys.addresses.insert(address)),
            Self::Entry(set, entry) => drop(dirty_keys.entries.insert((set, entry))),
            Self::Server(key) | Self::Destination(key, _) => drop(dirty_keys.servers.insert(key)),
            Self::Kernel
            | Self::Connections
            | Self::Flows(..)
            | Self::StandingRules(_)
            | Self::Rules(..)
            | Self::Device
            | Self::Set(_)
            | Self::Room(_)
            | Self::NamedSet(_)
            | Self::LegacyRules(_) => {}
        }
    }

    /// The range of all destinations of a virtual server.
    pub(crate) fn destinations_of(server: &VirtualServerKey) -> RangeInclusive<Self> {
        let least = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let greatest = SocketAddrV6::new(Ipv6Addr::from(u128::MAX), u16::MAX, u32::MAX, u32::MAX);
        Self::Destination(*server, least)..=Self::Destination(*server, greatest.into())
    }

    /// The last of the objects that every comparison looks at.
    pub(crate) const LAST_COMMON: Self = Self::LegacyRules(Family::V6);
}

impl Change {
    /// The virtual server that changes, or whose destination changes.
    pub(crate) fn server(&self) -> Option<VirtualServerKey> {
        match self.key() {
            ObjectKey::Server(key) | ObjectKey::Destination(key, _) => Some(key),
            _ => None,
        }
    }

    /// The object that changes.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::AddDevice | Self::RemoveDevice => ObjectKey::Device,
            Self::Address(change) => ObjectKey::Address(change.address()),
            Self::Set(change) => change.object(),
            Self::Rules(RulesChange::Write(step)) => ObjectKey::Rules(step.family, step.moment),
            Self::Rules(RulesChange::RemoveAll(table)) => {
                ObjectKey::Rules(table.family, Moment::AfterRemoval)
            }
            Self::Rules(
                RulesChange::RemoveLegacy(family) | RulesChange::RemoveNftTable(family),
            ) => ObjectKey::LegacyRules(*family),
            Self::Server(change) => change.object(),
            Self::RemoveFlow(flow) => {
                ObjectKey::Flows(Family::of(flow.frontend.ip()), flow.protocol)
            }
        }
    }
}

impl SetChange {
    fn object(&self) -> ObjectKey {
        match self {
            Self::Create(set) => ObjectKey::Set(*set),
            Self::Destroy(name) => ObjectKey::NamedSet(name),
            Self::Grow(set, _) => ObjectKey::Room(*set),
            Self::AddEntry(set, entry) | Self::RemoveEntry(set, entry) => {
                ObjectKey::Entry(*set, *entry)
            }
        }
    }
}

impl ServerChange {
    fn object(&self) -> ObjectKey {
        match self {
            Self::Add(key, _) | Self::Update(key, _) | Self::Remove(key) => ObjectKey::Server(*key),
            Self::AddDestination(key, destination, _)
            | Self::UpdateDestination(key, destination, _)
            | Self::RemoveDestination(key, destination) => {
                ObjectKey::Destination(*key, *destination)
            }
        }
    }
}
