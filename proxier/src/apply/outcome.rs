//! The result of a round.
//!
//! Collects the results of single changes as counts, and failures as text. Is not an error type: sources of
//! objects do not learn of kernel failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use super::cause::Cause;
use crate::model::{PerFamily, TriggerTime};
use crate::plan::{VirtualServerDestination, VirtualServerKey};

/// One operation that failed. Two failures with the same operation and the same kind of cause are the same
/// problem, even if their texts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operation and its object: the text of a change, or a read.
    pub operation: String,
    /// The reason why it failed.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

/// Destinations that take no new connections and wait for theirs to end: their number, and what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draining {
    /// The number of destinations that drain now.
    pub count: usize,
    /// Destinations that have begun to drain.
    pub begun: BTreeSet<VirtualServerDestination>,
    /// Destinations that no longer drain, because they were removed or serve again.
    pub ended: BTreeSet<VirtualServerDestination>,
    /// The time at which the next of them reaches its limit; `None` if none does.
    pub next_end: Option<Instant>,
}

/// Objects that another program has changed in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The number of objects by kind ([`Change::object`](crate::diff::Change::object)).
    pub counts: BTreeMap<&'static str, usize>,
    /// The changes that restore the first [`NAMED`](Self::NAMED) objects.
    pub first: Vec<String>,
}

impl Differences {
    /// The most objects that are named.
    pub const NAMED: usize = 5;
}

/// The result of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes that the kernel accepted.
    pub done: usize,
    /// Changes and reads that failed in this round.
    pub failed: Vec<Failure>,
    /// Operations of earlier rounds that no longer fail: they have succeeded, or no plan needs them any more.
    pub resolved: Vec<String>,
    /// The number of refused objects, including those of earlier rounds that are not due yet.
    pub refused: usize,
    /// The time at which the first refused object is to be tried again.
    pub next_retry: Option<Instant>,
    /// True if the kernel state is unknown, so that the next round reads all of it.
    pub needs_full_reading: bool,
    /// The number of changes not tried because something that they need has failed.
    pub held_back: usize,
    /// True for a family if something failed that all its Services need: reading the kernel, the device, a
    /// set, or the rules. If false, only single objects have failed.
    pub blocked: PerFamily<bool>,
    /// Virtual servers whose plan may have changed since the last round.
    pub changed_servers: BTreeSet<VirtualServerKey>,
    /// Destinations that drain.
    pub draining: Draining,
    /// Objects that other programs have changed, found by a whole comparison or reported by the kernel.
    pub differences: Differences,
    /// Virtual servers that this round removes although nothing shows that this proxy created them. No plan
    /// contains them, and they are in no excluded network.
    pub servers_of_others: Vec<VirtualServerKey>,
    /// Trigger times reported by EndpointSlices whose changes are now in force.
    pub trigger_times: Vec<TriggerTime>,
}

impl Outcome {
    /// True if the kernel state is the desired state, except for draining destinations.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && self.refused == 0 && !self.needs_full_reading
    }

    /// True if nothing has failed or been held back so far.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.held_back == 0
    }

    /// Adds the result of another execution of the same round.
    pub(crate) fn absorb(&mut self, further: Self) {
        self.done += further.done;
        self.failed.extend(further.failed);
        self.held_back += further.held_back;
    }
}
