//! Decides whether the proxy keeps up with its work.
//!
//! Takes the times when changes were queued and when rounds brought the kernel up to date. Returns whether each family
//! and the whole proxy are healthy. Reads the clock only in [`Moment::now`] and [`ProxyHealth::started`].
//!
//! Source: spec 10.1. A family is unhealthy while a change has waited for two sync periods. An idle family is healthy,
//! however long ago its last round was. The process is stuck if it has had work for that long and no part of a round
//! has ended. Only then it is not alive. A round that ends in failure does not count as stuck: it would fail again
//! after a restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use proxier::model::{Family, Node, PerFamily};

/// A point in time, on the clock for intervals and on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time for measuring intervals.
    pub steady: Instant,
    /// The time for operators.
    pub wall: SystemTime,
}

impl Moment {
    /// Returns the present.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }
}

/// The health of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyHealth {
    /// The time when a round last brought the family's kernel state up to date.
    pub last_updated: SystemTime,
    /// True if no change has waited for too long.
    pub is_healthy: bool,
}

/// The health of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthStatus {
    /// The health of each family; `None` before its first update.
    pub families: PerFamily<Option<FamilyHealth>>,
}

impl HealthStatus {
    /// True if no family is unhealthy. A family that has never been up to date does not count: upstream is healthy from
    /// its start (spec 10.1).
    pub fn is_healthy(&self) -> bool {
        let families = [self.families.v4, self.families.v6];
        families.iter().flatten().all(|family| family.is_healthy)
    }

    /// Returns the time of the latest update of any family.
    pub fn last_updated(&self) -> Option<SystemTime> {
        let families = [self.families.v4, self.families.v6];
        families.iter().flatten().map(|family| family.last_updated).max()
    }
}

/// The health state that the sync thread writes and the servers read.
#[derive(Debug)]
pub struct ProxyHealth {
    families: Vec<Family>,
    patience: Duration,
    states: Mutex<PerFamily<State>>,
    /// True if load balancers may send traffic to this node.
    is_eligible: AtomicBool,
    /// True once a round has ended in which a family was served.
    has_synced: AtomicBool,
    /// Since when there has been work without the end of a part of a round; `None` if there is no work.
    busy_since: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    last_updated: Option<SystemTime>,
    oldest_pending: Option<Instant>,
}

impl ProxyHealth {
    /// Creates the state. `families` are those that the proxy programs. A change that waits for two `sync_period`s has
    /// waited for too long.
    pub fn new(families: &PerFamily<bool>, sync_period: Duration) -> Self {
        let families = Family::BOTH.into_iter().filter(|family| *families.of(*family));
        let patience = sync_period.saturating_mul(2);
        Self {
            families: families.collect(),
            patience,
            states: Mutex::default(),
            is_eligible: AtomicBool::new(false),
            has_synced: AtomicBool::new(false),
            busy_since: Mutex::default(),
        }
    }

    /// Records the state of this node's Node. The last state stays when the Node is gone.
    pub fn saw_node(&self, node: &Node) {
        self.is_eligible.store(!node.is_leaving, Ordering::Relaxed);
    }

    /// Makes this node eligible without a Node.
    pub fn needs_no_node(&self) {
        self.is_eligible.store(true, Ordering::Relaxed);
    }

    /// True if load balancers may send traffic here: the Node is known, it is not being deleted, and the cluster
    /// autoscaler does not plan to remove it.
    pub fn is_node_eligible(&self) -> bool {
        self.is_eligible.load(Ordering::Relaxed)
    }

    /// Records that the proxy begins its work. It counts as an update (spec 8.3).
    pub fn started(&self) {
        let now = Moment::now();
        self.families.iter().for_each(|family| self.updated(*family, now));
    }

    /// Records that a round has ended in which a family was served.
    pub fn synced(&self) {
        self.has_synced.store(true, Ordering::Relaxed);
    }

    /// True once a round has ended in which a family was served.
    pub fn has_synced(&self) -> bool {
        self.has_synced.load(Ordering::Relaxed)
    }

    /// Records that a part of a round has ended, and that there is more to do.
    pub fn progressed(&self, now: Moment) {
        let mut since = self.busy_since();
        *since = since.map(|_| now.steady);
    }

    /// Records that a round has ended, successful or not.
    pub fn round_ended(&self) {
        *self.busy_since() = None;
    }

    /// True if there has been work for two sync periods, and no part of a round has ended.
    pub fn is_stuck(&self, now: Moment) -> bool {
        let since = *self.busy_since();
        since.is_some_and(|since| now.steady.saturating_duration_since(since) >= self.patience)
    }

    /// Records that a change waits for a round. The time of an earlier change that still waits is kept.
    pub fn queued(&self, now: Moment) {
        self.busy_since().get_or_insert(now.steady);
        let mut states = self.states();
        for family in &self.families {
            states.of_mut(*family).oldest_pending.get_or_insert(now.steady);
        }
    }

