//! The sync thread: gathers events, runs rounds, says what came of them.
//!
//! In: a queue of events. Out: kernel changes, one log line a round in which anything happened, and
//! what others answer and tell ([`publish`]). Never: a round before the first lists are complete, a reply to a source.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use proxier::Proxier;
use proxier::apply::{Cause, Effort, Kernel, Outcome};
use proxier::diff::Observed;
use proxier::model::Event;
use tokio::sync::mpsc::Receiver;

use self::audit::Audit;
use self::pace::{Ended, Pace, Periods};
use self::publish::Publish;
use self::timed::Timed;

mod audit;
mod contested;
pub mod pace;
pub mod publish;
mod timed;

/// How many events may wait before their sources do.
pub const QUEUE: usize = 1024;

/// Why the sync thread ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel could not be prepared.
    #[error(transparent)]
    Unprepared(#[from] Cause),
    /// The thread's own timer could not be made.
    #[error("cannot start the sync thread's timer: {0}")]
    Timer(#[from] std::io::Error),
}

/// How much of a round is done before the queue is looked at: some 50 ms in a big cluster on a slow
/// machine.
const PIECE: Effort = Effort(2000);

/// Runs rounds until every source of events has gone. `read` reads the kernel in whole, as
/// [`Kernel::observe`] does, in a thread of its own.
///
/// # Errors
/// If the kernel cannot be prepared.
pub fn run<K: Kernel>(
    proxier: Proxier,
    kernel: K,
    read: impl FnMut() -> Result<Observed, Cause> + Send + 'static,
    events: Receiver<Event>,
    periods: Periods,
    mut publish: Publish,
) -> Result<(), Error> {
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let audit = Audit::start(read)?;
    let mut sync =
        Rounds { proxier, events, audit, pace: Pace::new(periods), report: Report::default() };
    let mut kernel = Timed::new(kernel);
    let mut prepared = false;
    loop {
        match timer.block_on(sync.gather(&mut publish)) {
            Gathered::More => continue,
            Gathered::Closed => return Ok(()),
            Gathered::Due => {}
        }
        if !prepared {
            sync.proxier.learn(&kernel.prepare()?);
            prepared = true;
        }
        if sync.begins_audit() {
            continue;
        }
        let outcome = sync.round(&mut kernel);
        publish.round(&sync.proxier, &outcome);
    }
}

enum Gathered {
    More,
    Due,
    Closed,
}

/// What the thread has in its hands.
struct Rounds {
    proxier: Proxier,
    events: Receiver<Event>,
    audit: Audit,
    pace: Pace,
    report: Report,
}

impl Rounds {
    /// Takes what has arrived, or waits for more until the next round is due.
    async fn gather(&mut self, publish: &mut Publish) -> Gathered {
        if let Ok(event) = self.events.try_recv() {
            self.proxier.fold(event);
            return Gathered::More;
        }
        let wait = self.wait(publish);
        // A timer of no length would still cost a tick of the clock.
        if wait.is_some_and(|wait| wait.is_zero()) {
            if let Some(found) = self.audit.try_end() {
                self.take_audit(found);
            }
            return Gathered::Due;
        }
        tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => {
                    self.proxier.fold(event);
                    Gathered::More
                }
                None => Gathered::Closed,
            },
            found = self.audit.end() => {
                self.take_audit(found);
                Gathered::Due
            }
            () = sleep(wait) => Gathered::Due,
        }
    }

    fn take_audit(&mut self, found: Result<Observed, Cause>) {
        match found {
            Ok(found) => self.proxier.end_audit(found),
            // The round reads for itself, and tells if that fails too.
            Err(_) => self.proxier.doubt(),
        }
    }

    /// How long there is nothing to do, unless something happens.
    fn wait(&self, publish: &mut Publish) -> Option<Duration> {
        if !self.proxier.is_complete() {
            return None;
        }
        let is_dirty = self.proxier.is_dirty();
        if is_dirty {
            publish.queued();
        }
        let now = Instant::now();
        let due = self.pace.next(is_dirty, self.audit.is_reading(), now);
        Some(due.saturating_duration_since(now))
    }

    /// Lets the kernel be read beside the rounds if that is due and nothing is in doubt.
    fn begins_audit(&mut self) -> bool {
        let is_due = self.pace.audit_is_due(Instant::now()) && !self.audit.is_reading();
        // What was read is still to be compared, or the round will read for itself.
        let is_in_hand = self.proxier.compares_everything() || self.proxier.is_dirty();
        let begins = is_due && !is_in_hand && self.proxier.begin_audit();
        if begins {
            self.audit.begin();
        }
        begins
    }

    /// A whole round, in pieces between which facts that arrive are taken in.
    fn round<K: Kernel>(&mut self, kernel: &mut Timed<K>) -> Outcome {
        let start = Instant::now();
        let audited = self.proxier.compares_everything();
        let counted = self.pace.count_is_due(start);
        if counted {
            self.proxier.look_at_draining();
        }
        let outcome = loop {
            if let Some(outcome) = self.proxier.step(kernel, start, PIECE) {
                break outcome;
            }
            while let Ok(event) = self.events.try_recv() {
                self.proxier.fold(event);
            }
        };
        let at = Instant::now();
        self.report.tell(&outcome, at - start, kernel.take_spent());
        self.pace.ended(Ended {
            at,
            audited,
            counted,
            succeeded: outcome.is_success(),
            draining: !outcome.draining.is_empty(),
            drain_ends: outcome.drain_ends,
        });
        outcome
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Tells of rounds: one line where something changed; a failure that lasts when it begins and
/// when it ends, not each time it is tried again.
#[derive(Debug, Default)]
struct Report {
    failing: BTreeSet<String>,
}

/// A time to the microsecond, in milliseconds.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64() * 1e3)
    }
}

/// How many new failures a round tells one by one.
const TOLD: usize = 20;

impl Report {
    fn tell(&mut self, outcome: &Outcome, took: Duration, by_kernel: Duration) {
        let (took_ms, kernel_ms) = (Milliseconds(took), Milliseconds(by_kernel));
        if outcome.done > 0 {
            let (changed, draining) = (outcome.done, outcome.draining.len());
            let failed = outcome.failed.len();
            tracing::info!(changed, failed, draining, %took_ms, %kernel_ms, "synced");
        } else {
            let failed = outcome.failed.len();
            tracing::debug!(failed, %took_ms, %kernel_ms, "nothing to change");
        }
        let failing: BTreeSet<String> = outcome.failed.iter().map(ToString::to_string).collect();
        let news: Vec<_> = failing.difference(&self.failing).collect();
        for failure in news.iter().take(TOLD) {
            tracing::error!(held_back = outcome.held_back, "{failure}");
        }
        if news.len() > TOLD {
            tracing::error!("and {} failures more", news.len() - TOLD);
        }
        if failing.is_empty() && !self.failing.is_empty() {
            tracing::info!("the kernel is as wished again");
        }
        self.failing = failing;
    }
}
