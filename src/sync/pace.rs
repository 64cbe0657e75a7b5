//! Decides when to run the next round.
//!
//! Takes whether changes are pending, the result of the last round, and the time. Returns the
//! instant of the next round. Does not read the clock.
//!
//! A single change is applied at once; further ones wait for the minimum period (spec 8.1). The
//! core says when to retry what the kernel has refused. A kernel whose state is unknown is read
//! again with growing delays instead of in the next period.

use std::time::{Duration, Instant};

/// The configured periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// The shortest time between the end of a round and the next one (`ipvs.minSyncPeriod`).
    pub min: Duration,
    /// The longest time between two comparisons with the real kernel (`ipvs.syncPeriod`).
    pub max: Duration,
}

/// The first delay before the kernel is read again.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// The longest time that changes wait while the kernel state is unknown. Every round then reads the
/// whole kernel.
const DOUBTFUL_WAIT: Duration = Duration::from_secs(1);

/// The time from the first comparison that found changes of other programs to the next comparison.
const AFTER_INTERFERENCE: Duration = Duration::from_secs(2);

/// The time between two counts of the connections of draining destinations.
const DRAIN_PERIOD: Duration = Duration::from_secs(5);

/// The state of the pacing.
#[derive(Clone, Debug)]
pub struct Pace {
    periods: Periods,
    last_end: Option<Instant>,
    last_audit: Option<Instant>,
    last_count: Option<Instant>,
    /// The number of rounds in a row after which the kernel state was unknown.
    doubts: u32,
    /// The number of comparisons in a row that found changes of other programs.
    interferences: u32,
    next_retry: Option<Instant>,
    draining: bool,
    drain_ends: Option<Instant>,
}

/// The result of a round, as far as it matters for the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundResult {
    /// The end of the round.
    pub at: Instant,
    /// True if the round compared everything with the real kernel.
    pub audited: bool,
    /// True if the round found that other programs had changed the kernel.
    pub interfered: bool,
    /// True if the round counted the connections of all draining destinations.
    pub counted: bool,
    /// True if the kernel state is unknown.
    pub needs_full_reading: bool,
    /// The time of the first retry of something that failed.
    pub next_retry: Option<Instant>,
    /// True if destinations are draining.
    pub draining: bool,
    /// The time at which the first of them is removed, if there is a limit.
    pub drain_ends: Option<Instant>,
}

impl Pace {
    /// Starts before the first round.
    pub fn new(periods: Periods) -> Self {
        Self {
            periods,
            last_end: None,
            last_audit: None,
            last_count: None,
            doubts: 0,
            interferences: 0,
            next_retry: None,
            draining: false,
            drain_ends: None,
        }
    }

    /// Returns the time of the next round; one in the past means now. `dirty` says that facts are
    /// waiting, `reading` that the kernel is being read for a comparison.
    pub fn next(&self, dirty: bool, reading: bool, now: Instant) -> Instant {
        let Some(last_end) = self.last_end else { return now };
        let earliest = last_end + self.periods.min;
        let mut due =
            if reading { now } else { self.last_audit.unwrap_or(last_end) } + self.audit_period();
        if dirty {
            let needs_full_reading = self.doubts > 0;
            due = due.min(if needs_full_reading { last_end + DOUBTFUL_WAIT } else { now });
        }
        if self.draining {
            due = due.min(self.last_count.unwrap_or(last_end) + DRAIN_PERIOD);
        }
        if self.doubts == 0 {
            let instants = [self.drain_ends, self.next_retry];
            due = instants.into_iter().flatten().fold(due, Instant::min);
        } else {
            due = due.min(last_end + self.reading_delay());
        }
        due.max(earliest)
    }

    /// True if a round that runs now should compare everything with the real kernel.
    pub fn audit_is_due(&self, now: Instant) -> bool {
        self.last_audit.is_none_or(|last| now >= last + self.audit_period())
    }

    /// True if a round that runs now should count the connections of draining destinations.
    pub fn count_is_due(&self, now: Instant) -> bool {
        self.draining && self.last_count.is_none_or(|last| now >= last + DRAIN_PERIOD)
    }

    /// Takes the result of a round.
    pub fn ended(&mut self, ended: RoundResult) {
        self.last_end = Some(ended.at);
        if ended.audited {
            self.last_audit = Some(ended.at);
            self.interferences =
                if ended.interfered { self.interferences.saturating_add(1) } else { 0 };
        }
        if ended.counted || ended.audited || !self.draining {
            self.last_count = Some(ended.at);
        }
        self.doubts = if ended.needs_full_reading { self.doubts.saturating_add(1) } else { 0 };
        self.next_retry = ended.next_retry;
        self.draining = ended.draining;
        self.drain_ends = ended.drain_ends;
    }

    /// Returns the time between two comparisons with the real kernel. A program that has changed the
    /// kernel may continue, and most of its changes give no notice. So the next comparison comes
    /// early. After each one that finds changes the time doubles.
    fn audit_period(&self) -> Duration {
        match self.interferences.checked_sub(1) {
            None => self.periods.max,
            Some(doublings) => {
                (AFTER_INTERFERENCE * 2u32.pow(doublings.min(16))).min(self.periods.max)
            }
        }
    }

