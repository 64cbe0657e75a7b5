//! Joins equal events into one object with a count.
//!
//! Takes events and the results of writing them, with the time as an argument. Returns the next write. Remembers at
//! most [`MAX_REMEMBERED_EVENTS`] events. Does not send requests or read the clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use super::object::Id;
use super::{Event, Notification};

/// The largest number of remembered events. Beyond it an old event is dropped.
const MAX_REMEMBERED_EVENTS: usize = 512;

/// An event that has not happened for this long begins a new object, as with client-go.
const FINISHED: Duration = Duration::from_secs(6 * 60);

/// The shortest time between two patches of one object.
const MIN_PATCH_INTERVAL: Duration = Duration::from_secs(10);

/// The time for which a failing write is repeated. client-go gives up after two minutes, but an API server may take
/// longer to restart.
pub(super) const PERSISTENCE: Duration = Duration::from_secs(5 * 60);

/// A write to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Creates a new object.
    Create { id: Id, event: Event, at: SystemTime },
    /// Updates the count of an event that has an object, at least 2, and the time when it happened last.
    Patch { id: Id, count: u32, at: SystemTime },
}

impl Write {
    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Create { id, .. } | Self::Patch { id, .. } => id,
        }
    }

    /// The HTTP method of the request.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Create { .. } => "POST",
            Self::Patch { .. } => "PATCH",
        }
    }
}

/// The events that may happen again, in the order in which they first happened.
#[derive(Debug, Default)]
pub(super) struct Series {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    id: Id,
    count: u32,
    at: SystemTime,
    seen: Instant,
    stage: Stage,
    /// When the next write is due; `None` if there is nothing to write.
    due: Option<Instant>,
    /// Since when writes have failed; `None` if the last one succeeded.
    failing: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The event has no object yet.
    New,
    /// The event's object was last written at this time.
    Written(Instant),
}

