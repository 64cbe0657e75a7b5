//! Rules: whether they must be written, and in how many steps.
//!
//! In: the wanted and the standing rules of a family. Out: no step, one, or two. Never: a moment
//! at which a service address that still answers has lost its masquerade rule. Rules hang on which
//! sets have entries; where one set fills while another empties in the same round, the rules for
//! both are written first and those for the emptied set go last.

use super::change::{Moment, RulesStep};
use super::{Change, ChangeSet, Comparison};
use crate::model::Family;
use crate::plan::{Desired, Rules, SetName};

impl Comparison<'_> {
    pub(super) fn compare_rules(&self, family: Family, changes: &mut ChangeSet) {
        let Some(wanted) = self.desired.rules(family) else { return };
        let standing = self.observed.rules.of(family);
        if wanted == standing {
            return;
        }
        let both = self.rules_of_both(family);
        let mut before = standing;
        if both != *standing {
            changes.push(step(family, &both, before, Moment::BeforeGrowth));
            before = &both;
        }
        if both != *wanted {
            changes.push(step(family, wanted, before, Moment::AfterRemoval));
        }
    }

    /// The rules for every set that has entries or is to have some.
    fn rules_of_both(&self, family: Family) -> Rules {
        let mut filled = self.desired.filled(family);
        filled.extend(self.standing_sets(family));
        Desired::rules_with(self.settings, self.node, family, filled)
    }

    fn standing_sets(&self, family: Family) -> impl Iterator<Item = SetName> {
        self.observed
            .sets
            .iter()
            .filter(move |(key, entries)| key.family == family && !entries.is_empty())
            .map(|(key, _)| key.name)
    }
}

fn step(family: Family, rules: &Rules, standing: &Rules, moment: Moment) -> Change {
    let missing_jumps = rules.jumps.difference(&standing.jumps).copied().collect();
    Change::WriteRules(RulesStep { family, rules: rules.clone(), missing_jumps, moment })
}