    fn reading_delay(&self) -> Duration {
        let doublings = self.doubts.saturating_sub(1).min(16);
        (FIRST_RETRY * 2u32.pow(doublings)).min(self.periods.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(needs_full_reading: bool, draining: bool) -> (Pace, Instant) {
        let start = Instant::now();
        let mut pace = Pace::new(Periods { min: SECOND, max: SECOND * 30 });
        assert_eq!(pace.next(false, false, start), start);
        pace.ended(RoundResult {
            at: start,
            audited: true,
            interfered: false,
            counted: false,
            needs_full_reading,
            next_retry: None,
            draining,
            drain_ends: None,
        });
        (pace, start)
    }

    #[test]
    fn a_lone_change_runs_at_once_and_a_second_one_waits_out_the_minimum() {
        let (pace, start) = after(false, false);
        let later = start + SECOND * 10;
        assert_eq!(pace.next(true, false, later), later);
        assert_eq!(pace.next(true, false, start), start + SECOND);
    }

    #[test]
    fn an_idle_proxy_runs_every_sync_period() {
        let (pace, start) = after(false, false);
        assert_eq!(pace.next(false, false, start), start + SECOND * 30);
        assert!(!pace.audit_is_due(start + SECOND * 29));
        assert!(pace.audit_is_due(start + SECOND * 30));
    }

    #[test]
    fn a_kernel_in_doubt_is_read_again_with_growing_delays() {
        let (mut pace, start) = after(true, false);
        assert_eq!(pace.next(false, false, start), start + SECOND);
        for _ in 0..4 {
            pace.ended(RoundResult {
                at: start,
                audited: true,
                interfered: false,
                counted: false,
                needs_full_reading: true,
                next_retry: None,
                draining: false,
                drain_ends: None,
            });
        }
        assert_eq!(pace.next(false, false, start), start + SECOND * 4);
    }

    #[test]
    fn while_the_kernel_is_in_doubt_changes_wait_a_moment_but_not_for_the_next_reading() {
        let (mut pace, start) = after(true, false);
        for _ in 0..8 {
            let ended = RoundResult {
                at: start,
                audited: true,
                interfered: false,
                counted: false,
                needs_full_reading: true,
                next_retry: None,
                draining: false,
                drain_ends: None,
            };
            pace.ended(ended);
        }
        assert_eq!(pace.next(false, false, start), start + SECOND * 30);
        assert_eq!(pace.next(true, false, start), start + DOUBTFUL_WAIT);
    }

    #[test]
    fn what_is_refused_is_tried_again_in_its_time_and_keeps_no_change_waiting() {
        let (mut pace, start) = after(false, false);
        pace.ended(RoundResult {
            at: start,
            audited: false,
            interfered: false,
            counted: false,
            needs_full_reading: false,
            next_retry: Some(start + SECOND * 8),
            draining: false,
            drain_ends: None,
        });
        assert_eq!(pace.next(false, false, start), start + SECOND * 8);
        assert_eq!(pace.next(true, false, start), start + SECOND);
        let later = start + SECOND * 5;
        assert_eq!(pace.next(true, false, later), later);
    }

    #[test]
    fn draining_destinations_are_looked_at_again() {
        let (pace, start) = after(false, true);
        assert_eq!(pace.next(false, false, start), start + DRAIN_PERIOD);
    }

    #[test]
    fn a_destination_goes_when_its_time_is_up() {
        let (mut pace, start) = after(false, true);
        let drain_ends = Some(start + SECOND * 2);
        pace.ended(RoundResult {
            at: start,
            audited: false,
            interfered: false,
            counted: true,
            needs_full_reading: false,
            next_retry: None,
            draining: true,
            drain_ends,
        });
        assert_eq!(pace.next(false, false, start), start + SECOND * 2);
    }

    #[test]
    fn rounds_for_changes_do_not_put_off_the_audit() {
        let (mut pace, start) = after(false, false);
        let at = start + SECOND * 20;
        pace.ended(RoundResult {
            at,
            audited: false,
            interfered: false,
            counted: false,
            needs_full_reading: false,
            next_retry: None,
            draining: false,
            drain_ends: None,
        });
        assert_eq!(pace.next(false, false, at), start + SECOND * 30);
    }

    #[test]
    fn after_changes_of_others_comparisons_come_early_until_one_finds_nothing() {
        let (mut pace, start) = after(false, false);
        let ended = |interfered| RoundResult {
            at: start,
            audited: true,
            interfered,
            counted: false,
            needs_full_reading: false,
            next_retry: None,
            draining: false,
            drain_ends: None,
        };
        for seconds in [2, 4, 8, 16, 30, 30] {
            pace.ended(ended(true));
            assert_eq!(pace.next(false, false, start), start + SECOND * seconds);
            assert!(pace.audit_is_due(start + SECOND * seconds));
            assert!(!pace.audit_is_due(start + SECOND * (seconds - 1)));
        }
        // A round that does not compare everything does not tell whether others have changed the kernel.
        pace.ended(RoundResult { audited: false, ..ended(false) });
        pace.ended(ended(false));
        assert_eq!(pace.next(false, false, start), start + SECOND * 30);
    }
}
