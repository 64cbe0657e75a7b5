//! What the kernel has refused, until it is tried again.
//!
//! Takes failures, and the time as an argument. Gives back which objects are to be tried again, when, and which
//! changes of a comparison have to wait until then. Keeps what a refused change holds back held back meanwhile, and
//! remembers what that is. Does not call the kernel.
//!
//! The cost of a round follows what it looks at: refused objects that it does not look at cost nothing, except in the
//! rounds in which one of them is tried again or no longer wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::blocked::Blocked;
use super::cause::Cause;
use super::order::Stage;
use super::outcome::Failure;
use crate::diff::{Change, ObjectKey, Observed, Scan, ServerChange, SetChange};
use crate::model::{Family, PerFamily};
use crate::plan::{DirtyKeys, weight};

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When one object is tried again, so are those whose pause ends so soon after: each time is a comparison of
/// everything that waits.
const RETRY_WINDOW: Duration = Duration::from_millis(250);

/// So many objects are tried again in one round at most, so that changes of others do not wait for all of them.
const MAX_RETRIES_PER_ROUND: usize = 512;

/// Refused objects, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    attempts: BTreeMap<ObjectKey, Attempt>,
    by_time: BTreeSet<(Instant, ObjectKey)>,
    /// Objects that this round tries again, or that are no longer wanted as they were.
    released: BTreeMap<ObjectKey, Attempt>,
    /// Objects whose changes were held back.
    waiting: DirtyKeys,
    /// What holds changes back, while no round has it.
    held: Option<Blocked>,
    /// How many of the attempts were to make destinations leave.
    leaving: usize,
    /// Operations that failed and do so no longer.
    resolved: Vec<String>,
}

/// The last try.
#[derive(Debug)]
struct Attempt {
    /// The change and its stage; `None` for readings.
    change: Option<(Stage, Change)>,
    operation: String,
    /// How often it has failed.
    tries: u32,
    until: Instant,
}

impl Refused {
    /// A change has failed.
    pub(crate) fn refuse(
        &mut self,
        stage: Stage,
        change: Change,
        cause: Cause,
        now: Instant,
    ) -> Failure {
        let (key, operation) = (change.key(), change.to_string());
        self.note(key, Some((stage, change)), operation, cause, now)
    }

    /// The kernel is read in whole before the object is tried again, and that has a pause of its own.
    pub(crate) fn retry_after_reading(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(mut attempt) = self.remove(key) {
            attempt.until = now;
            self.insert(*key, attempt);
        }
    }

    fn insert(&mut self, key: ObjectKey, attempt: Attempt) {
        self.by_time.insert((attempt.until, key));
        self.leaving += usize::from(attempt.is_leaving());
        self.attempts.insert(key, attempt);
    }

    /// Something could not be read.
    pub(crate) fn fail(
        &mut self,
        key: ObjectKey,
        operation: String,
        cause: Cause,
        now: Instant,
    ) -> Failure {
        self.note(key, None, operation, cause, now)
    }

    fn note(
        &mut self,
        key: ObjectKey,
        change: Option<(Stage, Change)>,
        operation: String,
        cause: Cause,
        now: Instant,
    ) -> Failure {
        let before = self.remove(&key).or_else(|| self.released.remove(&key));
        let same = before.as_ref().filter(|before| before.operation == operation);
        let tries = same.map_or(1, |before| before.tries.saturating_add(1));
        if same.is_none() {
            self.resolved.extend(before.map(|before| before.operation));
        }
        let failure = Failure { operation: operation.clone(), cause };
        let until = now + pause(tries);
        self.insert(key, Attempt { change, operation, tries, until });
        failure
    }

    /// The object is as it should be: what has failed of it is over.
    pub(crate) fn succeed(&mut self, key: &ObjectKey) {
        let over = self.remove(key).or_else(|| self.released.remove(key));
        self.resolved.extend(over.map(|over| over.operation));
    }

    /// A change was held back.
    pub(crate) fn wait(&mut self, change: &Change) {
        change.key().touch(&mut self.waiting);
    }

