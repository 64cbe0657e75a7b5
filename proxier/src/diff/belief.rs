//! What is believed of the kernel.
//!
//! In: a reading of the kernel, and every change since that has succeeded. Out: the state as it should
//! be by now. While somebody reads the kernel anew, changes are noted as well: a reading takes its time,
//! and what it has passed before a change is put right when it is done. Never: doubt, which is the
//! round's.

use super::change::Change;
use super::observed::Observed;
use crate::plan::{Desired, VirtualServerKey};
use crate::sorted::{Side, join};

/// A state, and what has happened since a reading began.
#[derive(Debug, Default)]
pub struct Belief {
    state: Observed,
    journal: Option<Vec<Change>>,
}

impl Belief {
    /// What has just been read.
    pub fn new(state: Observed) -> Self {
        Self { state, journal: None }
    }

    /// What the kernel should hold.
    pub fn state(&self) -> &Observed {
        &self.state
    }

    /// Notes a change that has succeeded.
    pub fn record(&mut self, change: &Change) {
        self.state.record(change);
        if let Some(journal) = &mut self.journal {
            journal.push(change.clone());
        }
    }

    /// Keeps the wish's own lists of destinations where they say all there is, of one virtual server.
    pub fn share(&mut self, key: &VirtualServerKey, desired: &Desired) {
        if let (Some(wished), Some(found)) = (desired.server(key), self.state.servers.get_mut(key))
        {
            found.destinations.share(&wished.destinations);
        }
    }

    /// The same of all.
    pub fn share_all(&mut self, desired: &Desired) {
        for (_, side) in join(desired.servers(), &mut self.state.servers) {
            if let Side::Both(wished, found) = side {
                found.destinations.share(&wished.destinations);
            }
        }
    }

    /// Somebody begins to read.
    pub fn begin_reading(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// Takes the place of what was believed by what was read, as it has become since the reading began.
    /// A change that the reading has seen already is noted twice, which makes no difference: each
    /// says what is, not what becomes different.
    ///
    /// False, and nothing happens, if no reading had begun.
    pub fn end_reading(&mut self, mut found: Observed) -> bool {
        let Some(journal) = self.journal.take() else { return false };
        journal.iter().for_each(|change| found.record(change));
        self.state = found;
        true
    }
}
