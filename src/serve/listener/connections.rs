//! Keeps the connections of one server, and ends idle ones when there are too many.
//!
//! Takes connections, each of which reports whether a request is open. Makes room for another connection by ending the
//! one that has been idle for the longest time. If none is idle, the new one waits. Does not end a connection that
//! waits for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// The time for which a connection must be idle before it may be ended. A request may be on its way on it.
const GRACE: Duration = Duration::from_millis(100);

/// The interval of checks whether a connection has become idle.
const LOOK: Duration = Duration::from_millis(20);

/// The value of `since` while a request is open.
const BUSY: u64 = u64::MAX;

/// The idle time of a connection, which the connection itself updates.
#[derive(Clone, Debug)]
pub(super) struct IdleGuard {
    epoch: Instant,
    /// The beginning of the idle time in milliseconds after `epoch`, or [`BUSY`].
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

    /// Records that a request has come.
    pub(super) fn ends(&self) {
        self.since.store(BUSY, Ordering::Relaxed);
    }

    /// Records that the request has been answered.
    pub(super) fn begins(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// Returns since when the connection has been idle, if it has been so for longer than [`GRACE`].
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

/// A limited number of connections. They end when this is dropped.
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

    /// Starts a connection. There must be room for it.
    pub(super) fn begin<C>(&mut self, serve_connection: impl FnOnce(IdleGuard) -> C)
    where
        C: Future<Output = ()> + Send + 'static,
    {
        let rest = IdleGuard::new(self.epoch);
        let task = self.tasks.spawn(serve_connection(rest.clone()));
        self.open.push(Open { task, rest });
    }

    /// Waits until a connection has ended; for ever if there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(_) => self.open.retain(|connection| !connection.task.is_finished()),
            None => std::future::pending().await,
        }
    }

    /// Waits until there is room for another connection, and ends an idle one if needed.
    pub(super) async fn room(&mut self) {
        while self.open.len() >= self.most && !self.give_way() {
            tokio::select! {
                () = self.ended() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Ends the connection that has been idle for the longest time. Returns false if none is idle.
    fn give_way(&mut self) -> bool {
        let resting = self.open.iter().enumerate();
        let resting = resting.filter_map(|(at, open)| Some((open.rest.is_over_grace()?, at)));
        let Some((_, at)) = resting.min() else { return false };
        self.open.swap_remove(at).task.abort();
        true
    }
}
