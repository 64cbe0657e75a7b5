//! The connections of one server, and which of them gives way where there are too many.
//!
//! In: conversations, each of which says whether a request is open. Out: room for one more: of those
//! that are at rest, the one that has been so longest ends; where all are busy, whoever comes waits. Never:
//! the end of a connection that waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// So long a connection is at rest before it gives way: a request may be on its way on it.
const GRACE: Duration = Duration::from_millis(100);

/// How often it is looked whether one of so many has come to rest.
const LOOK: Duration = Duration::from_millis(20);

/// Instead of a time: a request is open.
const BUSY: u64 = u64::MAX;

/// What a conversation says of itself.
#[derive(Clone, Debug)]
pub(super) struct IdleGuard {
    epoch: Instant,
    /// Milliseconds after `epoch`.
    since: Arc<AtomicU64>,
}

impl IdleGuard {
    fn new(epoch: Instant) -> Self {
        let rest = Self { epoch, since: Arc::default() };
        rest.begins();
        rest
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    /// A request has come.
    pub(super) fn ends(&self) {
        self.since.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer is there.
    pub(super) fn begins(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// Since when, if it could give way.
    fn is_over_grace(&self) -> Option<u64> {
        let since = self.since.load(Ordering::Relaxed);
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or_default();
        (since != BUSY && since.saturating_add(grace) <= self.now()).then_some(since)
    }
}

#[derive(Debug)]
struct Open {
    task: AbortHandle,
    rest: IdleGuard,
}

/// At most so many. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    epoch: Instant,
    tasks: JoinSet<()>,
    open: Vec<Open>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { most, epoch: Instant::now(), tasks: JoinSet::new(), open: Vec::new() }
    }

    /// Begins a conversation; there must be room for it.
    pub(super) fn begin<C>(&mut self, serve_connection: impl FnOnce(IdleGuard) -> C)
    where
        C: Future<Output = ()> + Send + 'static,
    {
        let rest = IdleGuard::new(self.epoch);
        let task = self.tasks.spawn(serve_connection(rest.clone()));
        self.open.push(Open { task, rest });
    }

    /// Waits until one has ended; for ever if there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(_) => self.open.retain(|connection| !connection.task.is_finished()),
            None => std::future::pending().await,
        }
    }

    /// Waits until there is room for one more.
    pub(super) async fn room(&mut self) {
        while self.open.len() >= self.most && !self.give_way() {
            tokio::select! {
                () = self.ended() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether one at rest could be ended.
    fn give_way(&mut self) -> bool {
        let resting = self.open.iter().enumerate();
        let resting = resting.filter_map(|(at, open)| Some((open.rest.is_over_grace()?, at)));
        let Some((_, at)) = resting.min() else { return false };
        self.open.swap_remove(at).task.abort();
        true
    }
}
