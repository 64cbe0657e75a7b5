//! The Linux kernel, as an implementation of [`proxier::apply::Kernel`].
//!
//! Takes changes of one stage at a time. Returns a result for each, and reads the kernel state. Each
//! submodule translates between the plan and one kernel interface. Does not decide anything.
//!
//! A socket belongs to the network namespace of the thread that opened it. All calls must come from a thread
//! in that namespace.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use proxier::apply::{
    Answered, Cause, CauseKind, Connections, Kernel, KernelReading, Ready, Refusal, RulesReading,
};
use proxier::diff::{
    AddressChange, Change, Flow, ObservedServer, RulesChange, RulesStep, StandingTable,
};
use proxier::model::{Family, PerFamily, Protocol};
use proxier::plan::{Missing, VirtualServerDestination, VirtualServerKey};

use self::cause::cause;
use self::flows::Flows;
use self::reader::KernelReader;
use self::runs::{Run, answered, runs};
use self::servers::Servers;
use self::sets::Sets;

mod cause;
pub mod cleanup;
mod features;
mod flows;
pub mod interfaces;
pub mod iptables;
pub mod link;
mod nftables;
pub mod node_setup;
pub mod probe;
mod program;
pub mod reader;
mod route;
mod runs;
mod servers;
mod sets;
pub mod snapshot;
pub mod sysctl;
pub mod traffic;

/// Reads and changes the service tables of this node.
pub struct LinuxKernel {
    tables: KernelReader,
    flows: Flows,
    node_setup: node_setup::NodeSetup,
    /// Features that were missing at the last check, for rules and sets.
    missing: PerFamily<Missing>,
    /// Families whose rules could not be written since the last check for features.
    has_failed_rules: PerFamily<bool>,
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
        self.tables.servers()?.read(key)
    }

    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
        self.tables.read_rules(family)
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        self.tables.servers()?.count_connections(of)
    }

    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        self.flows.read(of, is_wanted, at_most)
    }

    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>> {
        changes.iter().for_each(|change| tracing::debug!("{change}"));
        let mut answers = Vec::with_capacity(changes.len());
        for run in runs(changes) {
            match run {
                Run::AddDevice => answers.push((Change::AddDevice, self.add_device())),
                Run::RemoveDevice => answers.push((Change::RemoveDevice, self.remove_device())),
                Run::Addresses(run) => {
                    answers.extend(answered(self.change_addresses(run), Change::Address));
                }
                Run::Sets(run) => {
                    let run = by_part(self.tables.sets(), run, Sets::carry_out);
                    answers.extend(answered(run, Change::Set));
                }
                Run::Rules(change) => {
                    let result = self.change_rules(&change);
                    answers.push((Change::Rules(change), result));
                }
                Run::Servers(run) => {
                    let run = by_part(self.tables.servers(), run, Servers::carry_out);
                    answers.extend(answered(run, Change::Server));
                }
                Run::Flows(run) => {
                    let change = |flow| Change::RemoveFlow(Box::new(flow));
                    answers.extend(answered(self.flows.remove(run), change));
                }
            }
        }
        answers
    }
}

impl LinuxKernel {
    fn new(tables: KernelReader, node_setup: node_setup::NodeSetup) -> Self {
        let (missing, has_failed_rules) = (PerFamily::default(), PerFamily::default());
        Self { tables, flows: Flows::default(), node_setup, missing, has_failed_rules }
    }

    /// Opens a second reader of the tables, which may work in another thread.
    ///
    /// # Errors
    /// Fails if its sockets cannot be opened.
    pub fn open_reader(&self) -> Result<KernelReader, Cause> {
        self.tables.open_another()
    }

    fn add_device(&mut self) -> Result<(), Cause> {
        self.tables.links()?.create().map_err(cause)?;
        self.tables.device = self.tables.links()?.index().map_err(cause)?;
        Ok(())
    }

    fn remove_device(&mut self) -> Result<(), Cause> {
        let Some(index) = self.tables.device.take() else { return Ok(()) };
        self.tables.links()?.delete(index).map_err(cause)
    }

    fn change_addresses(&mut self, changes: Vec<AddressChange>) -> Vec<Answered<AddressChange>> {
        let Some(index) = self.tables.device else {
            let absent = CauseKind::Refused(Refusal::NotThere);
            let words = format!("there is no device {}", link::DEVICE);
            return all_failed(changes, &Cause::of(absent, words));
        };
        by_part(self.tables.links(), changes, |links, changes| links.carry_out(index, changes))
    }

    fn change_rules(&mut self, change: &RulesChange) -> Result<(), Cause> {
        match change {
            RulesChange::Write(step) => self.write_rules(step),
            RulesChange::RemoveLegacy(family) => self.remove_legacy_rules(*family),
            RulesChange::RemoveAll(table) => self.remove_table(table),
            RulesChange::RemoveNftTable(family) => nftables::remove_table(*family),
        }
    }

    fn write_rules(&mut self, step: &RulesStep) -> Result<(), Cause> {
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

    /// Removes a table's chains and jumps. A part that other programs keep in use is a failure.
    fn remove_table(&mut self, table: &StandingTable) -> Result<(), Cause> {
        if let Some(programs) = self.tables.iptables.of(table.family) {
            programs.get()?.remove(table).map_err(cause)?;
        }
        table.reason_to_stay().map_or(Ok(()), |reason| Err(Cause::new(reason)))
    }

    /// Removes the rules of kube-proxy's other modes. The table of nftables mode does no harm beside this
    /// proxy's rules, so that a failure to remove it is only logged (spec 14.1).
    fn remove_legacy_rules(&mut self, family: Family) -> Result<(), Cause> {
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

/// Lets a part of the kernel carry out its changes, which all fail if the kernel lacks this part.
fn by_part<P, C>(
    part: Result<&mut P, Cause>,
    changes: Vec<C>,
    carry_out: impl FnOnce(&mut P, Vec<C>) -> Vec<Answered<C>>,
) -> Vec<Answered<C>> {
    match part {
        Ok(part) => carry_out(part, changes),
        Err(cause) => all_failed(changes, &cause),
    }
}

/// Answers every change with the same cause, because no single answer is known.
fn all_failed<C>(changes: Vec<C>, cause: &Cause) -> Vec<Answered<C>> {
    changes.into_iter().map(|change| (change, Err(cause.clone()))).collect()
}
