//! A kernel in memory, for tests.
//!
//! Implements the same trait as the real kernel and gives the same answers. Refuses what Linux refuses: a
//! destination without its virtual server, an entry for which the set has no room, rules that match a missing
//! set, an address without the device. Keeps a log of all changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::cause::{Cause, CauseKind, Refusal};
use super::kernel::{Answered, Connections, Kernel, KernelReading, Part, Ready, RulesReading};
use crate::diff::{
    AddressChange, Change, CleanupReading, Flow, Observed, ObservedServer, RulesChange,
    ServerChange, SetChange, StandingTable,
};
use crate::model::{Family, PerFamily, Protocol};
use crate::plan::{
    Entry, Feature, Missing, Rules, SetKey, Table, VirtualServerDestination, VirtualServerKey,
};

/// A kernel state with a log, and with faults that the test injects.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// The kernel state.
    pub state: Observed,
    /// Every change that was tried, in order; true if it was made.
    pub log: Vec<(Change, bool)>,
    /// The parts of rounds that have begun, each with the length of the log at that time.
    pub parts: Vec<(usize, Part)>,
    /// The state after each change that was made, if `keep_history`.
    pub history: Vec<Observed>,
    /// True if `history` is to be kept.
    pub keep_history: bool,
    /// The changes that fail however often they are tried.
    pub refused: Option<fn(&Change) -> bool>,
    /// Indices in the log at which a change fails.
    pub faults: BTreeSet<usize>,
    /// Connections of destinations; a destination that is absent has none.
    pub connections: Connections,
    /// Tracked flows.
    pub flows: BTreeSet<Flow>,
    /// The reason why the rules and the tracked flows of a family cannot be read. Rules can still be written.
    pub unread: PerFamily<Option<Cause>>,
    /// Features that this kernel lacks for rules and sets.
    pub missing: PerFamily<Missing>,
    /// The number of times it was read in whole.
    pub reads: usize,
    /// The number of times a single virtual server was read.
    pub server_reads: usize,
    /// True if an injected fault leaves the result of the change unknown. Otherwise the change is refused.
    pub loses_answers: bool,
    /// The kind of injected refusals; [`Refusal::Invalid`] if `None`.
    pub refusal: Option<CauseKind>,
}

impl FakeKernel {
    fn carry_out_one(&mut self, change: &Change) -> Result<(), Cause> {
        let index = self.log.len();
        let result = if self.faults.contains(&index)
            || self.refused.is_some_and(|refuses| refuses(change))
        {
            let refused = self.refusal.unwrap_or(CauseKind::Refused(Refusal::Invalid));
            let kind = if self.loses_answers { CauseKind::Unknown } else { refused };
            Err(Cause::of(kind, "injected fault"))
        } else {
            self.check(change)
        };
        if result.is_ok() {
            self.state.record(change);
            if let Change::RemoveFlow(flow) = change {
                self.flows.remove(flow);
            }
            if self.keep_history {
                self.history.push(self.state.clone());
            }
        }
        self.log.push((change.clone(), result.is_ok()));
        result
    }

    /// The first missing feature that the change needs.
    fn lacks(&self, change: &Change) -> Option<&Feature> {
        let missing = self.missing.of(change.family()?);
        missing.iter().find(|feature| match (change, feature) {
            (Change::Set(SetChange::Create(set)), Feature::SetType(kind)) => {
                set.name.kind() == *kind
            }
            (Change::Rules(RulesChange::Write(step)), feature) => {
                let words = feature.to_string();
                let commented = step.has_comments && !step.missing_jumps.is_empty();
                (**feature == Feature::Comment && commented)
                    || step.rules.chains.values().flatten().any(|rule| rule.contains(&words))
            }
            _ => false,
        })
    }

