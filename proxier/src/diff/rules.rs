//! Rules: whether they must be written, and in how many steps.
//!
//! In: the wanted and the standing rules of a family. Out: no step, one, or two. Never: a moment
//! at which a service address that still answers has lost its masquerade rule. Rules hang on which
//! sets have entries; where one set fills while another empties in the same round, the rules for
//! both are written first and those for the emptied set go last.

use std::collections::BTreeSet;

use super::change::{Moment, RulesChange, RulesStep};
use super::{Change, ChangeSet, Comparison};
use crate::model::Family;
use crate::plan::{Feature, OUT_FILTER, Rules, SetName};

impl Comparison<'_> {
    pub(super) fn compare_rules(&self, family: Family, changes: &mut ChangeSet) {
        let Some(wanted) = self.desired.rules(family) else { return };
        let standing = self.observed.rules.of(family);
        if is_same(wanted, standing) {
            return;
        }
        let both = self.rules_of_both(family, standing);
        let mut before = standing;
        if !is_same(&both, standing) {
            changes.push(self.step(family, &both, before, Moment::BeforeGrowth));
            before = &both;
        }
        if !is_same(&both, wanted) {
            changes.push(self.step(family, wanted, before, Moment::AfterRemoval));
        }
    }

    /// The rules for every set that has entries or is to have some, and for every load balancer
    /// that this node is or is to be kept from.
    fn rules_of_both(&self, family: Family, standing: &Rules) -> Rules {
        let filled = self.standing_sets(family).collect();
        let mut both = self.desired.rules_with(self.settings, self.node, family, filled);
        if self.settings.has(family, Feature::Ipvs)
            && let (Some(out), Some(old)) =
                (both.chains.get_mut(&OUT_FILTER), standing.chains.get(&OUT_FILTER))
        {
            // What is not of this form is not one of ours and goes at once.
            let known: BTreeSet<&String> = out.iter().collect();
            let goes_later = |rule: &&String| rule.contains(" -m ipvs ") && !known.contains(rule);
            let more: Vec<_> = old.iter().filter(goes_later).cloned().collect();
            out.extend(more);
        }
        both
    }

    fn step(&self, family: Family, rules: &Rules, standing: &Rules, moment: Moment) -> Change {
        let missing_jumps = rules.jumps.difference(&standing.jumps).copied().collect();
        let has_comments = self.settings.has(family, Feature::Comment);
        let rules = rules.clone();
        Change::Rules(RulesChange::Write(Box::new(RulesStep {
            family,
            rules,
            missing_jumps,
            has_comments,
            moment,
        })))
    }

    fn standing_sets(&self, family: Family) -> impl Iterator<Item = SetName> {
        self.observed
            .sets
            .iter()
            .filter(move |(key, entries)| key.family == family && !entries.is_empty())
            .map(|(key, _)| key.name)
    }
}

/// True if the rules do the same. Those of one chain have no order among them.
fn is_same(a: &Rules, b: &Rules) -> bool {
    let sorted = |rules: &Vec<String>| {
        let mut rules = rules.clone();
        rules.sort_unstable();
        rules
    };
    a.jumps == b.jumps
        && a.chains.len() == b.chains.len()
        && a.chains.iter().zip(&b.chains).all(|((key, left), (other, right))| {
            key == other && (left == right || (*key == OUT_FILTER && sorted(left) == sorted(right)))
        })
}
