//! The Linux kernel, as [`proxier::apply::Kernel`].
//!
//! In: one stage of changes at a time. Out: one result each, and what the kernel has. Never: a
//! decision; each part translates the words of the plan into its interface's and back.
//!
//! Its sockets belong to the network namespace of the thread that opened them; all calls must
//! come from a thread in that namespace.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use proxier::apply::{
    Cause, CauseKind, Connections, Kernel, KernelReading, Ready, Refusal, RulesReading,
};
use proxier::diff::{Change, Flow, ObservedServer};
use proxier::model::{Family, PerFamily, Protocol};
use proxier::plan::{Missing, VirtualServerDestination, VirtualServerKey};

use self::cause::cause;
use self::flows::Flows;
use self::link::AddressChange;
use self::reader::KernelReader;

mod cause;
pub mod cleanup;
mod errno;
mod features;
mod flows;
pub mod interfaces;
pub mod iptables;
pub mod link;
mod module;
mod nftables;
pub mod node_setup;
pub mod probe;
mod program;
pub mod reader;
mod route;
mod servers;
mod sets;
pub mod snapshot;
pub mod sysctl;
pub mod traffic;

/// The service tables of this node, and what changes them.
pub struct LinuxKernel {
    tables: KernelReader,
    flows: Flows,
    node_setup: node_setup::NodeSetup,
    /// What rules and sets were last found not to be had of.
    missing: PerFamily<Missing>,
    /// Families whose rules could not be written since that.
    has_failed_rules: PerFamily<bool>,
}

/// Which part of the kernel a change goes to; neighbours of one part go there together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Link,
    Addresses,
    Sets,
    Rules,
    Servers,
    Flows,
    Leftovers,
}

fn part(change: &Change) -> Part {
    match change {
        Change::AddLink => Part::Link,
        Change::AddAddress(_) | Change::RemoveAddress(_) => Part::Addresses,
        Change::AddSet(_)
        | Change::GrowSet(..)
        | Change::AddEntry(..)
        | Change::RemoveEntry(..) => Part::Sets,
        Change::RemoveFlow(_) => Part::Flows,
        Change::RemoveLegacyRules(_) => Part::Leftovers,
        Change::WriteRules(_) => Part::Rules,
        Change::AddServer(..)
        | Change::UpdateServer(..)
        | Change::AddDestination(..)
        | Change::UpdateDestination(..)
        | Change::RemoveDestination(..)
        | Change::RemoveServer(_) => Part::Servers,
    }
}

impl Kernel for LinuxKernel {
    fn prepare(&mut self) -> Result<Ready, Cause> {
        self.prepare_node()?;
        Ok(self.find_missing())
    }

    fn look_again(&mut self) -> Ready {
        self.find_missing_again()
    }

    fn observe(&mut self) -> Result<KernelReading, Cause> {
        self.tables.observe()
    }

    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
        self.tables.servers.read(key)
    }

    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
        self.tables.read_rules(family)
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        self.tables.servers.count_connections(of)
    }

    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        self.flows.read(of, is_wanted, at_most)
    }

    fn carry_out(&mut self, changes: &[Change]) -> Vec<Result<(), Cause>> {
        changes.iter().for_each(|change| tracing::debug!("{change}"));
        let mut results = Vec::with_capacity(changes.len());
        for run in changes.chunk_by(|a, b| part(a) == part(b)) {
            results.extend(match run.first().map(part) {
                Some(Part::Link) => run.iter().map(|_| self.add_link()).collect(),
                Some(Part::Addresses) => self.change_addresses(run),
                Some(Part::Sets) => self.tables.sets.carry_out(run),
                Some(Part::Rules) => run.iter().map(|change| self.write_rules(change)).collect(),
                Some(Part::Servers) => self.tables.servers.carry_out(run),
                Some(Part::Flows) => self.flows.carry_out(run),
                Some(Part::Leftovers) => {
                    run.iter().map(|change| self.remove_legacy_rules(change)).collect()
                }
                None => Vec::new(),
            });
        }
        results
    }
}

impl LinuxKernel {
    /// What reads the tables beside the one who changes them, from another thread if it likes.
    ///
    /// # Errors
    /// If its sockets cannot be opened.
    pub fn open_reader(&self) -> Result<KernelReader, Cause> {
        self.tables.open_another()
    }

    fn add_link(&mut self) -> Result<(), Cause> {
        self.tables.links.create().map_err(cause)?;
        self.tables.device = self.tables.links.index().map_err(cause)?;
        Ok(())
    }

    fn change_addresses(&mut self, changes: &[Change]) -> Vec<Result<(), Cause>> {
        let wanted: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::AddAddress(address) => Some(AddressChange::Add(*address)),
                Change::RemoveAddress(address) => Some(AddressChange::Remove(*address)),
                _ => None,
            })
            .collect();
        let Some(index) = self.tables.device else {
            let absent = CauseKind::Refused(Refusal::NotThere);
            let words = format!("there is no device {}", link::DEVICE);
            return all_failed(changes, &Cause::of(absent, words));
        };
        match self.tables.links.change(index, &wanted) {
            Ok(results) => results.into_iter().map(|result| result.map_err(cause)).collect(),
            Err(error) => all_failed(changes, &cause(error)),
        }
    }

    fn write_rules(&mut self, change: &Change) -> Result<(), Cause> {
        let Change::WriteRules(step) = change else { return Ok(()) };
        let written = match self.tables.iptables.of(step.family) {
            Some(programs) => match programs.get() {
                Ok(iptables) => iptables.write(step).map_err(cause),
                Err(cause) => Err(cause),
            },
            None => Err(Cause::new(format!("{} is not available on this node", step.family))),
        };
        *self.has_failed_rules.of_mut(step.family) |= written.is_err();
        written
    }
}

impl LinuxKernel {
    /// What nftables mode has left is harmless beside our own rules, so that a failure to remove it
    /// is only told (spec 14.1).
    fn remove_legacy_rules(&mut self, change: &Change) -> Result<(), Cause> {
        let Change::RemoveLegacyRules(family) = *change else { return Ok(()) };
        if let Some(programs) = self.tables.iptables.of(family) {
            programs.get()?.remove_legacy_rules().map_err(cause)?;
        }
        if self.tables.nftables.of(family).swap(false, Ordering::Relaxed)
            && let Err(cause) = nftables::remove_table(family)
        {
            tracing::warn!("{family}: could not remove nftables table: {cause}");
        }
        Ok(())
    }
}

/// No single answer is known: every change counts as failed for the same cause.
fn all_failed<T>(changes: &[T], cause: &Cause) -> Vec<Result<(), Cause>> {
    changes.iter().map(|_| Err(cause.clone())).collect()
}
