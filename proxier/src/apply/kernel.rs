//! The interface between the core and a kernel.
//!
//! An implementation takes the changes of one stage and returns one result for each. It translates operations
//! and reports what the system said. It does not decide anything.

use std::collections::{BTreeMap, BTreeSet};

use super::cause::Cause;
use super::order::Stage;
use crate::diff::{Change, Flow, Observed, ObservedServer};
use crate::model::{Family, PerFamily, Protocol};
use crate::plan::{Missing, Rules, VirtualServerDestination, VirtualServerKey};

/// A change with the kernel's answer to it.
pub type Answered<C> = (C, Result<(), Cause>);

/// Active and inactive connections together, by destination. A destination that does not exist is absent.
pub type Connections = BTreeMap<VirtualServerDestination, u32>;

/// The result of preparing the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Features that the kernel lacks for rules and sets.
    pub missing: PerFamily<Missing>,
}

/// The result of reading the whole kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelReading {
    /// The kernel state that was read.
    pub observed: Observed,
    /// The reason why the rules of a family could not be read. `observed` then has no rules of that family,
    /// and nothing that needs them may be done. The other family is not affected.
    pub unread: PerFamily<Option<Cause>>,
}

impl KernelReading {
    /// True if the rules of both families were read.
    pub fn is_whole(&self) -> bool {
        self.unread.v4.is_none() && self.unread.v6.is_none()
    }
}

impl From<Observed> for KernelReading {
    fn from(observed: Observed) -> Self {
        Self { observed, ..Self::default() }
    }
}

/// The result of reading the rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesReading {
    /// The rules in this proxy's chains, and the jumps to these chains.
    pub rules: Rules,
    /// True if chains, rules or tables of kube-proxy's other modes exist.
    pub has_legacy_rules: bool,
}

/// A part of a round, in the order in which a round first enters them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The desired state is planned.
    Plan,
    /// The kernel is read in whole.
    Read,
    /// The desired state is compared with the kernel state.
    Compare,
    /// Changes of one stage are carried out.
    Change(Stage),
    /// Connections of draining destinations are counted, and idle destinations are removed.
    Drain,
    /// Stale flows are looked for and removed.
    Flows,
}

impl Part {
    /// The name in lower case.
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

/// A kernel whose service tables can be read and changed.
pub trait Kernel {
    /// Notes that the round enters this part. It serves to measure time, which the core does not do; nothing
    /// else may depend on it.
    fn enters(&mut self, _part: Part) {}

    /// Prepares the node for the first change: settings, modules, a scheduler. It is called once, when all
    /// kinds of objects have been listed. Nothing may change the kernel before.
    ///
    /// # Errors
    /// The first requirement that cannot be met. Nothing can be programmed then.
    fn prepare(&mut self) -> Result<Ready, Cause>;

    /// Checks again which features are missing; a module may have been loaded or unloaded meanwhile. It is
    /// called after rules could not be written, and from time to time while a feature is missing.
    fn look_again(&mut self) -> Ready;

    /// Reads everything that this proxy may own.
    ///
    /// # Errors
    /// Fails if any part but the rules of a family cannot be read in whole. A comparison with half of the
    /// state would delete what the other half needs.
    fn observe(&mut self) -> Result<KernelReading, Cause>;

    /// Reads one virtual server with its destinations; `None` if it does not exist. The cost depends on this
    /// virtual server only, not on the size of the kernel's tables.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause>;

    /// Reads the rules of one family.
    ///
    /// # Errors
    /// Fails if they cannot be read in whole.
    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause>;

    /// Counts the connections of these destinations now. A destination that was not found is absent from the
    /// answer and goes on draining.
    ///
    /// # Errors
    /// Fails if the counts cannot be read.
    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause>;

    /// Reads the tracked flows of a family and protocol and returns those that are wanted, each once. Returns
    /// `at_most` flows, and fewer only if there are no more. Keeps no other flow in memory, because a node
    /// may have millions of them.
    ///
    /// # Errors
    /// Fails if they cannot be read in whole.
    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause>;

    /// Carries out changes that may go together in a batch, in their order. Returns each with its result.
    /// Removing an object that does not exist succeeds, and so does adding an object that exists in the same
    /// form. A virtual server or destination that exists unexpectedly may differ and is refused as
    /// [`AlreadyThere`](super::Refusal::AlreadyThere). A failure does not stop the other changes.
    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>>;
}
