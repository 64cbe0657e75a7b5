//! Tells the operator when the API server does not answer.
//!
//! Takes failures and successes of the watches. Each cause is one lasting condition, from the first watch
//! that has it until no watch has it any more. Does not report each try, nor each watch that has the
//! same problem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::Failure;
use crate::lasting::{Area, Lasting};

pub(super) struct Outage {
    url: String,
    lasting: Lasting,
    state: Mutex<State>,
}

/// The identity of one watch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchId(u32);

#[derive(Default)]
struct State {
    /// The watches that cannot continue, and why.
    failing: BTreeMap<WatchId, Trouble>,
    watches: u32,
    /// The causes that were reported and are not over. True for those that a watch had which works again: as long as
    /// none does, a watch that reports another cause may only see the same outage differently.
    told: BTreeMap<String, bool>,
}

/// The problems of one watch since it last worked.
#[derive(Default)]
struct Trouble {
    now: String,
    had: BTreeSet<String>,
    /// The first cause of each sort that was reported. Others of the same sort differ only in their
    /// text.
    sorts: BTreeMap<String, String>,
}

impl Outage {
    /// Starts without a problem of the server at this URL. Lasting problems are kept in `lasting`.
    pub(super) fn new(url: String, lasting: Lasting) -> Self {
        Self { url, lasting, state: Mutex::default() }
    }

    /// Returns the identity of a new watch.
    pub(super) fn enter(&self) -> WatchId {
        let mut state = self.state();
        state.watches += 1;
        WatchId(state.watches)
    }

    /// Notes that this watch cannot continue and tries again after `pause`.
    pub(super) fn begin(&self, watch: WatchId, failure: &Failure, pause: Duration) {
        let mut state = self.state();
        let (mut cause, mut sort) = (cut(failure.to_string()), failure.sort());
        // A server that starts to ask for pauses is a new cause.
        if failure.retry_after() > Duration::ZERO {
            cause.push_str(" (it asks for a pause)");
            sort.push_str(" with a pause");
        }
        if let Some(told) = state.begin(watch, sort, &cause) {
            let (url, pause) = (&self.url, pause.as_secs_f64());
            let text = format!(
                "API server {url}: {cause}; trying again until it works, first in {pause:.1} s"
            );
            self.lasting.begin(Area::Source, key(&told), text);
        }
        self.end(state.take_over());
    }

    /// Notes that this watch works.
    pub(super) fn over(&self, watch: WatchId) {
        let mut state = self.state();
        state.over(watch);
        self.end(state.take_over());
    }

    fn end(&self, causes: Vec<String>) {
        let keys: Vec<_> = causes.iter().map(|cause| key(cause)).collect();
        self.lasting.end_all(Area::Source, keys.iter().map(String::as_str));
    }

    /// Locks the state. A panic of another thread leaves it valid.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes a failure. Returns its cause if it is not reported yet: the first one of this sort, under which
    /// [`Self::take_over`] returns it when it is over.
    fn begin(&mut self, watch: WatchId, sort: String, cause: &str) -> Option<String> {
        let trouble = self.failing.entry(watch).or_default();
        let cause = trouble.sorts.entry(sort).or_insert_with(|| cause.to_owned()).clone();
        trouble.now.clone_from(&cause);
        trouble.had.insert(cause.clone());
        if self.told.contains_key(&cause) {
            return None;
        }
        self.told.insert(cause.clone(), false);
        Some(cause)
    }

    fn over(&mut self, watch: WatchId) {
        let Some(trouble) = self.failing.remove(&watch) else { return };
        for cause in trouble.had {
            if let Some(is_mended) = self.told.get_mut(&cause) {
                *is_mended = true;
            }
        }
    }

    /// Removes and returns the causes that are over. If every watch works, these are all; else those
    /// that a watch recovered from and no watch has now.
    fn take_over(&mut self) -> Vec<String> {
        let Self { failing, told, .. } = self;
        let has = |cause: &String| failing.values().any(|trouble| trouble.now == *cause);
        let is_over =
            |cause: &String, is_mended: bool| failing.is_empty() || (is_mended && !has(cause));
        told.extract_if(.., |cause, is_mended| is_over(cause, *is_mended))
            .map(|(cause, _)| cause)
            .collect()
    }
}

