//! The order of the changes of a round and of a cleanup: make before break.
//!
//! Takes a change and the kernel state before the round. Returns the stage to which the change belongs.
//! Nothing is taken away before its replacement stands.
//!
//! A new virtual server is created first, without destinations. It then refuses connections instead of
//! leaving them to a process of the host that listens at every address. Its entries and rules follow, so that
//! it never answers without its masquerade rule and its guard. Its address follows, and its destinations come
//! last. A virtual server is removed in the opposite order: destinations, entries, the empty virtual server,
//! its address. The entry in `KUBE-IPVS-IPS`, which protects the host's own ports at that address, is removed
//! last.
//!
//! A cleanup does not remove entries by themselves. They show which virtual servers are this proxy's, so that the
//! sets go last and an interrupted cleanup can be continued. As the entries make `KUBE-IPVS-FILTER` pass packets,
//! an address goes in their place, before its virtual server, so that no packet to it reaches a process of the
//! host. At the node's own addresses packets do, as after the cleanup.
//!
//! Three kinds of entries have places of their own:
//! - A guard shuts out clients that another set does not admit. It is added after the entries of that set and
//!   their rules, and removed before them.
//! - An exemption keeps packets from being masqueraded, which is right only for endpoints on this node. It is
//!   removed before other destinations are added. Where a virtual server already has destinations, it is
//!   added after those that go have left. A new virtual server has it from the start.
//! - An admission lets a client past a guard. Where the guard already stands, it is added after the old
//!   destinations have left. They may belong to another Service, which did not admit this client.

use std::collections::BTreeSet;

use crate::diff::{AddressChange, Change, Moment, Observed, RulesChange, ServerChange, SetChange};
use crate::model::Protocol;
use crate::plan::{Entry, SetKey, SetName, weight};

/// A stage of a round. The next stage begins when this one is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Creates the device and the sets, and gives sets more room.
    CreateSets,
    /// Adds virtual servers, without destinations.
    AddServers,
    /// Adds permissions, entries of `KUBE-IPVS-IPS`, and exemptions and admissions that need not wait.
    AddEntries,
    /// Writes the planned rules, together with old ones that are still needed.
    WriteRules,
    /// Adds entries that shut clients out.
    AddSourceRangeGuards,
    /// Removes exemptions from masquerading.
    RemoveExemptions,
    /// Adds addresses.
    AddAddresses,
    /// Adds destinations, and updates virtual servers and destinations.
    AddDestinations,
    /// Drains or removes destinations; all of them if their virtual server is removed.
    DrainDestinations,
    /// Adds exemptions and admissions that had to wait until destinations had left.
    AddExemptions,
    /// Removes guards.
    RemoveSourceRangeGuards,
    /// Removes permissions and admissions.
    RemoveEntries,
    /// Removes virtual servers.
    RemoveServers,
    /// Removes addresses.
    RemoveAddresses,
    /// Removes entries of `KUBE-IPVS-IPS`, whose addresses have gone.
    RemoveAddressEntries,
    /// Removes rules.
    RemoveRules,
    /// Removes rules of kube-proxy's other modes.
    RemoveLegacyRules,
    /// Removes tracked flows.
    RemoveFlows,
    /// Destroys the sets and removes the device. Only a cleanup does this.
    DestroySets,
}

impl Stage {
    /// All stages of a round in their order. The length is that of the enumeration without
    /// [`DestroySets`](Self::DestroySets), so that no stage is forgotten.
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

    /// The name in lower case.
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
            Self::DestroySets => "destroy_sets",
        }
    }
}

/// Puts changes into the order of their stages. `standing` is the kernel state before them.
pub(super) fn in_stages(changes: Vec<Change>, standing: &Observed) -> Vec<(Stage, Change)> {
    let mut standing = CurrentState::new(standing);
    by_stage(changes, |change| standing.stage(change))
}

fn by_stage(changes: Vec<Change>, mut stage: impl FnMut(&Change) -> Stage) -> Vec<(Stage, Change)> {
    let mut all: Vec<_> = changes.into_iter().map(|change| (stage(&change), change)).collect();
    all.sort_by_key(|(stage, _)| *stage);
    all
}

/// Puts the changes of a cleanup into their order. `standing` is the kernel state before them. The caller carries
/// them out at once: a cleanup removes whatever it can, so that a failure holds nothing back.
pub fn ordered(changes: Vec<Change>, standing: &Observed) -> Vec<Change> {
    let mut standing = CurrentState::new(standing);
    let all = by_stage(changes, |change| match change {
        // The entries stay until the sets go, so the address is what stops packets.
        Change::Address(AddressChange::Remove(_)) => Stage::RemoveEntries,
        change => standing.stage(change),
    });
    all.into_iter().map(|(_, change)| change).collect()
}

/// The effect of an entry on packets that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The entry marks packets, or lets them pass.
    Permission,
    /// The entry shuts clients out unless another set admits them.
    Guard,
    /// The entry keeps packets from being masqueraded.
    Exemption,
    /// The entry lets clients past a guard.
    Admission,
    /// The entry makes `KUBE-IPVS-FILTER` refuse packets to the address that no permission lets pass.
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

/// The kernel state before a round, as far as the order depends on it.
struct CurrentState<'a> {
    observed: &'a Observed,
    /// Protocols and ports at which any virtual server has destinations; computed when first needed.
    ports: Option<BTreeSet<(Protocol, u16)>>,
}

impl<'a> CurrentState<'a> {
    fn new(observed: &'a Observed) -> Self {
        Self { observed, ports: None }
    }

    fn stage(&mut self, change: &Change) -> Stage {
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
            Change::Rules(RulesChange::RemoveAll(_)) => Stage::RemoveRules,
            Change::Rules(RulesChange::RemoveLegacy(_) | RulesChange::RemoveNftTable(_)) => {
                Stage::RemoveLegacyRules
            }
            Change::RemoveFlow(_) => Stage::RemoveFlows,
            Change::RemoveDevice | Change::Set(SetChange::Destroy(_)) => Stage::DestroySets,
        }
    }

    /// True if a virtual server of the entry's frontend or node port already has destinations.
    fn serves(&mut self, set: SetKey, entry: &Entry) -> bool {
        if let Some(key) = entry.frontend() {
            let server = self.observed.servers.get(&key);
            return server.is_some_and(|server| server.destinations.count() > 0);
        }
        let port = set.node_port(entry);
        port.is_some_and(|port| self.ports().contains(&(port.protocol, port.port)))
    }

    /// True if a guard already stands at the frontend to which the entry admits clients.
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