impl Series {
    /// Adds an event, or counts it if an equal one is remembered.
    pub(super) fn note(&mut self, told: Notification, now: Instant) {
        let Notification { event, at } = told;
        self.entries.retain(|entry| entry.due.is_some() || now < entry.seen + FINISHED);
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.event == event) {
            entry.count = entry.count.saturating_add(1);
            entry.at = at;
            entry.seen = now;
            entry.due = entry.due.or(match entry.stage {
                Stage::New => Some(now),
                // The first repetition is written at once, later ones are joined.
                Stage::Written(_) if entry.count == 2 => Some(now),
                Stage::Written(written) => Some(now.max(written + MIN_PATCH_INTERVAL)),
            });
            return;
        }
        if self.entries.len() >= MAX_REMEMBERED_EVENTS {
            self.make_room();
        }
        let id = Id::new(&event.regarding, at);
        let (stage, due) = (Stage::New, Some(now));
        let failing = None;
        self.entries.push_back(Entry { event, id, count: 1, at, seen: now, stage, due, failing });
    }

    /// Drops one entry, preferably one that has nothing to write.
    fn make_room(&mut self) {
        let spare = self.entries.iter().position(|entry| entry.due.is_none());
        let gone = self.entries.remove(spare.unwrap_or(0));
        if let (None, Some(Entry { id, .. })) = (spare, gone) {
            tracing::debug!("event {}/{}: given up for newer ones", id.namespace, id.name);
        }
    }

    /// The time of the next write; `None` if there is nothing to write.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.due).min()
    }

    /// Returns a write that is due, the one that has waited longest. It counts as written from now on.
    pub(super) fn due(&mut self, now: Instant) -> Option<Write> {
        let due = self.entries.iter_mut().filter(|entry| entry.due.is_some_and(|due| due <= now));
        let entry = due.min_by_key(|entry| entry.due)?;
        let (id, at) = (entry.id.clone(), entry.at);
        let write = match entry.stage {
            // If the event has happened again meanwhile, its series is written next.
            Stage::New => {
                entry.due = (entry.count > 1).then_some(now);
                Write::Create { id, event: entry.event.clone(), at }
            }
            Stage::Written(_) => {
                entry.due = None;
                Write::Patch { id, count: entry.count, at }
            }
        };
        entry.stage = Stage::Written(now);
        Some(write)
    }

    /// Records that the object was written.
    pub(super) fn succeeded(&mut self, id: &Id) {
        if let Some(entry) = self.entry(id) {
            entry.failing = None;
        }
    }

    /// Records that a write failed but may succeed later. Returns false if it has failed for too long. Other writes
    /// that are due go first.
    pub(super) fn postpone(&mut self, write: &Write, now: Instant) -> bool {
        let Some(entry) = self.entry(write.id()) else { return false };
        let since = *entry.failing.get_or_insert(now);
        if now.saturating_duration_since(since) >= PERSISTENCE {
            return false;
        }
        entry.due = Some(now);
        if let Write::Create { .. } = write {
            entry.stage = Stage::New;
        }
        true
    }

    fn entry(&mut self, id: &Id) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == *id)
    }

    /// Drops an event that could not be written. The next equal event begins a new object.
    pub(super) fn forget(&mut self, id: &Id) {
        self.entries.retain(|entry| entry.id != *id);
    }

    /// Begins a new object for an event whose object is gone. The API server deletes events after an hour.
    pub(super) fn gone(&mut self, id: &Id, now: Instant) {
        if let Some(entry) = self.entry(id) {
            entry.id = Id::new(&entry.event.regarding, entry.at);
            entry.count = 1;
            entry.stage = Stage::New;
            entry.due = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proxier::model::ServiceName;

    use super::*;
    use crate::events::{Kind, Regarding};

    const SECOND: Duration = Duration::from_secs(1);

    fn told(note: &str, second: u32) -> Notification {
        let event = Event {
            kind: Kind::Warning,
            reason: "Trouble",
            action: "Try",
            regarding: Regarding::Service(ServiceName::new("shop", "web")),
            note: note.to_owned(),
        };
        Notification { event, at: UNIX_EPOCH + SECOND * second }
    }

    /// The writes that are due at this time, as short texts.
    fn writes(series: &mut Series, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| series.due(now))
            .map(|write| match write {
                Write::Create { event, .. } => format!("create {}", event.note),
                Write::Patch { count, .. } => format!("count {count}"),
            })
            .collect()
    }

    #[test]
    fn different_events_are_different_objects() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        series.note(told("b", 2), now);
        assert_eq!(writes(&mut series, now), ["create a", "create b"]);
        assert_eq!(series.next_due(), None);
    }

    #[test]
    fn an_event_that_repeats_is_patched_at_once_and_then_now_and_then() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        assert_eq!(writes(&mut series, now), ["create a"]);
        series.note(told("a", 2), now + SECOND);
        assert_eq!(writes(&mut series, now + SECOND), ["count 2"]);
        for second in 2..8 {
            series.note(told("a", second), now + SECOND * second);
            assert!(writes(&mut series, now + SECOND * second).is_empty());
        }
        assert_eq!(series.next_due(), Some(now + SECOND + MIN_PATCH_INTERVAL));
        assert_eq!(writes(&mut series, now + SECOND + MIN_PATCH_INTERVAL), ["count 8"]);
    }

    #[test]
    fn one_that_repeats_before_it_is_written_is_created_and_patched() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        series.note(told("a", 2), now);
        assert_eq!(writes(&mut series, now), ["create a", "count 2"]);
    }

    #[test]
    fn one_that_is_long_past_or_could_not_be_written_begins_anew() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        assert_eq!(writes(&mut series, now), ["create a"]);
        series.note(told("a", 400), now + FINISHED);
        let write = series.due(now + FINISHED).unwrap();
        assert!(matches!(write, Write::Create { .. }));
        series.forget(write.id());
        series.note(told("a", 401), now + FINISHED + SECOND);
        assert_eq!(writes(&mut series, now + FINISHED + SECOND), ["create a"]);
    }

    #[test]
    fn one_whose_object_is_gone_gets_another() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        let first = series.due(now).unwrap();
        series.note(told("a", 2), now);
        let patch = series.due(now).unwrap();
        assert_eq!(patch.id(), first.id());
        series.gone(patch.id(), now);
        let second = series.due(now).unwrap();
        assert!(matches!(second, Write::Create { .. }));
        assert_ne!(second.id(), first.id());
    }

    #[test]
    fn one_that_cannot_be_written_is_tried_again_for_minutes_and_lets_others_go_first() {
        let (mut series, begin) = (Series::default(), Instant::now());
        series.note(told("a", 1), begin);
        let mut now = begin;
        while now < begin + PERSISTENCE {
            let write = series.due(now).unwrap();
            assert!(matches!(write, Write::Create { .. }));
            assert!(series.postpone(&write, now), "{:?}", now - begin);
            now += SECOND * 10;
        }
        series.note(told("b", 2), now - SECOND * 20);
        assert_eq!(writes(&mut series, now), ["create b", "create a"]);
        let a = Id::new(&told("a", 1).event.regarding, told("a", 1).at);
        let write = Write::Patch { id: a, count: 2, at: UNIX_EPOCH };
        assert!(!series.postpone(&write, now));
        assert_eq!(series.next_due(), None);
    }

    #[test]
    fn a_failure_that_passed_does_not_count_for_the_next_one() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("a", 1), now);
        let write = series.due(now).unwrap();
        assert!(series.postpone(&write, now));
        series.note(told("a", 2), now);
        let write = series.due(now).unwrap();
        series.succeeded(write.id());
        let patch = series.due(now).unwrap();
        assert!(matches!(patch, Write::Patch { count: 2, .. }));
        assert!(series.postpone(&patch, now + PERSISTENCE));
        assert_eq!(writes(&mut series, now + PERSISTENCE), ["count 2"]);
    }

    #[test]
    fn what_waits_is_kept_rather_than_what_is_written() {
        let (mut series, now) = (Series::default(), Instant::now());
        series.note(told("waits", 1), now);
        for second in 2..=512 {
            series.note(told(&second.to_string(), second), now);
        }
        let first = series.due(now).unwrap();
        let second = series.due(now).unwrap();
        assert!(series.postpone(&first, now) && first.id() != second.id());
        series.note(told("more", 999), now);
        assert_eq!(series.entries.len(), MAX_REMEMBERED_EVENTS);
        assert!(series.entry(first.id()).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut series, now) = (Series::default(), Instant::now());
        for number in 0..MAX_REMEMBERED_EVENTS + 10 {
            series.note(told(&number.to_string(), 1), now);
        }
        assert_eq!(series.entries.len(), MAX_REMEMBERED_EVENTS);
    }
}
