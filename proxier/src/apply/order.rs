//! Make before break, in one table.
//!
//! In: a change, and what stands. Out: the stage of a round that it belongs to. Never: a change
//! that takes something away before everything that replaces it stands.
//!
//! Growth: a virtual server comes first, without destinations, so that it refuses connections instead of leaving
//! them to a process of the host that listens at every address. Then come its entries and rules, so that it never
//! answers without its masquerade rule and its guard; then its address; and its destinations last. Removal goes the
//! other way round: destinations leave, then entries go, then the empty virtual server, then its
//! address, and the entry that lets nobody else be reached at that address last.
//!
//! Three kinds of entries are no plain permissions and have places of their own:
//! - a guard shuts out who is not in another set, so it comes after that set's entries and their
//!   rules, and goes before them;
//! - an exemption keeps packets from being masqueraded, which only endpoints on this node can bear:
//!   it goes before other destinations come, and where a virtual server stands already it comes
//!   after they have left. A new virtual server has it from the start;
//! - an admission lets somebody past a guard: where the guard stands already it comes when the
//!   destinations of before have left, which may be another Service's that did not admit him.

use std::collections::BTreeSet;

use crate::diff::{AddressChange, Change, Moment, Observed, RulesChange, ServerChange, SetChange};
use crate::model::Protocol;
use crate::plan::{Entry, SetKey, SetName, weight};

/// A part of a round; the next one begins when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The device and the sets.
    CreateSets,
    /// Virtual servers that come, without destinations.
    AddServers,
    /// Set entries that permit, and what comes with a new virtual server.
    AddEntries,
    /// Rules, with all that stood before.
    WriteRules,
    /// Entries that shut clients out.
    AddSourceRangeGuards,
    /// Exemptions from masquerading that go.
    RemoveExemptions,
    /// Addresses that come.
    AddAddresses,
    /// Destinations that come, and virtual servers that change.
    AddDestinations,
    /// Destinations that leave, all of them where the virtual server is to go.
    DrainDestinations,
    /// Entries that wait for them.
    AddExemptions,
    /// Guards that go.
    RemoveSourceRangeGuards,
    /// Other entries that go.
    RemoveEntries,
    /// Virtual servers that go.
    RemoveServers,
    /// Addresses that go.
    RemoveAddresses,
    /// Entries of `KUBE-IPVS-IPS` that go with their address.
    RemoveAddressEntries,
    /// Rules that go.
    RemoveRules,
    /// What other modes of kube-proxy have left.
    RemoveLegacyRules,
    /// Tracked flows.
    RemoveFlows,
}

impl Stage {
    /// All of them, in their order. The length is that of the enumeration, so that none is forgotten.
    pub const ALL: [Self; Self::RemoveFlows as usize + 1] = [
        Self::CreateSets,
        Self::AddServers,
        Self::AddEntries,
        Self::WriteRules,
        Self::AddSourceRangeGuards,
        Self::RemoveExemptions,
        Self::AddAddresses,
        Self::AddDestinations,
        Self::DrainDestinations,
        Self::AddExemptions,
        Self::RemoveSourceRangeGuards,
        Self::RemoveEntries,
        Self::RemoveServers,
        Self::RemoveAddresses,
        Self::RemoveAddressEntries,
        Self::RemoveRules,
        Self::RemoveLegacyRules,
        Self::RemoveFlows,
    ];

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateSets => "create_sets",
            Self::AddServers => "add_servers",
            Self::AddEntries => "add_entries",
            Self::WriteRules => "write_rules",
            Self::AddSourceRangeGuards => "add_source_range_guards",
            Self::RemoveExemptions => "remove_exemptions",
            Self::AddAddresses => "add_addresses",
            Self::AddDestinations => "add_destinations",
            Self::DrainDestinations => "drain_destinations",
            Self::AddExemptions => "add_exemptions",
            Self::RemoveSourceRangeGuards => "remove_source_range_guards",
            Self::RemoveEntries => "remove_entries",
            Self::RemoveServers => "remove_servers",
            Self::RemoveAddresses => "remove_addresses",
            Self::RemoveAddressEntries => "remove_address_entries",
            Self::RemoveRules => "remove_rules",
            Self::RemoveLegacyRules => "remove_legacy_rules",
            Self::RemoveFlows => "remove_flows",
        }
    }
}

/// What an entry does to packets that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It marks them, or lets them pass.
    Permission,
    /// It shuts them out unless another set lets them in.
    Guard,
    /// It keeps them from being masqueraded.
    Exemption,
    /// It lets them past a guard.
    Admission,
    /// It has `KUBE-IPVS-FILTER` refuse what no permission lets pass to the address.
    Address,
}

