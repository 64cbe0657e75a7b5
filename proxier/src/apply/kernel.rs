//! The contract of a kernel.
//!
//! In: changes of one stage. Out: one result for each. Never: a decision; an implementation
//! translates verbs and reports what the system said.

use std::collections::{BTreeMap, BTreeSet};

use super::cause::Cause;
use super::order::Stage;
use crate::diff::{Change, Flow, Observed, ObservedServer};
use crate::model::{Family, PerFamily, Protocol};
use crate::plan::{Missing, Rules, VirtualServerDestination, VirtualServerKey};

/// A change, and the answer of the kernel to it.
pub type Answered<C> = (C, Result<(), Cause>);

/// Active and inactive connections of destinations; one that is not there has none to be listed.
pub type Connections = BTreeMap<VirtualServerDestination, u32>;

/// What preparing has found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// What rules and sets cannot be made of.
    pub missing: PerFamily<Missing>,
}

/// What was read of the kernel in whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelReading {
    /// What is there.
    pub observed: Observed,
    /// Why the rules of a family could not be read, which says nothing of the other: what was
    /// observed has none of them then, and nothing that needs them may be done.
    pub unread: PerFamily<Option<Cause>>,
}

impl KernelReading {
    /// True if nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.unread.v4.is_none() && self.unread.v6.is_none()
    }
}

impl From<Observed> for KernelReading {
    fn from(observed: Observed) -> Self {
        Self { observed, ..Self::default() }
    }
}

/// What was read of the rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesReading {
    /// The rules in our chains, and our jumps.
    pub rules: Rules,
    /// Whether chains, rules or tables of kube-proxy's other modes are there.
    pub has_legacy_rules: bool,
}

/// A part of a round, in the order in which it comes to them first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The wish is planned.
    Plan,
    /// The kernel is read in whole.
    Read,
    /// The wish is compared with the kernel.
    Compare,
    /// Changes of one stage are carried out.
    Change(Stage),
    /// What drains is counted, and goes if it is done.
    Drain,
    /// Tracked flows that lead nowhere are looked for and forgotten.
    Flows,
}

impl Part {
    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Read => "read",
            Self::Compare => "compare",
            Self::Change(stage) => stage.name(),
            Self::Drain => "drain",
            Self::Flows => "flows",
        }
    }
}

/// So many flows are read and forgotten at once: some 50 MB of them at most, however many are stale.
pub(crate) const FLOWS_AT_ONCE: usize = 1 << 16;

/// Something that can be read and changed like the kernel's service tables.
pub trait Kernel {
    /// The round goes on with this part. For who measures the time, which the core does not know;
    /// nothing else may depend on it.
    fn enters(&mut self, _part: Part) {}

    /// Makes ready what lies under the first change: settings, modules, a scheduler. Called once,
    /// when the facts are complete; nothing may change the kernel before.
    ///
    /// # Errors
    /// The first thing that cannot be had; then nothing can be programmed.
    fn prepare(&mut self) -> Result<Ready, Cause>;

    /// Looks again for what was missing, which somebody may have loaded or taken away meanwhile. Called after
    /// rules could not be written, and now and then while anything is missing.
    fn look_again(&mut self) -> Ready;

    /// Reads everything that could be ours.
    ///
    /// # Errors
    /// If any part but the rules of one family cannot be read in whole: a comparison with half a state
    /// would delete the rest.
    fn observe(&mut self) -> Result<KernelReading, Cause>;

    /// Reads one virtual server with its destinations; `None` if it is not there. Costs what that server holds,
    /// not what the kernel holds.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause>;

    /// Reads the rules of one family.
    ///
    /// # Errors
    /// If they cannot be read in whole.
    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause>;

    /// Counts the connections of some destinations, now. One that is not in the answer was not met; it drains on.
    ///
    /// # Errors
    /// If the counts cannot be read.
    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause>;

    /// Reads the tracked flows of a family and protocol and picks those that are wanted, each once
    /// and `at_most` so many: fewer only if there are no more. A node may have millions of them, so
    /// nothing but what is picked is ever kept.
    ///
    /// # Errors
    /// If they cannot be read in whole.
    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause>;

    /// Carries out changes that may go together in a batch, in their order. Returns each with what became of it. Removing what is not there is a success, and so is adding what is there exactly
    /// so; a virtual server or destination that is there unexpectedly may be different and is refused as
    /// [`AlreadyThere`](super::Refusal::AlreadyThere). A failure does not keep the other changes from being
    /// tried.
    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>>;
}
