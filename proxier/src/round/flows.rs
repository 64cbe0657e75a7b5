//! The end of flows that lead nowhere.
//!
//! In: the virtual servers that have changed, and the tracked flows. Out: their removal, in the round's
//! outcome. Never: a reading of flows while nothing is suspect.

use std::collections::BTreeSet;

use super::{Proxier, Suspects};
use crate::apply::{Failure, Kernel, Outcome, apply};
use crate::diff::{Belief, is_tracked};
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
        let keys = match &self.suspects {
            Suspects::These(keys) => keys.clone(),
            Suspects::All => {
                let tracked = |key: &&VirtualServerKey| is_tracked(key.protocol);
                self.desired.servers().map(|(key, _)| key).filter(tracked).copied().collect()
            }
        };
        let kinds = keys.iter().map(|key| (key.family(), key.protocol)).collect::<BTreeSet<_>>();
        let flows = match kinds.is_empty() {
            true => Ok(Vec::new()),
            false => kernel.flows(&kinds),
        };
        match flows {
            Ok(flows) => {
                let stale = self.comparison(belief.state()).stale_flows(flows, &keys);
                let removed = apply(stale, kernel, belief);
                let succeeded = removed.is_success();
                outcome.absorb(removed);
                self.suspects = Suspects::These(if succeeded { BTreeSet::new() } else { keys });
            }
            Err(cause) => {
                outcome.failed.push(Failure { operation: "read tracked flows".into(), cause });
            }
        }
    }
}
