//! What rounds came to, added up: one line a minute at most.
//!
//! Takes what each round changed and the time. Gives a sum when something has happened and none was given within a
//! minute: at once for the first, then at the end of each minute. Does not read the clock, and does not log.

use std::time::{Duration, Instant};

/// The least time between two sums.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// What one round, or several, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many rounds there were.
    pub(super) rounds: u64,
    /// How many changes the kernel has taken.
    pub(super) changed: usize,
    /// How many failures have begun.
    pub(super) failed: usize,
    /// The time of the longest round.
    pub(super) longest: Duration,
}

impl Sum {
    fn has_news(&self) -> bool {
        self.changed > 0 || self.failed > 0
    }
}

/// Sums that are given now and then.
#[derive(Debug, Default)]
pub(super) struct Summary {
    sum: Sum,
    given: Option<Instant>,
}

impl Summary {
    /// One more round, which ended now and took so long.
    pub(super) fn add(&mut self, changed: usize, failed: usize, took: Duration) {
        self.sum.rounds += 1;
        self.sum.changed += changed;
        self.sum.failed += failed;
        self.sum.longest = self.sum.longest.max(took);
    }

    /// When the next sum may be given; `None` while nothing has happened that is worth one.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let earliest = self.given.map_or(now, |given| given + INTERVAL);
        self.sum.has_news().then_some(earliest)
    }

    /// The sum, if one is due. It begins anew then.
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
