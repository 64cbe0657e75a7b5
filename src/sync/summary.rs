//! Adds up the results of rounds, for one log line a minute.
//!
//! Takes what each round changed, and the time. Returns a sum when something has happened and the
//! last sum is at least a minute old. Does not read the clock. Does not log.

use std::time::{Duration, Instant};

/// The shortest time between two sums.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// The result of one round or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// The number of rounds.
    pub(super) rounds: u64,
    /// The number of changes that the kernel has accepted.
    pub(super) changed: usize,
    /// The number of failures that have begun.
    pub(super) failed: usize,
    /// The duration of the longest round.
    pub(super) longest: Duration,
}

impl Sum {
    fn has_news(&self) -> bool {
        self.changed > 0 || self.failed > 0
    }
}

/// The sum of the rounds since the last one was returned.
#[derive(Debug, Default)]
pub(super) struct Summary {
    sum: Sum,
    given: Option<Instant>,
}

impl Summary {
    /// Adds one round.
    pub(super) fn add(&mut self, changed: usize, failed: usize, took: Duration) {
        self.sum.rounds += 1;
        self.sum.changed += changed;
        self.sum.failed += failed;
        self.sum.longest = self.sum.longest.max(took);
    }

    /// Returns the time of the next sum; `None` if nothing has happened that is worth one.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let earliest = self.given.map_or(now, |given| given + INTERVAL);
        self.sum.has_news().then_some(earliest)
    }

    /// Returns the sum if it is due, and starts a new one.
    pub(super) fn take(&mut self, now: Instant) -> Option<Sum> {
        if self.next(now)? > now {
            return None;
        }
        self.given = Some(now);
        Some(std::mem::take(&mut self.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_first_round_is_told_at_once_and_a_crowd_of_them_once_a_minute() {
        let (mut summary, begin) = (Summary::default(), Instant::now());
        let mut told = Vec::new();
        for second in 0..150 {
            let now = begin + seconds(second);
            summary.add(2, usize::from(second == 30), seconds(second % 100));
            told.extend(summary.take(now).map(|sum| (second, sum)));
        }
        let sum = |rounds: u64, failed, longest| Sum {
            rounds,
            changed: usize::try_from(rounds).unwrap() * 2,
            failed,
            longest: seconds(longest),
        };
        assert_eq!(told, [(0, sum(1, 0, 0)), (60, sum(60, 1, 60)), (120, sum(60, 0, 99))]);
        assert_eq!(summary.next(begin + seconds(150)), Some(begin + seconds(180)));
        assert_eq!(summary.take(begin + seconds(180)).unwrap().rounds, 29);
    }

    #[test]
    fn rounds_without_a_change_or_a_new_failure_are_no_reason_for_a_line() {
        let (mut summary, begin) = (Summary::default(), Instant::now());
        for second in 0..1000 {
            summary.add(0, 0, seconds(1));
            let now = begin + seconds(second);
            assert_eq!((summary.next(now), summary.take(now)), (None, None));
        }
        summary.add(0, 1, seconds(1));
        let sum = summary.take(begin + seconds(1000)).unwrap();
        assert_eq!((sum.rounds, sum.failed), (1001, 1));
    }
}