    /// Records that a round has brought a family up to date. Ignores a family that the proxy does not program.
    pub fn updated(&self, family: Family, now: Moment) {
        if self.families.contains(&family) {
            let state = State { last_updated: Some(now.wall), oldest_pending: None };
            *self.states().of_mut(family) = state;
        }
    }

    /// True if at least one of the programmed families is not blocked.
    pub fn serves(&self, blocked: &PerFamily<bool>) -> bool {
        self.families.iter().any(|family| !blocked.of(*family))
    }

    /// Returns the health of the proxy at this time.
    pub fn standing(&self, now: Moment) -> HealthStatus {
        let states = self.states();
        let families = PerFamily::from_fn(|family| {
            let state = states.of(family);
            let waited =
                state.oldest_pending.map(|since| now.steady.saturating_duration_since(since));
            state.last_updated.map(|last_updated| FamilyHealth {
                last_updated,
                is_healthy: waited.is_none_or(|waited| waited < self.patience),
            })
        });
        HealthStatus { families }
    }

    fn busy_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the states. A panic of another thread cannot leave them inconsistent.
    fn states(&self) -> MutexGuard<'_, PerFamily<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    /// A proxy for IPv4, and a function from seconds after the beginning to a [`Moment`].
    fn health() -> (ProxyHealth, impl Fn(u64) -> Moment) {
        let begin = Moment::now();
        let at = move |seconds| {
            let passed = Duration::from_secs(seconds);
            Moment { steady: begin.steady + passed, wall: begin.wall + passed }
        };
        (ProxyHealth::new(&PerFamily { v4: true, v6: false }, PERIOD), at)
    }

    fn is_healthy(health: &ProxyHealth, now: Moment) -> bool {
        health.standing(now).is_healthy()
    }

    #[test]
    fn it_is_healthy_from_the_start_and_has_not_been_updated() {
        let (health, at) = health();
        assert!(is_healthy(&health, at(0)));
        assert_eq!(health.standing(at(0)).last_updated(), None);
        health.queued(at(0));
        assert!(is_healthy(&health, at(1000)));
    }

    #[test]
    fn an_idle_proxy_stays_healthy() {
        let (health, at) = health();
        health.updated(Family::V4, at(0));
        assert!(is_healthy(&health, at(1_000_000)));
    }

    #[test]
    fn what_waits_for_two_periods_makes_it_unhealthy_until_the_next_update() {
        let (health, at) = health();
        health.updated(Family::V4, at(0));
        health.queued(at(10));
        assert!(is_healthy(&health, at(69)));
        assert!(!is_healthy(&health, at(70)));
        assert_eq!(health.standing(at(70)).last_updated(), Some(at(0).wall));
        health.updated(Family::V4, at(71));
        assert!(is_healthy(&health, at(1000)));
        assert_eq!(health.standing(at(1000)).last_updated(), Some(at(71).wall));
    }

    #[test]
    fn what_is_queued_later_does_not_renew_the_patience() {
        let (health, at) = health();
        health.updated(Family::V4, at(0));
        for second in 1..100 {
            health.queued(at(second));
        }
        assert!(is_healthy(&health, at(60)));
        assert!(!is_healthy(&health, at(61)));
    }

    #[test]
    fn a_family_that_is_blocked_makes_the_other_neither_unhealthy_nor_older() {
        let (_, at) = health();
        let health = ProxyHealth::new(&PerFamily { v4: true, v6: true }, PERIOD);
        Family::BOTH.iter().for_each(|family| health.updated(*family, at(0)));
        health.queued(at(10));
        health.updated(Family::V4, at(11));
        let PerFamily { v4, v6 } = health.standing(at(80)).families;
        let told = |seconds: u64, is_healthy| {
            Some(FamilyHealth { last_updated: at(seconds).wall, is_healthy })
        };
        assert_eq!((v4, v6), (told(11, true), told(0, false)));
        let blocked = PerFamily { v4: false, v6: true };
        assert!(health.serves(&blocked) && !health.serves(&PerFamily { v4: true, v6: true }));
    }

    #[test]
    fn it_is_stuck_only_while_no_part_of_a_round_ends_for_two_periods() {
        let (health, at) = health();
        assert!(!health.is_stuck(at(1000)));
        health.queued(at(0));
        health.queued(at(30));
        assert!(!health.is_stuck(at(59)));
        assert!(health.is_stuck(at(60)));
        health.progressed(at(60));
        assert!(!health.is_stuck(at(119)));
        assert!(health.is_stuck(at(120)));
        // No family has been brought up to date, which a restart would not change.
        health.round_ended();
        assert!(!health.is_stuck(at(1000)));
        health.progressed(at(1000));
        assert!(!health.is_stuck(at(2000)), "there is nothing to do");
    }

    #[test]
    fn only_families_that_are_programmed_are_told() {
        let (health, at) = health();
        health.updated(Family::V4, at(3));
        let standing = health.standing(at(4));
        let v4 = FamilyHealth { last_updated: at(3).wall, is_healthy: true };
        assert_eq!(standing.families, PerFamily { v4: Some(v4), v6: None });
    }
}
