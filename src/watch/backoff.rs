//! How long to wait before the next try.
//!
//! In: failures, and how long all was well between them. Out: pauses that double from the first to
//! the longest, each stretched by a random part, so that a thousand nodes do not return at one
//! moment. Never: a clock; the caller measures and sleeps.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pauses between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first pause, before it is stretched.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Default for Retry {
    /// 800 ms to 30 s, client-go's reflector's.
    fn default() -> Self {
        Self { first: Duration::from_millis(800), longest: Duration::from_secs(30) }
    }
}

/// The pauses of one who tries.
pub(crate) struct Backoff {
    retry: Retry,
    pause: Duration,
}

impl Backoff {
    /// Before the first failure.
    pub(crate) fn new(retry: Retry) -> Self {
        Self { retry, pause: retry.first }
    }

    /// The pause after one more failure, when the last one was `quiet` ago: a random one from the
    /// present length to its double. A list alone is no success that starts them anew, or a server
    /// that gives lists but no watches would be asked for lists without end.
    pub(crate) fn next(&mut self, quiet: Duration) -> Duration {
        if quiet > self.retry.longest.saturating_mul(2) {
            self.reset();
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(self.retry.longest);
        pause.saturating_add(pause.mul_f64(random())).min(self.retry.longest)
    }

    /// After a change that a watch brought, or an answer to a write.
    pub(crate) fn reset(&mut self) {
        self.pause = self.retry.first;
    }
}

/// How long a watch may last before the server ends it: 5 to 10 minutes, as client-go asks for,
/// random, so that watches begun together do not end together.
pub(super) fn watch_timeout() -> Duration {
    Duration::from_secs(300) + Duration::from_secs(300).mul_f64(random())
}

/// A number from 0 to 1, from the seed that the standard library draws for every hash map.
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
