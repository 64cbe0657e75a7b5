//! Tells the operator of conditions that last, such as failures and lost contact: when one begins, while it lasts and
//! when it is over.
//!
//! Other parts of the proxy report when a condition begins and ends ([`Lasting::begin`], [`Lasting::end`]). Writes
//! one log line for each of both, and one every ten minutes for each condition that lasts ([`Lasting::remind`]). Does
//! not interpret conditions. Apart from these public methods, takes the time as an argument.

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

/// The most failures in the kernel that one round logs; others are only counted. One cause, such as a missing module, can
/// make every change fail. Conditions of other areas are all logged, as each has to be mended by itself.
const MOST_OF_KERNEL: usize = 20;

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

    /// Logs that a condition of this area begins.
    fn log(self, line: &str) {
        match self {
            Self::Kernel => tracing::error!("{line}"),
            Self::Source | Self::Ports | Self::Objects => tracing::warn!("{line}"),
        }
    }
}

/// A condition as the part of the proxy describes it that has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The identity of the condition within its area.
    pub key: String,
    /// The cause as far as it is compared: a condition is logged again when it changes, and not when only `text` does.
    pub cause: String,
    /// The log line, which names the object and what fails.
    pub text: String,
}

/// The conditions that hold at present. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lasting(Arc<Mutex<Conditions>>);

impl Lasting {
    /// Records that a condition holds. `key` identifies it within its area. Logs `text` if the condition is new or its
    /// text has changed, and returns true then.
    pub fn begin(&self, area: Area, key: impl Into<String>, text: impl Into<String>) -> bool {
        let text = text.into();
        let condition = Condition { key: key.into(), cause: text.clone(), text };
        self.begin_all(area, [condition]) > 0
    }

    /// Records that conditions hold. Logs those that are new or whose cause has changed, and returns their number.
    pub fn begin_all(&self, area: Area, conditions: impl IntoIterator<Item = Condition>) -> usize {
        let now = Instant::now();
        let mut known = self.conditions();
        let conditions = conditions.into_iter();
        let news: Vec<_> = conditions.filter_map(|it| known.begin(area, it, now)).collect();
        // A log that blocks must not make other threads wait for the lock.
        drop(known);
        log_some(area, &news, "begin", |line| area.log(line));
        news.len()
    }

    /// Records that a condition is over, and logs it with the time that it lasted. Has no effect if it did not hold.
    pub fn end(&self, area: Area, key: &str) {
        self.end_all(area, [key]);
    }