    /// True if the object was refused before and its time has not come.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.attempts.contains_key(key)
    }

    /// True if just this change was refused before and its time has not come.
    pub(crate) fn has_just(&self, change: &Change) -> bool {
        self.attempts.get(&change.key()).is_some_and(|attempt| attempt.is_of(change))
    }

    /// True if the object failed the last time.
    pub(crate) fn has_failed_before(&self, key: &ObjectKey) -> bool {
        self.attempts.contains_key(key) || self.released.contains_key(key)
    }

    /// True if a destination has to leave and could not.
    pub(crate) fn has_leaving(&self) -> bool {
        self.leaving > 0
    }

    /// How many objects are refused.
    pub(crate) fn count(&self) -> usize {
        self.attempts.len()
    }

    /// True if nothing is refused or held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.waiting.is_empty()
    }

    /// When the first of them is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// The families in which something has failed that all Services of the family need.
    pub(crate) fn blocked(&self) -> PerFamily<bool> {
        let mut blocked = PerFamily::default();
        for key in self.attempts.range(..=ObjectKey::LAST_COMMON).map(|(key, _)| key) {
            match key {
                ObjectKey::Kernel | ObjectKey::Device => blocked = PerFamily { v4: true, v6: true },
                ObjectKey::StandingRules(family) | ObjectKey::Rules(family, _) => {
                    *blocked.of_mut(*family) = true;
                }
                ObjectKey::Set(set) => *blocked.of_mut(set.family) = true,
                _ => {}
            }
        }
        blocked
    }

    /// The rules of a family that could not be read, and are not to be read again yet.
    pub(crate) fn cannot_read_rules(&self, family: Family) -> bool {
        self.has(&ObjectKey::StandingRules(family))
    }

    /// What is to be tried now, with everything that waits; `None` if the time of nothing has come.
    pub(crate) fn retry_due(&mut self, cache: &Observed, now: Instant) -> Option<Due> {
        self.next_retry().filter(|first| *first <= now)?;
        let soon = now + RETRY_WINDOW;
        let due = self.by_time.iter().take_while(|(until, _)| *until <= soon);
        let keys: Vec<_> = due.take(MAX_RETRIES_PER_ROUND).map(|(_, key)| *key).collect();
        let mut touched = self.release(&keys, cache);
        keys.iter().for_each(|key| key.touch(&mut touched));
        Some(Due { keys, touched })
    }

    /// Takes those changes out that have been refused in just this form and whose time has not come. What was refused
    /// and is no longer wanted so is released: then all that waits is given back, to be compared once more.
    ///
    /// `changes` are all that a comparison to this extent has found.
    pub(crate) fn sift(
        &mut self,
        changes: &mut Vec<Change>,
        extent: Scan<'_>,
        cache: &Observed,
    ) -> Option<DirtyKeys> {
        if self.attempts.is_empty() {
            return None;
        }
        let (mut again, mut differing) = (BTreeSet::new(), Vec::new());
        changes.retain(|change| {
            let key = change.key();
            let Some(attempt) = self.attempts.get(&key) else { return true };
            if attempt.is_of(change) {
                again.insert(key);
                return false;
            }
            differing.push(key);
            true
        });
        let gone = self.looked_at(extent).into_iter().filter(|key| !again.contains(key));
        let released: BTreeSet<_> = gone.chain(differing).collect();
        if released.is_empty() {
            return None;
        }
        Some(self.release(&released.into_iter().collect::<Vec<_>>(), cache))
    }

    /// The refused objects that a comparison to this extent has looked at.
    fn looked_at(&self, extent: Scan<'_>) -> Vec<ObjectKey> {
        let is_compared = |key: &&ObjectKey| match key {
            ObjectKey::Kernel
            | ObjectKey::Connections
            | ObjectKey::Flows(..)
            | ObjectKey::StandingRules(_)
            // Whether there is need for room depends on what is tried.
            | ObjectKey::Room(_) => false,
            _ => true,
        };
        let Scan::Dirty(touched) = extent else {
            return self.attempts.keys().filter(is_compared).copied().collect();
        };
        let mut found: Vec<_> = self
            .attempts
            .range(..=ObjectKey::LAST_COMMON)
            .map(|(key, _)| key)
            .filter(is_compared)
            .copied()
            .collect();
        let addresses = touched.addresses.iter().map(|address| ObjectKey::Address(*address));
        let entries = touched.entries.iter().map(|(set, entry)| ObjectKey::Entry(*set, *entry));
        let servers = touched.servers.iter().map(|key| ObjectKey::Server(*key));
        found.extend(addresses.chain(entries).chain(servers).filter(|key| self.has(key)));
        for server in &touched.servers {
            let range = self.attempts.range(ObjectKey::destinations_of(server));
            found.extend(range.map(|(key, _)| *key));
        }
        found
    }

    /// Nothing holds back because of these any longer. Gives back all that waits: which of it can go on
    /// is found out by trying.
    pub(crate) fn release(&mut self, keys: &[ObjectKey], cache: &Observed) -> DirtyKeys {
        for key in keys {
            if let Some(attempt) = self.remove(key) {
                self.released.insert(*key, attempt);
            }
        }
        let mut held = Blocked::default();
        for (key, attempt) in &self.attempts {
            match (&attempt.change, key) {
                (Some((stage, change)), _) => held.note(*stage, change, cache),
                (None, ObjectKey::StandingRules(family)) => held.hold_unread(*family),
                (None, _) => {}
            }
        }
        self.held = Some(held);
        self.take_waiting()
    }

    /// All that waits, to be compared once more.
    pub(crate) fn take_waiting(&mut self) -> DirtyKeys {
        std::mem::take(&mut self.waiting)
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Attempt> {
        let attempt = self.attempts.remove(key)?;
        self.by_time.remove(&(attempt.until, *key));
        self.leaving -= usize::from(attempt.is_leaving());
        Some(attempt)
    }

    /// What holds changes back, for a walk: at the beginning of a round, and again when something was released.
    pub(crate) fn take_held(&mut self) -> Option<Blocked> {
        self.held.take()
    }

    /// The walk is over.
    pub(crate) fn put_held(&mut self, held: Blocked) {
        self.held.get_or_insert(held);
    }

    /// A round is over. Gives what failed before it and does so no longer.
    pub(crate) fn end_round(&mut self) -> Vec<String> {
        let released = std::mem::take(&mut self.released);
        self.resolved.extend(released.into_values().map(|attempt| attempt.operation));
        std::mem::take(&mut self.resolved)
    }
}

impl Attempt {
    fn is_leaving(&self) -> bool {
        let change = self.change.as_ref().map(|(_, change)| change);
        matches!(
            change,
            Some(
                Change::Server(ServerChange::RemoveDestination(..))
                    | Change::Server(ServerChange::UpdateDestination(_, _, weight::DRAINING))
            )
        )
    }

    fn is_of(&self, change: &Change) -> bool {
        match (&self.change, change) {
            (
                Some((_, Change::Set(SetChange::Grow(refused, _)))),
                Change::Set(SetChange::Grow(set, _)),
            ) => refused == set,
            (Some((_, refused)), change) => refused == change,
            (None, _) => false,
        }
    }
}

/// What is to be tried again.
#[derive(Debug)]
pub(crate) struct Due {
    /// The objects whose time has come.
    pub(crate) keys: Vec<ObjectKey>,
    /// These, and what waits for any that was refused.
    pub(crate) touched: DirtyKeys,
}

fn pause(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}
