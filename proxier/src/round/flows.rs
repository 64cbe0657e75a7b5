//! The end of flows that lead nowhere.
//!
//! In: the virtual servers that have changed, and the tracked flows. Out: their removal, in the round's
//! outcome. Never: a reading of flows while nothing is suspect.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Proxier, Work};
use crate::apply::{Cause, FLOWS_AT_ONCE, Kernel, Outcome, apply};
use crate::diff::{
    Change, KernelCache, ObjectKey, Observed, StaleCandidates, is_tracked, note_stale_candidates,
    removals,
};
use crate::model::{Family, Protocol};

/// So many times in a round are they read, which is more than any table holds.
const TIMES: usize = 256;

/// Whose tracked flows are to be looked at.
#[derive(Debug)]
pub(super) struct Suspects {
    /// Those of these.
    pub(super) these: StaleCandidates,
    /// Those of every other virtual server too: nobody has looked yet.
    pub(super) and_all: bool,
}

/// Whether all flows of a family and protocol have been looked at.
enum Looked {
    AtAll,
    /// The next round goes on with the others.
    AtSome,
}

impl Proxier {
    /// Notes whose flows may lead nowhere after these changes, and says of which families and protocols they are.
    pub(super) fn suspect(
        &mut self,
        changes: &[Change],
        standing: &Observed,
    ) -> BTreeSet<(Family, Protocol)> {
        let mut new = StaleCandidates::new();
        note_stale_candidates(changes, standing, &mut new);
        let kinds = new.keys().map(|key| (key.family(), key.protocol)).collect();
        for (key, mut lost) in new {
            self.suspects.these.entry(key).or_default().append(&mut lost);
        }
        kinds
    }

    /// Forgets the flows of changed virtual servers that lead nowhere. What could not be looked at or forgotten is looked
    /// at again when its time has come, or when more of its family and protocol is suspect.
    pub(super) fn forget_stale_flows(
        &mut self,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
        outcome: &mut Outcome,
    ) {
        let mut suspects = std::mem::take(&mut self.suspects.these);
        if std::mem::take(&mut self.suspects.and_all) {
            let servers = self.desired.servers().map(|(key, _)| key);
            for key in servers.filter(|key| is_tracked(key.protocol)) {
                suspects.entry(*key).or_default();
            }
        }
        let mut kinds: BTreeSet<_> =
            suspects.keys().map(|key| (key.family(), key.protocol)).collect();
        kinds.retain(|kind| {
            work.suspected.contains(kind) || !self.refused.has(&ObjectKey::Flows(kind.0, kind.1))
        });
        for kind in kinds {
            let object = ObjectKey::Flows(kind.0, kind.1);
            match self.forget_stale_flows_of(kind, &suspects, kernel, &mut work.cache, outcome) {
                Ok(Looked::AtAll) => {
                    self.refused.succeed(&object);
                    suspects.retain(|key, _| (key.family(), key.protocol) != kind);
                }
                Ok(Looked::AtSome) => {}
                Err((verb, cause)) => {
                    let operation = format!("{verb} tracked flows of {} over {}", kind.1, kind.0);
                    outcome.failed.push(self.refused.fail(object, operation, cause, now));
                }
            }
        }
        self.suspects.these = suspects;
    }

    /// The same of one family and protocol.
    ///
    /// # Errors
    /// What could not be done, and why.
    fn forget_stale_flows_of(
        &self,
        kind: (Family, Protocol),
        suspects: &StaleCandidates,
        kernel: &mut dyn Kernel,
        cache: &mut KernelCache,
        outcome: &mut Outcome,
    ) -> Result<Looked, (&'static str, Cause)> {
        for _ in 0..TIMES {
            let comparison = self.comparison(cache.state());
            let is_stale = |flow: &_| comparison.is_stale(flow, suspects);
            let stale =
                kernel.flows(kind, &is_stale, FLOWS_AT_ONCE).map_err(|cause| ("read", cause))?;
            let is_last = stale.len() < FLOWS_AT_ONCE;
            let removed = apply(removals(stale), kernel, cache);
            outcome.done += removed.done;
            if let Some(failure) = removed.failed.into_iter().next() {
                return Err(("remove", failure.cause));
            }
            if is_last {
                return Ok(Looked::AtAll);
            }
        }
        Ok(Looked::AtSome)
    }
}

#[cfg(test)]
mod tests;
