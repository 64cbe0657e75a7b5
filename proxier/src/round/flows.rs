//! The removal of stale flows.
//!
//! Reads the tracked flows at the end of a round, removes those that `diff::flow` calls stale, and reports the
//! result in the round's outcome. Does not read flows while none can be stale.

use std::time::Instant;

use super::{Proxier, Work};
use crate::apply::{Cause, Kernel, Outcome, apply};
use crate::diff::{FLOWS_AT_ONCE, KernelCache, ObjectKey, StaleCandidates, removals};
use crate::model::{Family, Protocol};

/// The most times flows are read in a round, which is more than any table needs.
const TIMES: usize = 256;

/// The extent to which the flows of a family and protocol have been looked at.
enum Looked {
    AtAll,
    /// The next round looks at the rest.
    AtSome,
}

impl Proxier {
    /// Removes stale flows. A read or removal that failed is tried again when it is due. It is tried earlier if
    /// more flows of its family and protocol may be stale.
    pub(super) fn forget_stale_flows(
        &mut self,
        work: &mut Work,
        kernel: &mut dyn Kernel,
        now: Instant,
        outcome: &mut Outcome,
    ) {
        let mut stale_candidates = std::mem::take(&mut self.stale_candidates);
        let mut kinds = stale_candidates.kinds(&self.desired);
        kinds.retain(|kind| {
            work.kinds_to_check.contains(kind)
                || !self.refused.has(&ObjectKey::Flows(kind.0, kind.1))
        });
        for kind in kinds {
            let object = ObjectKey::Flows(kind.0, kind.1);
            match self.forget_stale_flows_of(
                kind,
                &stale_candidates,
                kernel,
                &mut work.cache,
                outcome,
            ) {
                Ok(Looked::AtAll) => {
                    self.refused.succeed(&object);
                    stale_candidates.forget(kind);
                }
                Ok(Looked::AtSome) => {}
                Err((verb, cause)) => {
                    let operation = format!("{verb} tracked flows of {} over {}", kind.1, kind.0);
                    outcome.failed.push(self.refused.fail(object, operation, cause, now));
                }
            }
        }
        self.stale_candidates = stale_candidates;
    }

    /// Removes the stale flows of one family and protocol.
    ///
    /// # Errors
    /// Returns the verb of the failed operation, and its cause.
    fn forget_stale_flows_of(
        &self,
        kind: (Family, Protocol),
        stale_candidates: &StaleCandidates,
        kernel: &mut dyn Kernel,
        cache: &mut KernelCache,
        outcome: &mut Outcome,
    ) -> Result<Looked, (&'static str, Cause)> {
        for _ in 0..TIMES {
            let comparison = self.comparison(cache.state());
            let is_stale = |flow: &_| comparison.is_stale(flow, stale_candidates);
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
