//! Logs what rounds come to.
//!
//! Takes outcomes and the time. Writes lines, and keeps lasting failures for reminders. Does not decide when a round
//! runs.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use proxier::apply::{Differences, Failure, Outcome};

use super::summary::{Sum, Summary};
use crate::lasting::{Area, Condition, Lasting};
use crate::telemetry::ROUNDS;

/// Logs what other programs have changed in the kernel.
fn log_others(outcome: &Outcome) {
    let Differences { counts, first } = &outcome.differences;
    if !counts.is_empty() {
        let numbers: Vec<_> =
            counts.iter().map(|(kind, number)| format!("{kind}: {number}")).collect();
        let more = counts.values().sum::<usize>().saturating_sub(first.len());
        let more = if more == 0 { String::new() } else { format!(", and {more} more") };
        let (numbers, first) = (numbers.join(", "), first.join(", "));
        tracing::warn!("others have changed the kernel ({numbers}); corrections: {first}{more}");
    }
    let servers = &outcome.servers_of_others;
    if !servers.is_empty() {
        let names = servers.iter().take(Differences::NAMED).map(ToString::to_string);
        let (names, number) = (names.collect::<Vec<_>>().join(", "), servers.len());
        tracing::warn!(
            "removing virtual servers ({number}) that no Service has and no set of this proxy names: {names}; name their \
             networks in ipvs.excludeCIDRs to keep such virtual servers"
        );
    }
}

/// The number of rounds in a minute that log what other programs have done. The metric
/// `ipvs_proxy_audit_differences_total` counts all.
const MAX_LOGGED_INTERFERENCES: u32 = 5;

/// The number of rounds in the present minute that found changes of other programs.
#[derive(Clone, Copy, Debug)]
struct Interferences {
    since: Instant,
    rounds: u32,
}

/// The amount that is logged about changes of other programs in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logging {
    Everything,
    /// One line says that no more is logged for a while.
    LastLine,
    Nothing,
}

/// Logs the results of rounds. A round that changed something gets one line if that is enabled
/// (`-v=2`), else there is a summary at most once a minute. A lasting problem is logged when it
/// begins and when it ends, not at each retry.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The register in which each failing operation is a condition.
    lasting: Lasting,
    summary: Summary,
    interferences: Option<Interferences>,
}

/// A duration that is shown in milliseconds with three decimals.
pub(super) struct Milliseconds(pub(super) Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64() * 1e3)
    }
}

impl Report {
    pub(super) fn new(lasting: Lasting) -> Self {
        Self { lasting, ..Self::default() }
    }

    fn tell_of_others(&mut self, outcome: &Outcome, now: Instant) {
        if outcome.differences.counts.is_empty() && outcome.servers_of_others.is_empty() {
            return;
        }
        match self.logging_of_others(now) {
            Logging::Everything => log_others(outcome),
            Logging::LastLine => tracing::warn!(
                "others go on changing the kernel; the log is silent about it for the rest of the minute, and \
                 ipvs_proxy_audit_differences_total counts"
            ),
            Logging::Nothing => {}
        }
    }

    /// Counts a round that found changes of other programs. Returns what it may log.
    fn logging_of_others(&mut self, now: Instant) -> Logging {
        let minute = Interferences { since: now, rounds: 0 };
        let window = self.interferences.get_or_insert(minute);
        if now.saturating_duration_since(window.since) >= Duration::from_secs(60) {
            *window = minute;
        }
        window.rounds = window.rounds.saturating_add(1);
        match window.rounds.checked_sub(MAX_LOGGED_INTERFERENCES) {
            None | Some(0) => Logging::Everything,
            Some(1) => Logging::LastLine,
            Some(_) => Logging::Nothing,
        }
    }

    /// Returns the time until the next summary is due; `None` if there is nothing to log.
    pub(super) fn next_sum(&self, now: Instant) -> Option<Duration> {
        self.summary.next(now).map(|at| at.saturating_duration_since(now))
    }

    /// Logs the summary of the rounds since the last one, if it is due.
    pub(super) fn tell_sum(&mut self, now: Instant) {
        let Some(Sum { rounds, changed, failed, longest }) = self.summary.take(now) else { return };
        // If each round has its own line, the summary has no new information.
        if !tracing::enabled!(target: ROUNDS, tracing::Level::INFO) {
            let longest_ms = Milliseconds(longest);
            tracing::info!(rounds, changed, failed, %longest_ms, "synced");
        }
    }

