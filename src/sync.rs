//! The sync thread: gathers events, runs rounds, says what came of them.
//!
//! In: a queue of events. Out: kernel changes, one log line a round in which anything happened, and
//! what others answer and tell ([`publish`]). Never: a round before the first lists are complete, a reply to a source.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proxier::Proxier;
use proxier::apply::{Cause, Kernel, Outcome};
use proxier::model::Event;
use tokio::sync::mpsc::Receiver;

use self::pace::{Ended, Pace, Periods};
use self::publish::Publish;

mod contested;
pub mod pace;
pub mod publish;

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

/// Runs rounds until every source of events has gone.
///
/// # Errors
/// If the kernel cannot be prepared.
pub fn run<K: Kernel>(
    mut proxier: Proxier,
    mut kernel: K,
    mut events: Receiver<Event>,
    periods: Periods,
    mut publish: Publish,
) -> Result<(), Error> {
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut pace = Pace::new(periods);
    let mut report = Report::default();
    let mut prepared = false;
    loop {
        let wait = if proxier.is_complete() {
            if proxier.is_dirty() {
                publish.queued();
            }
            Some(pace.next(proxier.is_dirty(), Instant::now()))
        } else {
            None
        };
        match timer.block_on(gather(&mut events, wait, &mut proxier)) {
            Gathered::More => continue,
            Gathered::Closed => return Ok(()),
            Gathered::Due => {}
        }
        if !prepared {
            proxier.learn(&kernel.prepare()?);
            prepared = true;
        }
        let outcome = round(&mut proxier, &mut kernel, &mut pace, &mut report);
        publish.round(&proxier, &outcome);
    }
}

enum Gathered {
    More,
    Due,
    Closed,
}

/// Takes what has arrived, or waits for more until the next round is due.
async fn gather(
    events: &mut Receiver<Event>,
    due: Option<Instant>,
    proxier: &mut Proxier,
) -> Gathered {
    if let Ok(event) = events.try_recv() {
        proxier.fold(event);
        return Gathered::More;
    }
    let received = match due {
        None => events.recv().await,
        Some(due) => {
            let left = due.saturating_duration_since(Instant::now());
            // A timer of no length would still cost a tick of the clock.
            if left.is_zero() {
                return Gathered::Due;
            }
            match tokio::time::timeout(left, events.recv()).await {
                Ok(received) => received,
                Err(_) => return Gathered::Due,
            }
        }
    };
    match received {
        Some(event) => {
            proxier.fold(event);
            Gathered::More
        }
        None => Gathered::Closed,
    }
}

fn round(
    proxier: &mut Proxier,
    kernel: &mut dyn Kernel,
    pace: &mut Pace,
    report: &mut Report,
) -> Outcome {
    let start = Instant::now();
    let audited = pace.audit_is_due(start);
    if audited {
        proxier.doubt();
    }
    let counted = pace.count_is_due(start);
    if counted {
        proxier.look_at_draining();
    }
    let outcome = proxier.round(kernel, start);
    let at = Instant::now();
    report.tell(&outcome, at - start);
    pace.ended(Ended {
        at,
        audited,
        counted,
        succeeded: outcome.is_success(),
        draining: !outcome.draining.is_empty(),
        drain_ends: outcome.drain_ends,
    });
    outcome
}

/// Tells of rounds: one line where something changed; a failure that lasts when it begins and
/// when it ends, not each time it is tried again.
#[derive(Debug, Default)]
struct Report {
    failing: BTreeSet<String>,
}

/// How many new failures a round tells one by one.
const TOLD: usize = 20;

impl Report {
    fn tell(&mut self, outcome: &Outcome, took: Duration) {
        let took_ms = took.as_millis();
        if outcome.done > 0 {
            let (changed, draining) = (outcome.done, outcome.draining.len());
            tracing::info!(changed, failed = outcome.failed.len(), draining, took_ms, "synced");
        } else {
            tracing::debug!(failed = outcome.failed.len(), took_ms, "nothing to change");
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
