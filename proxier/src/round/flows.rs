//! The end of flows that lead nowhere.
//!
//! In: the virtual servers that have changed, and the tracked flows. Out: their removal, in the round's
//! outcome. Never: a reading of flows while nothing is suspect.

use std::collections::BTreeSet;

use super::{Proxier, Suspects};
use crate::apply::{Failure, Kernel, Outcome, apply};
use crate::diff::{Belief, is_tracked};
use crate::model::{Family, Protocol};
use crate::plan::VirtualServerKey;

impl Proxier {
    /// Forgets the flows of changed virtual servers that lead nowhere. What could not be looked at
    /// or forgotten is looked at again in the next round.
    pub(super) fn forget_stale_flows(
        &mut self,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
        outcome: &mut Outcome,
    ) {
        let mut keys = match &mut self.suspects {
            Suspects::These(keys) => std::mem::take(keys),
            Suspects::All => {
                let tracked = |key: &&VirtualServerKey| is_tracked(key.protocol);
                self.desired.servers().map(|(key, _)| key).filter(tracked).copied().collect()
            }
        };
        let kinds: BTreeSet<_> = keys.iter().map(|key| (key.family(), key.protocol)).collect();
        for kind in kinds {
            if self.forget_stale_flows_of(kind, &keys, kernel, belief, outcome) {
                keys.retain(|key| (key.family(), key.protocol) != kind);
            }
        }
        self.suspects = Suspects::These(keys);
    }

    /// The same of one family and protocol. True if none is left.
    fn forget_stale_flows_of(
        &self,
        kind: (Family, Protocol),
        suspects: &BTreeSet<VirtualServerKey>,
        kernel: &mut dyn Kernel,
        belief: &mut Belief,
        outcome: &mut Outcome,
    ) -> bool {
        match kernel.flows(kind) {
            Ok(flows) => {
                let stale = self.comparison(belief.state()).stale_flows(flows, suspects);
                let removed = apply(stale, kernel, belief);
                let succeeded = removed.is_success();
                outcome.absorb(removed);
                succeeded
            }
            Err(cause) => {
                let operation = format!("read tracked flows of {} over {}", kind.1, kind.0);
                outcome.failed.push(Failure { operation, cause });
                false
            }
        }
    }
}
