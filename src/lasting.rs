//! Keeps the conditions that last, such as failures and lost contact, and reminds the operator of them.
//!
//! Other parts of the proxy report and log when a condition begins and ends ([`Lasting::begin`], [`Lasting::end`]).
//! Writes one log line every ten minutes for each condition that lasts ([`Lasting::remind`]). Does not interpret
//! conditions. Apart from these public methods, takes the time as an argument.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The interval of reminders.
const INTERVAL: Duration = Duration::from_secs(600);

/// The least age of a condition in a reminder. The log has just reported younger ones.
const YOUNGEST: Duration = Duration::from_secs(60);

/// The interval of checks whether a reminder is due.
const CHECK_PERIOD: Duration = Duration::from_secs(30);

/// The most conditions of one area that a reminder names; others are only counted.
const MOST_NAMED: usize = 10;

/// The subject of a condition. Reminders are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// The API server, or the folder of manifests.
    Source,
    /// Changes that the kernel refuses, and parts of it that cannot be read.
    Kernel,
    /// Ports of the proxy's own servers and of Services' health checks.
    Ports,
    /// Objects, or parts of them, that cannot be used.
    Objects,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "causes by which the source cannot be followed",
            Self::Kernel => "failures in the kernel",
            Self::Ports => "ports that cannot be had",
            Self::Objects => "objects that cannot be used as they are",
        }
    }
}

/// The conditions that hold at present. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lasting(Arc<Mutex<Conditions>>);

impl Lasting {
    /// Records that a condition holds. `key` identifies it within its area. If the key is known, only the text changes.
    pub fn begin(&self, area: Area, key: impl Into<String>, text: impl Into<String>) {
        self.conditions().begin(area, key.into(), text.into(), Instant::now());
    }

    /// Records that a condition is over. Has no effect if it did not hold.
    pub fn end(&self, area: Area, key: &str) {
        self.conditions().end(area, key);
    }

    /// Records that all conditions of this area are over.
    pub fn end_all(&self, area: Area) {
        self.conditions().0.remove(&area);
    }

    /// Returns the texts of all conditions that hold at present, in the order of areas and keys.
    pub fn texts(&self) -> Vec<String> {
        let conditions = self.conditions();
        let areas = conditions.0.values();
        areas.flat_map(|area| area.held.values().map(|held| held.text.clone())).collect()
    }

    /// Logs the conditions that last, every ten minutes, for ever.
    pub async fn remind(self) {
        loop {
            tokio::time::sleep(CHECK_PERIOD).await;
            let lines = self.conditions().reminders(Instant::now());
            for line in lines {
                tracing::warn!("{line}");
            }
        }
    }

    /// Locks the conditions. A panic of another thread cannot leave them inconsistent.
    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Conditions(BTreeMap<Area, AreaState>);

#[derive(Debug, Default)]
struct AreaState {
    /// Conditions by their keys.
    held: BTreeMap<String, Held>,
    reminded: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    text: String,
    since: Instant,
}

impl Conditions {
    fn begin(&mut self, area: Area, key: String, text: String, now: Instant) {
        let held = &mut self.0.entry(area).or_default().held;
        match held.get_mut(&key) {
            Some(known) => known.text = text,
            None => drop(held.insert(key, Held { text, since: now })),
        }
    }

    fn end(&mut self, area: Area, key: &str) {
        if let Some(area) = self.0.get_mut(&area) {
            area.held.remove(key);
        }
    }

    /// Returns the lines that are due now, and counts them as logged.
    fn reminders(&mut self, now: Instant) -> Vec<String> {
        self.0.iter_mut().flat_map(|(area, state)| state.reminders(*area, now)).collect()
    }
}

impl AreaState {
    fn reminders(&mut self, area: Area, now: Instant) -> Vec<String> {
        let age = |since: Instant| now.saturating_duration_since(since);
        let is_old = self.held.values().any(|held| age(held.since) >= INTERVAL);
        if !is_old || self.reminded.is_some_and(|at| age(at) < INTERVAL) {
            return Vec::new();
        }
        self.reminded = Some(now);
        let lasting = self.held.values().filter(|held| age(held.since) >= YOUNGEST);
        let (mut lines, mut unnamed) = (Vec::new(), 0);
        for held in lasting {
            if lines.len() == MOST_NAMED {
                unnamed += 1;
                continue;
            }
            lines.push(format!("still, for {} min: {}", age(held.since).as_secs() / 60, held.text));
        }
        if unnamed > 0 {
            lines.push(format!("still: {unnamed} more {}", area.name()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minutes after `begin` at which lines are due, with a check every half minute.
    fn told(conditions: &mut Conditions, begin: Instant, minutes: u64) -> Vec<(u64, Vec<String>)> {
        let times =
            (0..=minutes * 2).map(|turn| begin + CHECK_PERIOD * u32::try_from(turn).unwrap());
        times
            .map(|now| ((now - begin).as_secs() / 60, conditions.reminders(now)))
            .filter(|(_, lines)| !lines.is_empty())
            .collect()
    }

    #[test]
    fn what_lasts_is_told_every_ten_minutes_with_its_age_until_it_is_over() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        conditions.begin(Area::Source, "a".into(), "API server h: refused".into(), begin);
        let line = |minutes: u64| {
            (minutes, vec![format!("still, for {minutes} min: API server h: refused")])
        };
        assert_eq!(told(&mut conditions, begin, 25), [line(10), line(20)]);
        conditions.end(Area::Source, "a");
        let later = begin + Duration::from_secs(1500);
        assert_eq!(told(&mut conditions, later, 60), []);
    }

    #[test]
    fn what_is_over_before_the_reminder_is_never_repeated_and_what_begins_anew_is_young() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        conditions.begin(Area::Kernel, "a".into(), "add a: no".into(), begin);
        conditions.end(Area::Kernel, "a");
        assert_eq!(told(&mut conditions, begin, 11), []);
        let again = begin + Duration::from_secs(660);
        conditions.begin(Area::Kernel, "a".into(), "add a: no".into(), again);
        assert_eq!(told(&mut conditions, again, 9), []);
        assert_eq!(told(&mut conditions, again, 10).len(), 1);
    }

    #[test]
    fn another_text_under_the_same_key_is_the_same_condition() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        for minute in 0..10 {
            let now = begin + Duration::from_secs(60 * minute);
            conditions.begin(Area::Kernel, "a".into(), format!("add a: try {minute}"), now);
        }
        let lines = conditions.reminders(begin + INTERVAL);
        assert_eq!(lines, ["still, for 10 min: add a: try 9"]);
    }

    #[test]
    fn a_reminder_names_all_of_its_area_that_is_not_quite_new_and_counts_what_is_too_much() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        let now = begin + INTERVAL;
        conditions.begin(Area::Objects, "a".into(), "a".into(), begin);
        conditions.begin(Area::Objects, "b".into(), "b".into(), now - YOUNGEST);
        conditions.begin(Area::Objects, "c".into(), "c".into(), now - YOUNGEST / 2);
        conditions.begin(Area::Source, "d".into(), "d".into(), begin);
        let wanted = ["still, for 10 min: d", "still, for 10 min: a", "still, for 1 min: b"];
        assert_eq!(conditions.reminders(now), wanted);
        for number in 0..MOST_NAMED + 3 {
            conditions.begin(Area::Ports, format!("{number:02}"), format!("{number:02}"), begin);
        }
        let lines = conditions.reminders(now);
        assert_eq!(lines.len(), MOST_NAMED + 1);
        assert_eq!(lines.last().unwrap(), "still: 3 more ports that cannot be had");
    }
}
