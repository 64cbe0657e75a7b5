//! What an audit finds.
//!
//! In: the changes that a comparison in whole has named, and which keys facts have touched. Out: how many
//! of them no fact asks for, by kind of object: somebody else has changed the kernel. Never: a part in
//! what is done about it.

use std::collections::BTreeMap;

use super::{Proxier, is_common};
use crate::diff::Change;
use crate::plan::Touched;

impl Proxier {
    /// `has_news` says whether facts have come in that rules may follow from. What has drained goes by
    /// itself, and what failed before is missing because of that.
    pub(super) fn differences(
        &self,
        changes: &[Change],
        touched: &Touched,
        has_news: bool,
    ) -> BTreeMap<&'static str, usize> {
        let mut found = BTreeMap::new();
        let blocked = self.refused.blocked();
        for change in changes {
            let is_expected = match change {
                Change::RemoveDestination(key, server) => self.drain.has(&(*key, *server)),
                Change::WriteRules(step) => has_news || *blocked.of(step.family),
                _ => has_news && is_common(change),
            };
            let is_expected = is_expected || self.refused.has_failed_before(&change.key());
            if !is_expected && !change.is_of(touched) {
                *found.entry(change.object()).or_default() += 1;
            }
        }
        found
    }
}
