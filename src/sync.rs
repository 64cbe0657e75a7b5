//! The sync thread: gathers events, runs rounds, says what came of them.
//!
//! In: a queue of events. Out: kernel changes, one log line a round in which anything happened, and
//! what others answer and tell ([`publish`]). Never: a round before the first lists are complete, a reply to a source.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use proxier::Proxier;
use proxier::apply::{Cause, Effort, Kernel, KernelReading, Outcome};
use proxier::model::Event;
use tokio::sync::mpsc::Receiver;

use self::audit::{Audit, Found};
use self::pace::{Ended, Pace, Periods};
use self::publish::Publish;
use self::timed::{Seen, Timed};
use crate::dump;

mod audit;
mod contested;
mod families;
mod foreign;
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
    read: impl FnMut() -> Result<KernelReading, Cause> + Send + 'static,
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
        sync.round(&mut kernel, &mut publish);
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
        publish.questions().answer(&self.proxier);
        if let Ok(event) = self.events.try_recv() {
            self.fold(event, publish);
            return Gathered::More;
        }
        let wait = self.wait(publish);
        // A timer of no length would still cost a tick of the clock.
        if wait.is_some_and(|wait| wait.is_zero()) {
            if let Some(found) = self.audit.try_end() {
                self.take_audit(found, publish);
            }
            return Gathered::Due;
        }
        tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => {
                    self.fold(event, publish);
                    Gathered::More
                }
                None => Gathered::Closed,
            },
            found = self.audit.end() => {
                self.take_audit(found, publish);
                Gathered::Due
            }
            question = publish.questions().next() => {
                dump::reply(question, &self.proxier);
                Gathered::More
            }
            () = sleep(wait) => Gathered::Due,
        }
    }

    fn fold(&mut self, event: Event, publish: &Publish) {
        if let Event::Together(events) = event {
            // No round comes in between.
            events.into_iter().for_each(|event| self.fold(event, publish));
        } else if let Some(event) = families::concerning(event, &self.proxier) {
            publish.arrived(&event);
            self.proxier.fold(event);
        }
    }

    fn take_audit(&mut self, found: Found, publish: &Publish) {
        publish.read_beside(found.took);
        match found.reading {
            Ok(found) if found.is_whole() => self.proxier.end_audit(found.observed),
            // The round reads for itself, and tells if that fails too.
            Ok(_) | Err(_) => self.proxier.doubt(),
        }
    }

    /// How long there is nothing to do, unless something happens.
    fn wait(&self, publish: &mut Publish) -> Option<Duration> {
        if !self.proxier.is_complete() {
            return None;
        }
        let is_dirty = self.proxier.is_dirty();
        if is_dirty {
            publish.queued(self.proxier.pending());
        }
        let now = Instant::now();
        let due = self.pace.next(is_dirty, self.audit.is_reading(), now);
        Some(due.saturating_duration_since(now))
    }

    /// Lets the kernel be read beside the rounds if that is due and nothing is in doubt.
    fn begins_audit(&mut self) -> bool {
        let is_due = self.pace.audit_is_due(Instant::now()) && !self.audit.is_reading();
        // What was read is still to be compared, or the round will read for itself. Facts that wait are
        // no reason to wait with the reading, else one a period would put it off for ever.
        let begins = is_due && !self.proxier.compares_everything() && self.proxier.begin_audit();
        if begins && !self.audit.begin() {
            self.proxier.doubt();
            return false;
        }
        begins
    }

    /// A whole round, in pieces between which facts that arrive are taken in.
    fn round<K: Kernel>(&mut self, kernel: &mut Timed<K>, publish: &mut Publish) {
        let start = Instant::now();
        publish.begins();
        let audited = self.proxier.compares_everything();
        // What was read beside the rounds; where nothing is believed the round reads for itself.
        if audited && let Some(found) = self.proxier.believed() {
            kernel.count(found);
        }
        let counted = self.pace.count_is_due(start);
        let only_counts = counted && !audited && !self.proxier.is_dirty();
        if counted {
            self.proxier.look_at_draining();
        }
        let outcome = loop {
            if let Some(outcome) = self.proxier.step(kernel, start, PIECE) {
                break outcome;
            }
            publish.progressed();
            while let Ok(event) = self.events.try_recv() {
                self.fold(event, publish);
            }
        };
        let at = Instant::now();
        let seen = Seen { only_counts, ..kernel.take_seen() };
        self.report.tell(&outcome, at - start, seen.by_kernel);
        self.pace.ended(Ended {
            at,
            audited,
            counted,
            succeeded: outcome.is_success(),
            draining: outcome.draining.count > 0,
            drain_ends: outcome.draining.next_end,
        });
        // After a failure nothing is believed, and the next round reads and counts.
        if kernel.is_unsure()
            && let Some(believed) = self.proxier.believed()
        {
            kernel.count(believed);
        }
        publish.round(&self.proxier, &outcome, at - start, &seen, kernel.tally());
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

/// How many new failures, and how many that are over, a round tells one by one.
const TOLD: usize = 20;

impl Report {
    fn tell(&mut self, outcome: &Outcome, took: Duration, by_kernel: Duration) {
        let (took_ms, kernel_ms) = (Milliseconds(took), Milliseconds(by_kernel));
        if outcome.done > 0 {
            let (changed, draining) = (outcome.done, outcome.draining.count);
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
        for line in self.over(&failing) {
            tracing::info!("{line}");
        }
        self.failing = failing;
    }

    /// One line if nothing fails any more, else one for each failure that is over.
    fn over(&self, failing: &BTreeSet<String>) -> Vec<String> {
        if failing.is_empty() && !self.failing.is_empty() {
            return vec!["the kernel is as wished again".to_owned()];
        }
        let over: Vec<_> = self.failing.difference(failing).collect();
        let lines = over.iter().take(TOLD).map(|failure| format!("no longer: {failure}"));
        let more = over.len().checked_sub(TOLD).filter(|more| *more > 0);
        lines.chain(more.map(|more| format!("no longer: {more} failures more"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Report, TOLD};

    fn failing(range: std::ops::Range<usize>) -> BTreeSet<String> {
        range.map(|number| format!("add {number:02}: no")).collect()
    }

    #[test]
    fn a_failure_that_ends_while_another_lasts_is_told() {
        let report = Report { failing: failing(0..3) };
        assert_eq!(report.over(&failing(1..4)), ["no longer: add 00: no"]);
        assert_eq!(report.over(&failing(0..3)), [""; 0]);
        assert_eq!(report.over(&failing(0..0)), ["the kernel is as wished again"]);
        assert_eq!(Report::default().over(&failing(0..1)), [""; 0]);
    }

    #[test]
    fn no_more_ends_than_beginnings_are_told_one_by_one() {
        let report = Report { failing: failing(0..TOLD + 3) };
        let lines = report.over(&failing(TOLD + 2..TOLD + 3));
        assert_eq!(lines.len(), TOLD + 1);
        assert_eq!(lines.last().unwrap(), "no longer: 2 failures more");
    }
}