/// Returns the key of a cause among the lasting conditions of the source.
fn key(cause: &str) -> String {
    format!("API server: {cause}")
}

/// Cuts a long cause. A proxy before the server may answer with a whole page.
fn cut(mut cause: String) -> String {
    const MAX_CAUSE_CHARS: usize = 300;
    if let Some((end, _)) = cause.char_indices().nth(MAX_CAUSE_CHARS) {
        cause.truncate(end);
        cause.push('…');
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::{State, WatchId, cut};

    const NODES: WatchId = WatchId(1);
    const SERVICES: WatchId = WatchId(2);
    const SLICES: WatchId = WatchId(3);

    fn begin(state: &mut State, watch: WatchId, cause: &str) -> (bool, Vec<String>) {
        (state.begin(watch, cause.to_owned(), cause).is_some(), state.take_over())
    }

    fn over(state: &mut State, watch: WatchId) -> Vec<String> {
        state.over(watch);
        state.take_over()
    }

    #[test]
    fn each_outage_begins_and_ends_by_a_line_though_one_watch_is_never_well() {
        let mut state = State::default();
        assert_eq!(begin(&mut state, NODES, "forbidden"), (true, vec![]));
        for _ in 0..2 {
            assert_eq!(begin(&mut state, SERVICES, "refused"), (true, vec![]));
            for watch in [SLICES, NODES] {
                assert_eq!(begin(&mut state, watch, "refused"), (false, vec![]));
            }
            assert_eq!(over(&mut state, SERVICES), [""; 0]);
            assert_eq!(over(&mut state, SLICES), [""; 0]);
            assert_eq!(begin(&mut state, NODES, "forbidden"), (false, vec!["refused".to_owned()]));
        }
        assert_eq!(over(&mut state, NODES), ["forbidden"]);
        assert_eq!(over(&mut state, NODES), [""; 0]);
    }

    #[test]
    fn words_that_differ_each_time_are_told_once_and_bounded() {
        let mut state = State::default();
        for turn in 0..100 {
            let cause = format!("HTTP 500: request {turn}");
            let told = state.begin(SERVICES, "HTTP 500".to_owned(), &cause);
            assert_eq!(told.is_some(), turn == 0);
        }
        assert_eq!(state.told.len(), 1);
        assert!(state.begin(SERVICES, "HTTP 403".to_owned(), "HTTP 403: no").is_some());
        assert_eq!(over(&mut state, SERVICES), ["HTTP 403: no", "HTTP 500: request 0"]);
        assert_eq!(cut("ä".repeat(5000)).chars().count(), 301);
        assert_eq!(cut("short".to_owned()), "short");
    }

    #[test]
    fn a_cause_that_comes_again_in_other_words_ends_under_the_name_under_which_it_began() {
        let mut state = State::default();
        let sort = || "HTTP 500".to_owned();
        assert!(state.begin(SERVICES, sort(), "HTTP 500: a").is_some());
        assert_eq!(state.begin(SLICES, sort(), "HTTP 500: a"), None);
        assert_eq!(over(&mut state, SLICES), [""; 0]);
        assert_eq!(begin(&mut state, SERVICES, "reset"), (true, vec!["HTTP 500: a".to_owned()]));
        let told = state.begin(SERVICES, sort(), "HTTP 500: b");
        assert_eq!(told.as_deref(), Some("HTTP 500: a"));
        assert!(over(&mut state, SERVICES).contains(&told.unwrap()));
    }

    #[test]
    fn an_outage_seen_from_several_sides_is_one() {
        let mut state = State::default();
        assert_eq!(begin(&mut state, SERVICES, "reset"), (true, vec![]));
        assert_eq!(begin(&mut state, SERVICES, "refused"), (true, vec![]));
        assert_eq!(begin(&mut state, SERVICES, "reset"), (false, vec![]));
        assert_eq!(begin(&mut state, SLICES, "refused"), (false, vec![]));
        assert_eq!(over(&mut state, SLICES), vec!["refused".to_owned()]);
        assert_eq!(over(&mut state, SERVICES), ["reset"]);
    }
}
