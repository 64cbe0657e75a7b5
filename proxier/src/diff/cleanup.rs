//! Finds the changes that remove everything of this proxy: the difference to an empty plan.
//!
//! Takes what was read from the kernel, and the networks in which other programs have virtual servers. Returns
//! changes, and the virtual servers that stay because nothing shows that they are this proxy's. Sets are destroyed
//! with their entries. Does not reset sysctls, whose old values are unknown.
//!
//! Sources: spec 14.2, 14.4 and Q-52.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::own::{Ownership, OwnershipEvidence};
use super::{Change, ChangeSet, Comparison, Observed, RulesChange, Scan, SetChange, StandingTable};
use crate::model::{Family, Net, PerFamily};
use crate::plan::{Desired, Settings, VirtualServerKey};

/// Everything in the kernel that a cleanup may remove, and what shows whose it is.
#[derive(Clone, Debug, Default)]
pub struct CleanupReading {
    /// The kernel state. Its rules do not matter, because whole tables are removed.
    pub state: Observed,
    /// The addresses on the node's devices other than the dummy device.
    pub node: BTreeSet<IpAddr>,
    /// The sets that have a name of this proxy, whatever their type.
    pub sets: BTreeSet<&'static str>,
    /// The chains and jumps of every mode of kube-proxy.
    pub tables: Vec<StandingTable>,
    /// True if the table of kube-proxy's nftables mode exists.
    pub nftables: PerFamily<bool>,
}

/// The changes of a cleanup.
#[derive(Clone, Debug, Default)]
pub struct Cleanup {
    /// The changes, in the order in which they were found.
    pub changes: Vec<Change>,
    /// Virtual servers that stay, because nothing shows that they are this proxy's.
    pub others: Vec<VirtualServerKey>,
}

impl Cleanup {
    /// Compares what was read with an empty plan. Spares virtual servers in the networks of `exclude` that no entry
    /// of this proxy's sets names.
    pub fn new(reading: &CleanupReading, exclude: &[Net]) -> Self {
        let CleanupReading { state, node, sets, tables, nftables } = reading;
        let evidence =
            OwnershipEvidence { device: &state.addresses, sets: &state.sets, node, exclude };
        let comparison = Comparison {
            desired: &Desired::default(),
            observed: state,
            settings: &Settings::default(),
            ownership: Ownership::Evident(&evidence),
            node: None,
        };
        let mut found = ChangeSet::default();
        comparison.compare_addresses(Scan::Everything, &mut found);
        comparison.compare_servers(Scan::Everything, &mut found);
        let mut changes = found.changes;
        let tables = tables.iter().cloned().map(|table| RulesChange::RemoveAll(Box::new(table)));
        let nftables = Family::BOTH.into_iter().filter(|family| *nftables.of(*family));
        changes.extend(tables.chain(nftables.map(RulesChange::RemoveNftTable)).map(Change::Rules));
        changes.extend(state.link.then_some(Change::RemoveDevice));
        changes.extend(sets.iter().copied().map(SetChange::Destroy).map(Change::Set));
        let others = state
            .servers
            .iter()
            .filter(|(key, found)| !evidence.is_our_server(key, found.settings.flags))
            .map(|(key, _)| key);
        Self { changes, others: others.copied().collect() }
    }
}
