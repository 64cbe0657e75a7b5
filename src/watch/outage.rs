//! What the operator is told while the API server does not answer.
//!
//! In: failures and successes of the three watches. Out: one warning when trouble begins, another
//! only if its cause changes, and one line when it is over. Never: a line for each try, nor one for
//! each watch of the same trouble.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::objects::Kind;

pub(super) struct Outage {
    url: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    causes: BTreeMap<Kind, String>,
    began: Option<Instant>,
}

impl Outage {
    pub(super) fn new(url: String) -> Self {
        Self { url, state: Mutex::default() }
    }

    /// A watch of this kind cannot go on.
    pub(super) fn begin(&self, kind: Kind, cause: &str) {
        let mut state = self.state();
        state.began.get_or_insert_with(Instant::now);
        let is_known = state.causes.values().any(|known| known == cause);
        state.causes.insert(kind, cause.to_owned());
        if !is_known {
            tracing::warn!("API server {}: {cause}; trying again until it works", self.url);
        }
    }

    /// A watch of this kind works.
    pub(super) fn over(&self, kind: Kind) {
        let mut state = self.state();
        if state.causes.remove(&kind).is_some() && state.causes.is_empty() {
            let lasted = state.began.take().map(|began| began.elapsed().as_secs());
            let lasted = lasted.unwrap_or_default();
            tracing::info!("API server {}: works again after {lasted} s", self.url);
        }
    }

    /// A panic elsewhere leaves the causes as good as they were.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
