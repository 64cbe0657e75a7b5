//! Storage that keeps one copy of each name that many facts have in common.
//!
//! Takes names as they arrive, each with its own copy of the text. Gives the same names with shared text.
//! Drops names without a user from time to time.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The names in use.
#[derive(Default)]
pub(super) struct Names {
    known: BTreeSet<Arc<str>>,
    /// The number of names above which unused ones are dropped.
    limit: usize,
}

/// Prints the type's name only: the stored names are a cache and no part of the state.
impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// The number of names below which looking for unused ones is not worth the time.
const MIN_NAMES_TO_SWEEP: usize = 1024;

impl Names {
    /// Makes a name share the text of an equal stored one, or stores it.
    pub(super) fn share(&mut self, name: &mut Arc<str>) {
        if let Some(known) = self.known.get(name) {
            name.clone_from(known);
            return;
        }
        if self.known.len() >= self.limit.max(MIN_NAMES_TO_SWEEP) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.limit = 2 * self.known.len();
        }
        self.known.insert(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_share_their_text_and_unused_ones_go() {
        let mut names = Names::default();
        let (mut one, mut other): (Arc<str>, Arc<str>) = ("node1".into(), "node1".into());
        names.share(&mut one);
        names.share(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        for number in 0..10 * MIN_NAMES_TO_SWEEP {
            names.share(&mut number.to_string().into());
        }
        assert!(names.known.len() <= MIN_NAMES_TO_SWEEP && names.known.contains("node1"));
    }
}