    fn check(&self, change: &Change) -> Result<(), Cause> {
        let refuse = |refusal, why: &str| Err(Cause::of(CauseKind::Refused(refusal), why));
        let absent = Refusal::NotThere;
        if let Some(feature) = self.lacks(change) {
            let why = format!("there is no {feature}");
            return Err(Cause::of(CauseKind::Missing, why));
        }
        match change {
            Change::Address(AddressChange::Add(_)) if !self.state.link => {
                refuse(absent, "no such device")
            }
            Change::Set(SetChange::AddEntry(set, _)) if !self.state.sets.contains_key(set) => {
                refuse(absent, "the set does not exist")
            }
            Change::Set(SetChange::AddEntry(set, entry)) if !self.has_room(*set, entry) => {
                refuse(Refusal::Other, "the set is full")
            }
            Change::Set(SetChange::Destroy(name)) if self.is_in_use(name) => {
                refuse(Refusal::Busy, "rules refer to the set")
            }
            Change::Rules(RulesChange::Write(step)) => {
                let names: Vec<_> = self.state.sets.keys().map(ToString::to_string).collect();
                let mut words =
                    step.rules.chains.values().flatten().flat_map(|rule| rule.split(' '));
                let mut missing = None;
                while let Some(word) = words.next() {
                    if word == "--match-set" {
                        missing = words.next().filter(|name| !names.iter().any(|n| n == name));
                        if missing.is_some() {
                            break;
                        }
                    }
                }
                missing.map_or(Ok(()), |name| {
                    refuse(Refusal::Other, &format!("set {name} doesn't exist"))
                })
            }
            Change::Server(ServerChange::Add(key, _)) if self.state.servers.contains_key(key) => {
                refuse(Refusal::AlreadyThere, "service already exists")
            }
            Change::Server(ServerChange::Update(key, _))
            | Change::Server(ServerChange::AddDestination(key, ..))
            | Change::Server(ServerChange::UpdateDestination(key, ..))
                if !self.state.servers.contains_key(key) =>
            {
                refuse(absent, "no such service")
            }
            Change::Server(ServerChange::UpdateDestination(key, destination, _))
                if !self.has_destination(key, destination) =>
            {
                refuse(absent, "no such destination")
            }
            Change::Server(ServerChange::AddDestination(key, destination, _))
                if self.has_destination(key, destination) =>
            {
                refuse(Refusal::AlreadyThere, "destination already exists")
            }
            _ => Ok(()),
        }
    }

    /// True if the set has room for the entry, or has it or its exception already.
    fn has_room(&self, set: SetKey, entry: &Entry) -> bool {
        let entries = self.state.sets.get(&set);
        entries.is_none_or(|entries| {
            entries.contains(entry)
                || entry.exception().is_some_and(|exception| entries.contains(&exception))
                || entries.len() < self.state.room(set) as usize
        })
    }

    fn is_in_use(&self, set: &str) -> bool {
        let matched = format!("--match-set {set} ");
        let mut rules = Family::BOTH.into_iter().map(|family| self.state.rules.of(family));
        rules.any(|rules| rules.chains.values().flatten().any(|rule| rule.contains(&matched)))
    }

    /// Reads what a cleanup needs. The addresses are those of the node's devices other than the dummy device.
    pub fn read_for_cleanup(&self, node: BTreeSet<IpAddr>) -> CleanupReading {
        let table = |(family, table): (Family, Table)| {
            let chains = &self.state.rules.of(family).chains;
            chains.keys().any(|key| key.table == table).then(|| StandingTable {
                family,
                table: table.to_string(),
                names: Vec::new(),
                kept: Vec::new(),
                removal: String::new(),
            })
        };
        let all = Family::BOTH.into_iter();
        let all = all.flat_map(|family| [(family, Table::Nat), (family, Table::Filter)]);
        CleanupReading {
            state: self.state.clone(),
            node,
            sets: self.state.sets.keys().map(|set| set.name.kernel_name(set.family)).collect(),
            tables: all.filter_map(table).collect(),
            ..CleanupReading::default()
        }
    }

    fn has_destination(&self, key: &VirtualServerKey, destination: &SocketAddr) -> bool {
        let server = self.state.servers.get(key);
        server.is_some_and(|server| server.destinations.contains_key(destination))
    }
}

impl Kernel for FakeKernel {
    fn enters(&mut self, part: Part) {
        self.parts.push((self.log.len(), part));
    }

    fn prepare(&mut self) -> Result<Ready, Cause> {
        Ok(self.look_again())
    }

    fn look_again(&mut self) -> Ready {
        Ready { missing: self.missing.clone() }
    }

    fn observe(&mut self) -> Result<KernelReading, Cause> {
        self.reads += 1;
        let mut observed = self.state.clone();
        for family in Family::BOTH {
            if self.unread.of(family).is_some() {
                *observed.rules.of_mut(family) = Rules::default();
            }
        }
        Ok(KernelReading { observed, unread: self.unread.clone() })
    }

    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
        self.server_reads += 1;
        Ok(self.state.servers.get(key).cloned())
    }

    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
        match self.unread.of(family) {
            Some(cause) => Err(cause.clone()),
            None => Ok(RulesReading {
                rules: self.state.rules.of(family).clone(),
                has_legacy_rules: *self.state.legacy_rules.of(family),
            }),
        }
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        Ok(of
            .iter()
            .filter(|(key, destination)| self.has_destination(key, destination))
            .map(|leaving| (*leaving, self.connections.get(leaving).copied().unwrap_or(0)))
            .collect())
    }

    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        if let Some(cause) = self.unread.of(of.0).clone() {
            return Err(cause);
        }
        let is_asked = |flow: &&Flow| of == (Family::of(flow.frontend.ip()), flow.protocol);
        let wanted = self.flows.iter().filter(is_asked).filter(|flow| is_wanted(flow));
        Ok(wanted.take(at_most).copied().collect())
    }

    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>> {
        let answered = |change: Change| {
            let result = self.carry_out_one(&change);
            (change, result)
        };
        changes.into_iter().map(answered).collect()
    }
}
