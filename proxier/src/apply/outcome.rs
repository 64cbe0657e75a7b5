//! What came of a round.
//!
//! In: results of single changes. Out: counts, and failures in words. Never: an error type that
//! would have to be handled upstream; sources of facts do not learn of kernel failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use super::cause::Cause;
use crate::model::{PerFamily, TriggerTime};
use crate::plan::{VirtualServerDestination, VirtualServerKey};

/// One thing that did not work. Another one of the same operation and kind of cause is the same problem, whatever
/// its words are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was tried, with its object: a change's line, or a read.
    pub operation: String,
    /// What the system said.
    pub cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

/// Destinations that only finish their connections: how many there are, and what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draining {
    /// How many there are now.
    pub count: usize,
    /// Those that have begun to.
    pub begun: BTreeSet<VirtualServerDestination>,
    /// Those that do no longer: they are gone, or serve again.
    pub ended: BTreeSet<VirtualServerDestination>,
    /// When the first of them has had its time, if there is a limit.
    pub next_end: Option<Instant>,
}

/// Objects of the kernel that were not as this proxy had left them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// How many there were of each kind of object ([`Change::object`](crate::diff::Change::object)).
    pub counts: BTreeMap<&'static str, usize>,
    /// The changes that put the first [`NAMED`](Self::NAMED) of them right.
    pub first: Vec<String>,
}

impl Differences {
    /// How many are named.
    pub const NAMED: usize = 5;
}

/// The result of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Changes that the kernel accepted.
    pub done: usize,
    /// Changes and reads that failed in this round.
    pub failed: Vec<Failure>,
    /// Operations that failed in an earlier round and are over: they have succeeded, or nobody wants them any more.
    pub resolved: Vec<String>,
    /// How many objects are refused, those of earlier rounds included whose time to be tried again has not come.
    pub refused: usize,
    /// When the first of them is to be tried again.
    pub next_retry: Option<Instant>,
    /// Whether nobody knows what the kernel holds, so that the next round reads all of it.
    pub is_in_doubt: bool,
    /// Changes not tried because what protects or carries them had failed.
    pub held_back: usize,
    /// Whether something has failed that all Services of the family need: the reading of the kernel,
    /// a set, the rules. Without it single objects have failed at most.
    pub blocked: PerFamily<bool>,
    /// Virtual servers whose plan may differ from what it was, because facts have touched them.
    pub touched: BTreeSet<VirtualServerKey>,
    /// Destinations that only finish their connections.
    pub draining: Draining,
    /// What others have changed in the kernel, found by a comparison in whole or told by the kernel's notices.
    pub differences: Differences,
    /// Virtual servers that nobody wants, that stand in no excluded network, and of which nothing tells that this proxy
    /// had made them. They go too.
    pub servers_of_others: Vec<VirtualServerKey>,
    /// What slices said of the time whose changes are in force now.
    pub reported: Vec<TriggerTime>,
}

impl Outcome {
    /// True if the kernel now is as wished, but for destinations that drain.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty() && self.refused == 0 && !self.is_in_doubt
    }

    /// True if nothing has failed or been held back so far.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty() && self.held_back == 0
    }

    /// Adds what a further walk of the same round came to.
    pub(crate) fn absorb(&mut self, further: Self) {
        self.done += further.done;
        self.failed.extend(further.failed);
        self.held_back += further.held_back;
    }
}
