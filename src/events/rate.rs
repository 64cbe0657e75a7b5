//! How fast events are written.
//!
//! In: the time, as an argument. Out: how long to wait before the next write. Never: a clock.

use std::time::{Duration, Instant};

/// So many may be written at once after a quiet time.
const BURST: u32 = 25;

/// Afterwards one in each such time.
const PERIOD: Duration = Duration::from_secs(1);

/// The state of the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// When the whole burst will be there again, if nothing more is written.
    full: Instant,
}

impl Rate {
    /// After a quiet time.
    pub(super) fn new(now: Instant) -> Self {
        Self { full: now }
    }

    /// Takes note of a write that will be done after the wait that is returned.
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
