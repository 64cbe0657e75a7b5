//! What the operator is told while the API server does not answer.
//!
//! In: failures and successes of the watches. Out: one warning for each cause in turn, and
//! one line when it is over. Never: a line for each try, nor one for each watch of the same trouble.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) struct Outage {
    url: String,
    state: Mutex<State>,
}

/// Which watch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchId(u32);

#[derive(Default)]
struct State {
    /// Whose watches cannot go on.
    failing: BTreeSet<WatchId>,
    watches: u32,
    /// What the operator was told since all were well.
    told: BTreeSet<String>,
    began: Option<Instant>,
}

impl Outage {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: Mutex::default() }
    }

    /// A watch like no other.
    pub(super) fn enter(&self) -> WatchId {
        let mut state = self.state();
        state.watches += 1;
        WatchId(state.watches)
    }

    /// This watch cannot go on.
    pub(super) fn begin(&self, watch: WatchId, cause: &str) {
        let mut state = self.state();
        state.began.get_or_insert_with(Instant::now);
        state.failing.insert(watch);
        if state.told.insert(cause.to_owned()) {
            tracing::warn!("API server {}: {cause}; trying again until it works", self.url);
        }
    }

    /// This watch works.
    pub(super) fn over(&self, watch: WatchId) {
        let mut state = self.state();
        if !state.failing.remove(&watch) || !state.failing.is_empty() {
            return;
        }
        state.told.clear();
        let lasted = state.began.take().map_or(0, |began| began.elapsed().as_secs());
        tracing::info!("API server {}: works again after {lasted} s", self.url);
    }

    /// A panic elsewhere leaves the causes as good as they were.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
