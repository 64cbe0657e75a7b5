//! Which object of which file counts.
//!
//! In: the objects of each file. Out: of every object the one that counts, the first in the order of the files' names and of
//! its documents. Never: a look at other objects than those that are named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Problem;
use super::documents::Entry;
use crate::objects::ObjectId;

/// Where an object stands: the file, and which of its objects it is.
type Place = (Arc<Path>, usize);

/// Every place that an object has.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<ObjectId, BTreeMap<Place, Arc<Entry>>>);

impl Claims {
    /// The object that counts.
    pub(super) fn in_force(&self, object: &ObjectId) -> Option<&Arc<Entry>> {
        self.0.get(object)?.values().next()
    }

    /// Every object that counts.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values().filter_map(|places| places.values().next())
    }

    /// An object stands at a place.
    pub(super) fn add(&mut self, object: &ObjectId, place: Place, entry: &Arc<Entry>) {
        self.0.entry(object.clone()).or_default().insert(place, Arc::clone(entry));
    }

    /// It stands there no longer.
    pub(super) fn remove(&mut self, object: &ObjectId, place: &Place) {
        if let Some(places) = self.0.get_mut(object) {
            places.remove(place);
            if places.is_empty() {
                self.0.remove(object);
            }
        }
    }

    /// The places at which an object does not count.
    pub(super) fn ignored(&self, object: &ObjectId) -> Vec<Problem> {
        let Some(places) = self.0.get(object) else { return Vec::new() };
        let named =
            |((path, _), entry): (&Place, &Arc<Entry>)| (PathBuf::from(&**path), entry.line);
        let mut places = places.iter().map(named);
        let Some(kept) = places.next() else { return Vec::new() };
        let twice =
            |ignored| Problem::Twice { object: object.clone(), kept: kept.clone(), ignored };
        places.map(twice).collect()
    }

    /// The objects that stand at several places.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = &ObjectId> {
        self.0.iter().filter(|(_, places)| places.len() > 1).map(|(object, _)| object)
    }
}