pub(super) fn role(name: SetName) -> Role {
    match name {
        SetName::LoadBalancerFw => Role::Guard,
        SetName::LoadBalancerSourceIp | SetName::LoadBalancerSourceCidr => Role::Admission,
        SetName::LoadBalancerLocal
        | SetName::NodePortLocalTcp
        | SetName::NodePortLocalUdp
        | SetName::NodePortLocalSctpHash => Role::Exemption,
        SetName::LoopBack
        | SetName::ClusterIp
        | SetName::ExternalIp
        | SetName::ExternalIpLocal
        | SetName::LoadBalancer
        | SetName::NodePortTcp
        | SetName::NodePortUdp
        | SetName::NodePortSctpHash
        | SetName::HealthCheckNodePort => Role::Permission,
        SetName::IpvsIps => Role::Address,
    }
}

/// The virtual servers that stand before a round, as far as the order asks.
pub(super) struct CurrentState<'a> {
    observed: &'a Observed,
    /// Protocols and ports at which any virtual server has destinations, once somebody has asked.
    ports: Option<BTreeSet<(Protocol, u16)>>,
}

impl<'a> CurrentState<'a> {
    pub(super) fn new(observed: &'a Observed) -> Self {
        Self { observed, ports: None }
    }

    pub(super) fn stage(&mut self, change: &Change) -> Stage {
        match change {
            Change::AddDevice
            | Change::Set(SetChange::Create(_))
            | Change::Set(SetChange::Grow(..)) => Stage::CreateSets,
            Change::Set(SetChange::AddEntry(set, entry)) => match role(set.name) {
                Role::Permission | Role::Address => Stage::AddEntries,
                Role::Guard => Stage::AddSourceRangeGuards,
                Role::Exemption if self.serves(*set, entry) => Stage::AddExemptions,
                Role::Admission if self.is_guarded(*set, entry) => Stage::AddExemptions,
                Role::Exemption | Role::Admission => Stage::AddEntries,
            },
            Change::Rules(RulesChange::Write(step)) => match step.moment {
                Moment::BeforeGrowth => Stage::WriteRules,
                Moment::AfterRemoval => Stage::RemoveRules,
            },
            Change::Address(AddressChange::Add(_)) => Stage::AddAddresses,
            Change::Server(ServerChange::UpdateDestination(_, _, weight::DRAINING))
            | Change::Server(ServerChange::RemoveDestination(..)) => Stage::DrainDestinations,
            Change::Server(ServerChange::Add(..)) => Stage::AddServers,
            Change::Server(ServerChange::Update(..))
            | Change::Server(ServerChange::AddDestination(..))
            | Change::Server(ServerChange::UpdateDestination(..)) => Stage::AddDestinations,
            Change::Address(AddressChange::Remove(_)) => Stage::RemoveAddresses,
            Change::Server(ServerChange::Remove(_)) => Stage::RemoveServers,
            Change::Set(SetChange::RemoveEntry(set, _)) => match role(set.name) {
                Role::Permission | Role::Admission => Stage::RemoveEntries,
                Role::Guard => Stage::RemoveSourceRangeGuards,
                Role::Exemption => Stage::RemoveExemptions,
                Role::Address => Stage::RemoveAddressEntries,
            },
            Change::Rules(RulesChange::RemoveLegacy(_)) => Stage::RemoveLegacyRules,
            Change::RemoveFlow(_) => Stage::RemoveFlows,
        }
    }

    /// True if a virtual server that the entry speaks of has destinations already.
    fn serves(&mut self, set: SetKey, entry: &Entry) -> bool {
        if let Some(key) = entry.frontend() {
            let server = self.observed.servers.get(&key);
            return server.is_some_and(|server| server.destinations.count() > 0);
        }
        let port = set.node_port(entry);
        port.is_some_and(|port| self.ports().contains(&(port.protocol, port.port)))
    }

    /// True if a guard stands already at the frontend that the entry admits somebody to.
    fn is_guarded(&self, set: SetKey, entry: &Entry) -> bool {
        let Some(key) = entry.frontend() else { return false };
        let guards = SetKey { name: SetName::LoadBalancerFw, ..set };
        let guard = Entry::AddressPort(key.address, key.protocol, key.port);
        self.observed.sets.get(&guards).is_some_and(|entries| entries.contains(&guard))
    }

    fn ports(&mut self) -> &BTreeSet<(Protocol, u16)> {
        let servers = self.observed.servers.iter();
        let serving = servers.filter(|(_, server)| server.destinations.count() > 0);
        self.ports.get_or_insert_with(|| serving.map(|(key, _)| (key.protocol, key.port)).collect())
    }
}
