//! Keeps the changes and reads that have failed until they are tried again.
//!
//! Takes failures, and the time as an argument. Says which objects are to be tried again and when, and which
//! changes of a comparison have to wait until then. Remembers which other changes the failures hold back.
//! Does not call the kernel.
//!
//! Refused objects cost nothing in a round that does not compare them. The exceptions are rounds in which one
//! of them is tried again or is no longer needed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::blocked::Blocked;
use super::cause::Cause;
use super::order::Stage;
use super::outcome::Failure;
use crate::diff::{Change, ObjectKey, Observed, Scan, ServerChange, SetChange};
use crate::model::{Family, PerFamily};
use crate::plan::{DirtyKeys, weight};

/// The pause after the first failure; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Objects whose pause ends within this time after a due one are tried with it. Each retry compares
/// everything that waits, so that fewer retries are cheaper.
const RETRY_WINDOW: Duration = Duration::from_millis(250);

/// The most objects that are tried again in one round, so that other changes need not wait for all of them.
const MAX_RETRIES_PER_ROUND: usize = 512;

/// Refused objects, and the changes that wait for them.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    attempts: BTreeMap<ObjectKey, Attempt>,
    by_time: BTreeSet<(Instant, ObjectKey)>,
    /// Objects that this round tries again, or that no longer need the change that was refused.
    released: BTreeMap<ObjectKey, Attempt>,
    /// Keys of objects whose changes were held back.
    waiting: DirtyKeys,
    /// The failures that hold changes back; `None` while a round has them.
    blocked: Option<Blocked>,
    /// The number of attempts that were to drain or remove a destination.
    leaving: usize,
    /// Operations that have failed and no longer do.
    resolved: Vec<String>,
}

/// The last attempt to change or read an object.
#[derive(Debug)]
struct Attempt {
    /// The change and its stage; `None` for a read.
    change: Option<(Stage, Change)>,
    operation: String,
    /// The number of consecutive failures.
    tries: u32,
    until: Instant,
}

impl Refused {
    /// Notes that a change has failed.
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

    /// Makes the object due at once. The kernel is read in whole before that, and a failed read has its own
    /// pause.
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

    /// Notes that something could not be read.
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

    /// Notes that the object is in the desired state, so that its failure is over.
    pub(crate) fn succeed(&mut self, key: &ObjectKey) {
        let over = self.remove(key).or_else(|| self.released.remove(key));
        self.resolved.extend(over.map(|over| over.operation));
    }

    /// Notes that a change was held back.
    pub(crate) fn wait(&mut self, change: &Change) {
        change.key().touch(&mut self.waiting);
    }

