//! Metrics of the proxy's objects in the kernel: the number of each kind, and how full each set is.
//!
//! Takes readings of the kernel, and each change that succeeds. Sets gauges. Does not read the kernel itself, and shows
//! no numbers before the first reading.

use std::collections::BTreeMap;

use prometheus::IntGaugeVec;
use proxier::apply::KernelReading;
use proxier::diff::{AddressChange, Change, Observed, RulesChange, ServerChange, SetChange};
use proxier::model::{Family, PerFamily};
use proxier::plan::{Rules, SetKey, SetKind};

use super::{Declare, Error, number};

/// Gauges of the proxy's kernel objects.
#[derive(Debug)]
pub struct Tables {
    objects: IntGaugeVec,
    entries: IntGaugeVec,
    limits: IntGaugeVec,
}

/// The numbers of the proxy's kernel objects. A reading of the whole kernel sets them; changes that succeed update
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCounts {
    servers: i64,
    destinations: i64,
    addresses: i64,
    rules: PerFamily<(usize, usize)>,
    sets: BTreeMap<SetKey, Fill>,
    /// True if only another reading can make the numbers right. That is so after a virtual server was removed: its
    /// destinations went with it, and their number is unknown.
    pub is_unsure: bool,
}

/// The number of entries of a set, and its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// The number of entries.
    pub entries: i64,
    /// The capacity in entries.
    pub limit: u32,
}

impl ObjectCounts {
    /// Counts the objects of a whole kernel state.
    pub fn of(observed: &Observed) -> Self {
        let destinations = observed.servers.values().map(|server| server.destinations.count());
        let sets = observed.sets.iter().map(|(key, entries)| {
            (*key, Fill { entries: number(entries.len()), limit: observed.room(*key) })
        });
        Self {
            servers: number(observed.servers.len()),
            destinations: number(destinations.sum()),
            addresses: number(observed.addresses.len()),
            rules: PerFamily::from_fn(|family| counts(observed.rules.of(family))),
            sets: sets.collect(),
            is_unsure: false,
        }
    }

    /// Counts the objects of a reading. Takes the rules of a family that could not be read from `before`.
    pub fn read(reading: &KernelReading, before: Option<&Self>) -> Self {
        let mut tally = Self::of(&reading.observed);
        let unread = Family::BOTH.into_iter().filter(|family| reading.unread.of(*family).is_some());
        if let Some(before) = before {
            unread.for_each(|family| *tally.rules.of_mut(family) = *before.rules.of(family));
        }
        tally
    }

    /// Updates the numbers by a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        match change {
            Change::Server(ServerChange::Add(..)) => self.servers += 1,
            Change::Server(ServerChange::Remove(_)) => {
                self.servers -= 1;
                // The kernel removes its destinations too.
                self.is_unsure = true;
            }
            Change::Server(ServerChange::AddDestination(..)) => self.destinations += 1,
            Change::Server(ServerChange::RemoveDestination(..)) => self.destinations -= 1,
            Change::Address(AddressChange::Add(_)) => self.addresses += 1,
            Change::Address(AddressChange::Remove(_)) => self.addresses -= 1,
            Change::Set(SetChange::Create(set)) => {
                let limit = set.name.kind().default_capacity().unwrap_or(SetKind::PORTS);
                self.sets.entry(*set).or_insert(Fill { entries: 0, limit });
            }
            Change::Set(SetChange::Grow(set, limit)) => {
                self.sets.entry(*set).or_default().limit = *limit
            }
            Change::Set(SetChange::AddEntry(set, _)) => {
                self.sets.entry(*set).or_default().entries += 1
            }
            Change::Set(SetChange::RemoveEntry(set, _)) => {
                self.sets.entry(*set).or_default().entries -= 1
            }
            Change::Rules(RulesChange::Write(step)) => {
                *self.rules.of_mut(step.family) = counts(&step.rules)
            }
            Change::AddDevice
            | Change::Server(ServerChange::Update(..))
            | Change::Server(ServerChange::UpdateDestination(..))
            | Change::RemoveFlow(_)
            | Change::Rules(_) => {}
            // Only a cleanup makes these changes, and it has no metrics.
            Change::RemoveDevice | Change::Set(SetChange::Destroy(_)) => {}
        }
    }
}

fn counts(rules: &Rules) -> (usize, usize) {
    (rules.chains.len(), rules.chains.values().map(Vec::len).sum())
}

impl Tables {
    pub(super) fn declare(declare: &Declare<'_>) -> Result<Self, Error> {
        Ok(Self {
            objects: declare.gauges(
                "ipvs_proxy_kernel_objects",
                "Kernel objects of the proxy, by kind",
                &["kind"],
            )?,
            entries: declare.gauges(
                "ipvs_proxy_ipset_entries",
                "Entries in each IP set of the proxy",
                &["set"],
            )?,
            limits: declare.gauges(
                "ipvs_proxy_ipset_max_entries",
                "Entries that each IP set of the proxy has room for",
                &["set"],
            )?,
        })
    }

    /// Sets the gauges.
    pub fn show(&self, tally: &ObjectCounts) {
        let families = Family::BOTH.map(|family| *tally.rules.of(family));
        let (chains, rules) = families.iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        for (kind, count) in [
            ("virtual_server", tally.servers),
            ("destination", tally.destinations),
            ("address", tally.addresses),
            ("set", number(tally.sets.len())),
            ("set_entry", tally.sets.values().map(|fill| fill.entries).sum()),
            ("chain", number(chains)),
            ("rule", number(rules)),
        ] {
            self.objects.with_label_values(&[kind]).set(count);
        }
        for (set, fill) in &tally.sets {
            let name = set.to_string();
            self.entries.with_label_values(&[&name]).set(fill.entries);
            self.limits.with_label_values(&[&name]).set(fill.limit.into());
        }
    }
}
