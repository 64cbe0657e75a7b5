//! Computes how long to wait before the next try.
//!
//! Takes failures and the time since the last one. Returns pauses that double from the first to the
//! longest. Each pause is stretched by a random part, so that a thousand nodes do not return at the
//! same moment. Does not read the clock and does not sleep: the caller does.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pauses between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause, before it is stretched.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Retry {
    /// Returns 800 ms to 30 s, the pauses of client-go's reflector.
    fn default() -> Self {
        Self { first: Duration::from_millis(800), longest: Duration::from_secs(30) }
    }
}

/// The state of one sequence of tries.
pub(crate) struct Backoff {
    retry: Retry,
    pause: Duration,
}

impl Backoff {
    /// Starts with the first pause.
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, pause: retry.first }
    }

    /// Returns the pause after one more failure, when the last one was `quiet` ago. It is a random
    /// time between the present pause and its double. A list alone does not reset the pauses: else
    /// a server that gives lists but no watches would be asked for lists without end.
    pub(crate) fn next(&mut self, quiet: Duration) -> Duration {
        if quiet > self.retry.longest.saturating_mul(2) {
            self.reset();
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(self.retry.longest);
        pause.saturating_add(pause.mul_f64(random())).min(self.retry.longest)
    }

    /// Starts again with the first pause, after a watch brought a change or a write was answered.
    pub(crate) fn reset(&mut self) {
        self.pause = self.retry.first;
    }
}

/// Returns how long a watch may last before the server ends it: 5 to 10 minutes, as in client-go.
/// The time is random, so that watches begun together do not end together.
pub(super) fn watch_timeout() -> Duration {
    Duration::from_secs(300) + Duration::from_secs(300).mul_f64(random())
}

/// Returns a number from 0 to 1. It comes from the random seed that the standard library draws for
/// hash maps.
pub(crate) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, Retry, random, watch_timeout};

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        let mut backoff = Backoff::new(retry);
        for length in [1, 2, 4, 8] {
            let pause = backoff.next(Duration::ZERO);
            assert!(pause >= Duration::from_secs(length), "{pause:?}");
            assert!(pause <= Duration::from_secs((2 * length).min(10)), "{pause:?}");
        }
        for _ in 0..200 {
            assert_eq!(backoff.next(Duration::ZERO), Duration::from_secs(10));
        }
        backoff.reset();
        assert!(backoff.next(Duration::ZERO) <= Duration::from_secs(2));
        assert!(backoff.next(Duration::from_secs(21)) <= Duration::from_secs(2));
    }

    #[test]
    fn chance_stays_in_its_range() {
        for _ in 0..1000 {
            assert!((0.0..=1.0).contains(&random()));
            let timeout = watch_timeout().as_secs();
            assert!((300..=600).contains(&timeout), "{timeout}");
        }
    }
}
