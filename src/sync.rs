//! Runs the sync thread, which collects events, runs rounds and reports their results.
//!
//! Takes a queue of events. Returns kernel changes, log lines (`Report`), and the state that
//! servers, metrics and events read ([`publish`]). Does not run a round before the first lists are
//! complete. Does not reply to the sources.

use std::time::{Duration, Instant};

use proxier::Proxier;
use proxier::apply::{Budget, Cause, Kernel, KernelReading};
use proxier::model::{Batch, Event, Family};
use tokio::sync::mpsc::Receiver;

use self::audit::{Audit, Found};
use self::instrumented::{InstrumentedKernel, RoundStats};
use self::pace::{Pace, Periods, RoundResult};
use self::publish::Publish;
use self::report::Report;
use crate::dump;

mod audit;
pub(crate) mod conflicts;
mod foreign;
mod instrumented;
pub mod pace;
pub mod publish;
mod report;
mod summary;

/// The number of batches of events that the queue holds. Sources wait while it is full.
pub const QUEUE: usize = 1024;

/// The reasons why the sync thread ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel could not be prepared.
    #[error(transparent)]
    Unprepared(#[from] Cause),
    /// The thread's own timer could not be created.
    #[error("cannot start the sync thread's timer: {0}")]
    Timer(#[from] std::io::Error),
}

/// The part of a round that is done before the queue is looked at: about 50 ms in a big cluster on
/// a slow machine.
const ROUND_BUDGET: Budget = Budget(2000);

/// Runs rounds until all sources of events are gone. `read` reads the whole kernel, as
/// [`Kernel::observe`] does, in a thread of its own.
///
/// # Errors
/// An error if the kernel cannot be prepared, or a thread or the timer cannot be created.
pub fn run<K: Kernel>(
    proxier: Proxier,
    kernel: K,
    read: impl FnMut() -> Result<KernelReading, Cause> + Send + 'static,
    events: Receiver<Batch>,
    periods: Periods,
    mut publish: Publish,
) -> Result<(), Error> {
    let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let audit = Audit::start(read)?;
    let mut sync = Rounds {
        proxier,
        events,
        audit,
        pace: Pace::new(periods),
        report: Report::new(publish.lasting()),
        has_failed_rules: false,
    };
    let mut kernel = InstrumentedKernel::new(kernel);
    let mut prepared = false;
    loop {
        match timer.block_on(sync.gather(&mut publish)) {
            Gathered::More => continue,
            Gathered::Closed => return Ok(()),
            Gathered::Due => {}
        }
        if !prepared {
            sync.proxier.set_capabilities(&kernel.prepare()?);
            prepared = true;
        } else if sync.has_failed_rules || sync.proxier.compares_everything() {
            sync.look_again(&mut kernel);
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

/// The state of the sync thread.
struct Rounds {
    proxier: Proxier,
    events: Receiver<Batch>,
    audit: Audit,
    pace: Pace,
    report: Report,
    /// True if rules could not be written in the last round.
    has_failed_rules: bool,
}

impl Rounds {
    /// Takes an event that has arrived, or waits for one until the next round is due.
    async fn gather(&mut self, publish: &mut Publish) -> Gathered {
        publish.questions().answer(&self.proxier);
        if let Ok(batch) = self.events.try_recv() {
            self.fold(batch, publish);
            return Gathered::More;
        }
        let wait = self.wait(publish);
        // A timer of zero length would still wait for a tick of the clock.
        if wait.is_some_and(|wait| wait.is_zero()) {
            if let Some(found) = self.audit.try_end() {
                self.take_audit(found, publish);
            }
            return Gathered::Due;
        }
        tokio::select! {
            biased;
            batch = self.events.recv() => match batch {
                Some(batch) => {
                    self.fold(batch, publish);
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
            () = sleep(self.report.next_sum(Instant::now())) => {
                self.report.tell_sum(Instant::now());
                Gathered::More
            }
        }
    }

    fn fold(&mut self, batch: Batch, publish: &Publish) {
        for event in batch {
            if let Event::Node(Some(node)) = &event {
                publish.saw_node(node);
            }
            self.proxier.fold(event);
        }
        publish.arrived(self.proxier.take_arrived());
    }

    fn take_audit(&mut self, found: Found, publish: &Publish) {
        publish.record_audit_duration(found.took);
        match found.reading {
            Ok(found) => self.proxier.end_audit(found, Instant::now()),
            // The round reads the kernel itself, and reports it if that fails too.
            Err(_) => self.proxier.invalidate(),
        }
    }

    /// Returns how long to wait for an event before the next round. `None` means without limit.
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

    /// Starts a reading of the kernel beside the rounds, if it is due and the kernel state is
    /// known.
    fn begins_audit(&mut self) -> bool {
        let is_due = self.pace.audit_is_due(Instant::now()) && !self.audit.is_reading();
        // If everything is to be compared, the last reading was not used yet, or the round will
        // read itself. Waiting facts do not delay the reading: else one in each period would put it
        // off forever.
        let begins = is_due && !self.proxier.compares_everything() && self.proxier.begin_audit();
        if begins && !self.audit.begin() {
            self.proxier.invalidate();
            return false;
        }
        begins
    }

    /// Looks again for capabilities that were missing, and for those that rules need and that may
    /// be gone.
    fn look_again<K: Kernel>(&mut self, kernel: &mut InstrumentedKernel<K>) {
        let lacks_something = Family::BOTH
            .iter()
            .any(|family| !self.proxier.settings().missing.of(*family).is_empty());
        if self.has_failed_rules || lacks_something {
            self.proxier.set_capabilities(&kernel.look_again());
        }
    }

    /// Runs a whole round in pieces, between which it takes new events.
    fn round<K: Kernel>(&mut self, kernel: &mut InstrumentedKernel<K>, publish: &mut Publish) {
        let start = Instant::now();
        // Work before the round, such as preparing the node, does not count as its time.
        kernel.take_stats();
        publish.round_started();
        let audited = self.proxier.compares_everything();
        // Counts the reading that was made beside the rounds. Without a valid cache the round reads
        // itself.
        if audited && let Some(found) = self.proxier.cached() {
            kernel.count(found);
        }
        let counted = self.pace.count_is_due(start);
        let only_counts = counted && !audited && !self.proxier.is_dirty();
        if counted {
            self.proxier.look_at_draining();
        }
        let outcome = loop {
            if let Some(outcome) = self.proxier.step(kernel, start, ROUND_BUDGET) {
                break outcome;
            }
            publish.progressed();
            while let Ok(batch) = self.events.try_recv() {
                self.fold(batch, publish);
            }
        };
        let at = Instant::now();
        let stats = RoundStats { only_counts, ..kernel.take_stats() };
        self.has_failed_rules = !stats.restores_failed.is_empty();
        self.report.tell(&outcome, at - start, stats.by_kernel);
        self.report.tell_sum(at);
        self.pace.ended(RoundResult {
            at,
            audited,
            interfered: !outcome.differences.counts.is_empty(),
            counted,
            needs_full_reading: outcome.needs_full_reading,
            next_retry: outcome.next_retry,
            draining: outcome.draining.count > 0,
            drain_ends: outcome.draining.next_end,
        });
        // The next round reads and counts what is in doubt.
        if kernel.is_unsure()
            && let Some(cached) = self.proxier.cached()
        {
            kernel.count(cached);
        }
        publish.round(&self.proxier, &outcome, at - start, &stats, kernel.tally());
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use proxier::apply::fake::FakeKernel;
    use proxier::apply::{Answered, Connections, Ready, RulesReading};
    use proxier::diff::{Change, Flow, ObservedServer};
    use proxier::model::{Family, Node, PerFamily, Protocol, Update};
    use proxier::plan::{VirtualServerDestination, VirtualServerKey};
    use proxier::testing::{service, settings};
    use serde_json::Value;
    use tokio::sync::{mpsc, oneshot, watch};
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::config::LogFormat;
    use crate::events::Sink;
    use crate::metrics::{Build, Metrics};
    use crate::serve::{HealthTable, ProxyHealth};
    use crate::telemetry::{Lines, ROUNDS};

    /// A kernel whose preparation takes time.
    #[derive(Default)]
    struct Slow(FakeKernel);

    const PREPARATION: Duration = Duration::from_millis(500);

    impl Kernel for Slow {
        fn prepare(&mut self) -> Result<Ready, Cause> {
            thread::sleep(PREPARATION);
            self.0.prepare()
        }

        fn look_again(&mut self) -> Ready {
            Ready::default()
        }

        fn observe(&mut self) -> Result<KernelReading, Cause> {
            self.0.observe()
        }

        fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
            self.0.read_server(key)
        }

        fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
            self.0.read_rules(family)
        }

        fn count_connections(
            &mut self,
            of: &BTreeSet<VirtualServerDestination>,
        ) -> Result<Connections, Cause> {
            self.0.count_connections(of)
        }

        fn flows(
            &mut self,
            of: (Family, Protocol),
            is_wanted: &dyn Fn(&Flow) -> bool,
            at_most: usize,
        ) -> Result<Vec<Flow>, Cause> {
            self.0.flows(of, is_wanted, at_most)
        }

        fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>> {
            self.0.carry_out(changes)
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log lines of a proxy that has synced one Service.
    fn synced(each_round: bool) -> Vec<Value> {
        let families = PerFamily { v4: true, v6: true };
        let health = Arc::new(ProxyHealth::new(&families, Duration::from_secs(30)));
        let metrics = Arc::new(Metrics::new(&Build::default()).unwrap());
        let (checks, _table) = watch::channel(HealthTable::default());
        let (first, is_synced) = oneshot::channel();
        let publish = Publish::new(health, metrics, checks, Sink::log()).first_sync_to(first);
        let (sender, events) = mpsc::channel(10);
        let name = settings().node_name;
        let node =
            Node { name, zone: None, addresses: vec![], pod_nets: vec![], is_leaving: false };
        for event in [
            Event::Node(Some(node)),
            Event::Addresses(vec![]),
            Event::Service(Update::Listed(vec![service("web", &["10.96.0.10"])])),
            Event::Slice(Update::Listed(vec![])),
        ] {
            sender.try_send(vec![event]).unwrap();
        }
        thread::spawn(move || {
            let _ = is_synced.blocking_recv();
            drop(sender);
        });
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer()
            .event_format(Lines::new(LogFormat::Json))
            .with_writer(move || writer.clone());
        // The filter is for all layers, as in the program: one for a single layer remembers the
        // last question.
        let wanted = filter_fn(move |metadata| each_round || metadata.target() != ROUNDS);
        let subscriber = tracing_subscriber::registry().with(wanted).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let periods = Periods { min: Duration::ZERO, max: Duration::from_secs(30) };
            let read = || Ok(FakeKernel::default().state.into());
            run(Proxier::new(settings()), Slow::default(), read, events, periods, publish).unwrap();
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["msg"] == "synced").collect()
    }

    #[test]
    fn a_round_has_a_line_where_that_is_asked_for_and_the_time_in_it_is_the_rounds_own() {
        let lines = synced(true);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        let number = |name: &str| line[name].as_f64().unwrap();
        assert_eq!(number("v"), 2.0);
        assert!(number("kernel_ms") <= number("took_ms"), "{line}");
        assert!(number("took_ms") < PREPARATION.as_secs_f64() * 1e3, "{line}");
    }

    #[test]
    fn a_round_is_in_a_sum_where_no_line_is_asked_for_it() {
        let lines = synced(false);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        assert_eq!((&line["v"], &line["rounds"]), (&Value::from(0), &Value::from(1)));
        assert!(line["changed"].as_u64().unwrap() > 0 && line["longest_ms"].is_number(), "{line}");
    }
}