    /// Records that conditions are over, and logs each with the time that it lasted.
    pub fn end_all<'a>(&self, area: Area, keys: impl IntoIterator<Item = &'a str>) {
        let now = Instant::now();
        let mut known = self.conditions();
        let over: Vec<_> = keys.into_iter().filter_map(|key| known.end(area, key, now)).collect();
        drop(known);
        log_some(area, &over, "are over", |line| tracing::info!("{line}"));
    }

    /// Returns the keys of the conditions of this area that hold at present.
    pub fn keys(&self, area: Area) -> Vec<String> {
        let conditions = self.conditions();
        conditions.0.get(&area).map(|area| area.held.keys().cloned().collect()).unwrap_or_default()
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

/// Logs the first lines, and the number of the others.
fn log_some(area: Area, lines: &[String], what: &str, log: impl Fn(&str)) {
    let most = if area == Area::Kernel { MOST_OF_KERNEL } else { usize::MAX };
    lines.iter().take(most).for_each(|line| log(line));
    if let Some(more @ 1..) = lines.len().checked_sub(most) {
        log(&format!("{more} more {} {what}", area.name()));
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
    cause: String,
    text: String,
    since: Instant,
}

impl Conditions {
    /// Returns the line to log, if the condition is new or its cause has changed.
    fn begin(&mut self, area: Area, condition: Condition, now: Instant) -> Option<String> {
        let Condition { key, cause, text } = condition;
        let held = &mut self.0.entry(area).or_default().held;
        match held.get_mut(&key) {
            Some(known) => {
                let has_changed = known.cause != cause;
                (known.cause, known.text) = (cause, text);
                has_changed.then(|| known.text.clone())
            }
            None => {
                held.insert(key, Held { cause, text: text.clone(), since: now });
                Some(text)
            }
        }
    }

    /// Returns the line to log, if the condition held.
    fn end(&mut self, area: Area, key: &str, now: Instant) -> Option<String> {
        let held = self.0.get_mut(&area)?.held.remove(key)?;
        let seconds = now.saturating_duration_since(held.since).as_secs();
        Some(format!("over after {seconds} s: {}", held.text))
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

    /// Begins a condition whose cause is its text.
    fn begin_one(
        conditions: &mut Conditions,
        area: Area,
        key: &str,
        text: &str,
        now: Instant,
    ) -> Option<String> {
        let (key, cause, text) = (key.to_owned(), text.to_owned(), text.to_owned());
        conditions.begin(area, Condition { key, cause, text }, now)
    }

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
        assert!(
            begin_one(&mut conditions, Area::Source, "a", "API server h: refused", begin).is_some()
        );
        let line = |minutes: u64| {
            (minutes, vec![format!("still, for {minutes} min: API server h: refused")])
        };
        assert_eq!(told(&mut conditions, begin, 25), [line(10), line(20)]);
        let later = begin + Duration::from_secs(1500);
        let over = conditions.end(Area::Source, "a", later).unwrap();
        assert_eq!(over, "over after 1500 s: API server h: refused");
        assert_eq!(conditions.end(Area::Source, "a", later), None);
        assert_eq!(told(&mut conditions, later, 60), []);
    }

    #[test]
    fn what_is_over_before_the_reminder_is_never_repeated_and_what_begins_anew_is_young() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        begin_one(&mut conditions, Area::Kernel, "a", "add a: no", begin);
        conditions.end(Area::Kernel, "a", begin);
        assert_eq!(told(&mut conditions, begin, 11), []);
        let again = begin + Duration::from_secs(660);
        begin_one(&mut conditions, Area::Kernel, "a", "add a: no", again);
        assert_eq!(told(&mut conditions, again, 9), []);
        assert_eq!(told(&mut conditions, again, 10).len(), 1);
    }

    #[test]
    fn another_text_under_the_same_key_is_the_same_condition() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        for minute in 0..10 {
            let now = begin + Duration::from_secs(60 * minute);
            let text = format!("add a: try {minute}");
            let condition = Condition { key: "a".into(), cause: "no".into(), text };
            assert_eq!(conditions.begin(Area::Kernel, condition, now).is_some(), minute == 0);
        }
        let lines = conditions.reminders(begin + INTERVAL);
        assert_eq!(lines, ["still, for 10 min: add a: try 9"]);
        let line = begin_one(&mut conditions, Area::Kernel, "a", "add a: locked", begin + INTERVAL);
        assert_eq!(line.as_deref(), Some("add a: locked"), "another cause is news");
    }

    #[test]
    fn a_reminder_names_all_of_its_area_that_is_not_quite_new_and_counts_what_is_too_much() {
        let (mut conditions, begin) = (Conditions::default(), Instant::now());
        let now = begin + INTERVAL;
        begin_one(&mut conditions, Area::Objects, "a", "a", begin);
        begin_one(&mut conditions, Area::Objects, "b", "b", now - YOUNGEST);
        begin_one(&mut conditions, Area::Objects, "c", "c", now - YOUNGEST / 2);
        begin_one(&mut conditions, Area::Source, "d", "d", begin);
        let wanted = ["still, for 10 min: d", "still, for 10 min: a", "still, for 1 min: b"];
        assert_eq!(conditions.reminders(now), wanted);
        for number in 0..MOST_NAMED + 3 {
            let key = format!("{number:02}");
            begin_one(&mut conditions, Area::Ports, &key, &key, begin);
        }
        let lines = conditions.reminders(now);
        assert_eq!(lines.len(), MOST_NAMED + 1);
        assert_eq!(lines.last().unwrap(), "still: 3 more ports that cannot be had");
    }
}
