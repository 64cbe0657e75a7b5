//! The end of flows that lead nowhere.
//!
//! In: the virtual servers that have changed, and the tracked flows. Out: their removal, in the round's
//! outcome. Never: a reading of flows while nothing is suspect.

use std::collections::BTreeSet;

use super::Proxier;
use crate::apply::{FLOWS_AT_ONCE, Failure, Kernel, Outcome, apply};
use crate::diff::{Belief, FlowSuspects, is_tracked, removals};
use crate::model::{Family, Protocol};

/// So many times in a round are they read, which is more than any table holds.
const TIMES: usize = 256;

impl Proxier {
    /// Forgets the flows of changed virtual servers that lead nowhere. What could not be looked at
    /// or forgotten is looked at again in the next round.
    pub(super) fn forget_stale_flows(
        &mut self,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
        outcome: &mut Outcome,
    ) {
        let mut suspects = std::mem::take(&mut self.suspects.these);
        if std::mem::take(&mut self.suspects.and_all) {
            let servers = self.desired.servers().map(|(key, _)| key);
            for key in servers.filter(|key| is_tracked(key.protocol)) {
                suspects.entry(*key).or_default();
            }
        }
        let kinds: BTreeSet<_> = suspects.keys().map(|key| (key.family(), key.protocol)).collect();
        for kind in kinds {
            if self.forget_stale_flows_of(kind, &suspects, kernel, belief, outcome) {
                suspects.retain(|key, _| (key.family(), key.protocol) != kind);
            }
        }
        self.suspects.these = suspects;
    }

    /// The same of one family and protocol. True if none is left.
    fn forget_stale_flows_of(
        &self,
        kind: (Family, Protocol),
        suspects: &FlowSuspects,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
        outcome: &mut Outcome,
    ) -> bool {
        for _ in 0..TIMES {
            let comparison = self.comparison(belief.state());
            let is_stale = |flow: &_| comparison.is_stale(flow, suspects);
            match kernel.flows(kind, &is_stale, FLOWS_AT_ONCE) {
                Ok(stale) => {
                    let is_last = stale.len() < FLOWS_AT_ONCE;
                    let removed = apply(removals(stale), kernel, belief);
                    let succeeded = removed.is_success();
                    outcome.absorb(removed);
                    if is_last || !succeeded {
                        return succeeded;
                    }
                }
                Err(cause) => {
                    let operation = format!("read tracked flows of {} over {}", kind.1, kind.0);
                    outcome.failed.push(Failure { operation, cause });
                    return false;
                }
            }
        }
        // The next round goes on with them.
        false
    }
}

#[cfg(test)]
mod tests;
