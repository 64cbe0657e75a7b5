//! Limits the rate at which events are written.
//!
//! Takes the time as an argument. Returns how long to wait before the next write. Does not read the clock.

use std::time::{Duration, Instant};

/// The number of events that may be written at once after a quiet time.
const BURST: u32 = 25;

/// The interval of further events after a burst.
const PERIOD: Duration = Duration::from_secs(1);

/// The state of the limit, a token bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// The time when the whole burst is available again, if nothing more is written.
    full: Instant,
}

impl Rate {
    /// Creates the state after a quiet time, with the whole burst available.
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Counts a write, and returns how long to wait before it.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.full = self.full.max(now) + PERIOD;
        self.full.saturating_duration_since(now + PERIOD * BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_the_rest_comes_evenly() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        for _ in 0..BURST {
            assert_eq!(rate.wait(now), Duration::ZERO);
        }
        assert_eq!(rate.wait(now), PERIOD);
        assert_eq!(rate.wait(now + PERIOD), PERIOD);
        let later = now + PERIOD * 1000;
        for _ in 0..BURST {
            assert_eq!(rate.wait(later), Duration::ZERO);
        }
        assert_eq!(rate.wait(later), PERIOD);
    }
}