    pub(super) fn tell(&mut self, outcome: &Outcome, took: Duration, by_kernel: Duration) {
        let (took_ms, kernel_ms) = (Milliseconds(took), Milliseconds(by_kernel));
        if outcome.done > 0 {
            let (changed, draining) = (outcome.done, outcome.draining.count);
            let failed = outcome.failed.len();
            tracing::info!(target: ROUNDS, changed, failed, draining, %took_ms, %kernel_ms, "synced");
        } else {
            let failed = outcome.failed.len();
            tracing::debug!(failed, %took_ms, %kernel_ms, "nothing to change");
        }
        self.tell_of_others(outcome, Instant::now());
        let news = self.begin(&outcome.failed);
        self.summary.add(outcome.done, news, took);
        if news > 0 && outcome.held_back > 0 {
            tracing::error!(
                "{} changes wait until those succeed that failed in this round",
                outcome.held_back
            );
        }
        self.end(outcome);
    }

    /// Reports failures. Returns the number of those that are new, or whose cause has changed its kind.
    fn begin(&self, failed: &[Failure]) -> usize {
        let condition = |failure: &Failure| Condition {
            key: failure.operation.clone(),
            cause: format!("{:?}", failure.cause.kind()),
            text: failure.to_string(),
        };
        self.lasting.begin_all(Area::Kernel, failed.iter().map(condition))
    }

    /// Reports which failures are over. If nothing fails any more, these are all.
    fn end(&self, outcome: &Outcome) {
        let over = if outcome.is_success() {
            self.lasting.keys(Area::Kernel)
        } else {
            let fails: BTreeSet<_> = outcome.failed.iter().map(|it| &it.operation).collect();
            outcome
                .resolved
                .iter()
                .filter(|operation| !fails.contains(operation))
                .cloned()
                .collect()
        };
        self.lasting.end_all(Area::Kernel, over.iter().map(String::as_str));
    }
}

#[cfg(test)]
mod tests {
    use proxier::apply::{Cause, CauseKind, Refusal};

    use super::*;

    fn failures(range: std::ops::Range<usize>) -> Vec<Failure> {
        let failure =
            |number| Failure { operation: format!("add {number:02}"), cause: Cause::new("no") };
        range.map(failure).collect()
    }

    fn resolved(range: std::ops::Range<usize>, refused: usize) -> Outcome {
        let resolved = range.map(|number| format!("add {number:02}")).collect();
        Outcome { resolved, refused, ..Outcome::default() }
    }

    #[test]
    fn a_problem_whose_words_vary_is_one_and_with_another_cause_it_is_told_again() {
        let failure = |cause| [Failure { operation: "write rules IPv4".into(), cause }];
        let report = Report::default();
        assert_eq!(report.begin(&failure(Cause::new("line 40: RULE_APPEND failed"))), 1);
        assert_eq!(report.begin(&failure(Cause::new("line 37: RULE_APPEND failed"))), 0);
        let locked = Cause::of(CauseKind::Refused(Refusal::Busy), "xtables lock");
        assert_eq!(report.begin(&failure(locked)), 1);
    }

    #[test]
    fn what_fails_is_kept_for_reminders_until_it_is_over() {
        let lasting = Lasting::default();
        let report = Report::new(lasting.clone());
        report.begin(&failures(0..2));
        report.end(&resolved(0..0, 2));
        assert_eq!(lasting.texts(), ["add 00: no", "add 01: no"]);
        report.end(&resolved(0..1, 1));
        assert_eq!(lasting.texts(), ["add 01: no"]);
        report.end(&resolved(0..0, 0));
        assert_eq!(lasting.texts(), [""; 0]);
    }

    #[test]
    fn what_others_do_is_logged_a_few_times_a_minute() {
        let mut report = Report::default();
        let start = Instant::now();
        let mut logged = |seconds| report.logging_of_others(start + Duration::from_secs(seconds));
        for second in 0..u64::from(MAX_LOGGED_INTERFERENCES) {
            assert_eq!(logged(second), Logging::Everything);
        }
        assert_eq!(
            [logged(10), logged(11), logged(59)],
            [Logging::LastLine, Logging::Nothing, Logging::Nothing]
        );
        assert_eq!(logged(60), Logging::Everything);
    }
}