    /// True if the object was refused and is not due yet.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.attempts.contains_key(key)
    }

    /// True if exactly this change was refused and is not due yet.
    pub(crate) fn has_just(&self, change: &Change) -> bool {
        self.attempts.get(&change.key()).is_some_and(|attempt| attempt.is_of(change))
    }

    /// True if the last attempt at the object failed.
    pub(crate) fn has_failed_before(&self, key: &ObjectKey) -> bool {
        self.attempts.contains_key(key) || self.released.contains_key(key)
    }

    /// True if a destination could not be drained or removed.
    pub(crate) fn has_leaving(&self) -> bool {
        self.leaving > 0
    }

    /// The number of refused objects.
    pub(crate) fn count(&self) -> usize {
        self.attempts.len()
    }

    /// True if nothing is refused or held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.waiting.is_empty()
    }

    /// The time at which the first object is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// The families in which something has failed that all Services need.
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

    /// True if the family's rules could not be read and are not due to be read again.
    pub(crate) fn cannot_read_rules(&self, family: Family) -> bool {
        self.has(&ObjectKey::StandingRules(family))
    }

    /// Returns the objects that are due, and everything that waits; `None` if no object is due.
    pub(crate) fn retry_due(&mut self, cache: &Observed, now: Instant) -> Option<Due> {
        self.next_retry().filter(|first| *first <= now)?;
        let soon = now + RETRY_WINDOW;
        let due = self.by_time.iter().take_while(|(until, _)| *until <= soon);
        let keys: Vec<_> = due.take(MAX_RETRIES_PER_ROUND).map(|(_, key)| *key).collect();
        let mut dirty_keys = self.release(&keys, cache);
        keys.iter().for_each(|key| key.touch(&mut dirty_keys));
        Some(Due { keys, dirty_keys })
    }

    /// Removes changes that were refused in exactly this form and are not due yet. Releases refused objects
    /// that now need another change or none. If any is released, returns the keys of everything that waits,
    /// to be compared again.
    ///
    /// `changes` are all changes that a comparison of this extent has found.
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

    /// The refused objects that a comparison of this extent looks at.
    fn looked_at(&self, extent: Scan<'_>) -> Vec<ObjectKey> {
        let is_compared = |key: &&ObjectKey| match key {
            ObjectKey::Kernel
            | ObjectKey::Connections
            | ObjectKey::Flows(..)
            | ObjectKey::StandingRules(_)
            // The need for room depends on the entries that are added, not on the compared keys.
            | ObjectKey::Room(_) => false,
            _ => true,
        };
        let Scan::Dirty(dirty_keys) = extent else {
            return self.attempts.keys().filter(is_compared).copied().collect();
        };
        let mut found: Vec<_> = self
            .attempts
            .range(..=ObjectKey::LAST_COMMON)
            .map(|(key, _)| key)
            .filter(is_compared)
            .copied()
            .collect();
        let addresses = dirty_keys.addresses.iter().map(|address| ObjectKey::Address(*address));
        let entries = dirty_keys.entries.iter().map(|(set, entry)| ObjectKey::Entry(*set, *entry));
        let servers = dirty_keys.servers.iter().map(|key| ObjectKey::Server(*key));
        found.extend(addresses.chain(entries).chain(servers).filter(|key| self.has(key)));
        for server in &dirty_keys.servers {
            let range = self.attempts.range(ObjectKey::destinations_of(server));
            found.extend(range.map(|(key, _)| *key));
        }
        found
    }

    /// Stops these objects from holding other changes back. Returns the keys of everything that waits. The
    /// next attempt shows which of these changes can be made.
    pub(crate) fn release(&mut self, keys: &[ObjectKey], cache: &Observed) -> DirtyKeys {
        for key in keys {
            if let Some(attempt) = self.remove(key) {
                self.released.insert(*key, attempt);
            }
        }
        let mut blocked = Blocked::default();
        for (key, attempt) in &self.attempts {
            match (&attempt.change, key) {
                (Some((stage, change)), _) => blocked.add(*stage, change, cache),
                (None, ObjectKey::StandingRules(family)) => blocked.block_unread(*family),
                (None, _) => {}
            }
        }
        self.blocked = Some(blocked);
        self.take_waiting()
    }

    /// Takes the keys of everything that waits, to be compared again.
    pub(crate) fn take_waiting(&mut self) -> DirtyKeys {
        std::mem::take(&mut self.waiting)
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Attempt> {
        let attempt = self.attempts.remove(key)?;
        self.by_time.remove(&(attempt.until, *key));
        self.leaving -= usize::from(attempt.is_leaving());
        Some(attempt)
    }

    /// Takes the failures that hold changes back. Returns them at the beginning of a round and after a
    /// release, and otherwise `None`.
    pub(crate) fn take_blocked(&mut self) -> Option<Blocked> {
        self.blocked.take()
    }

    /// Stores the failures that hold changes back, at the end of an execution.
    pub(crate) fn put_blocked(&mut self, blocked: Blocked) {
        self.blocked.get_or_insert(blocked);
    }

    /// Ends a round. Returns the operations that failed before it and no longer do.
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

/// The objects to be tried again.
#[derive(Debug)]
pub(crate) struct Due {
    /// The objects that are due.
    pub(crate) keys: Vec<ObjectKey>,
    /// Their keys, and the keys of everything that waits.
    pub(crate) dirty_keys: DirtyKeys,
}

fn pause(tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}
