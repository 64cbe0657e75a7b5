//! Decides which copy of an object counts.
//!
//! Takes the objects of each file. Returns for every object the copy that counts: the first in the
//! order of the files' names and of their documents. Does not compare different objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Problem;
use super::documents::Entry;
use crate::objects::ObjectId;

/// The place of an object: the file, and the index among the objects of the file.
type Place = (Arc<Path>, usize);

/// All places of every object.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<ObjectId, BTreeMap<Place, Arc<Entry>>>);

impl Claims {
    /// Returns the copy of an object that counts.
    pub(super) fn in_force(&self, object: &ObjectId) -> Option<&Arc<Entry>> {
        self.0.get(object)?.values().next()
    }

    /// Returns the copy that counts of every object.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values().filter_map(|places| places.values().next())
    }

    /// Adds an object at a place.
    pub(super) fn add(&mut self, object: &ObjectId, place: Place, entry: &Arc<Entry>) {
        self.0.entry(object.clone()).or_default().insert(place, Arc::clone(entry));
    }

    /// Removes an object from a place.
    pub(super) fn remove(&mut self, object: &ObjectId, place: &Place) {
        if let Some(places) = self.0.get_mut(object) {
            places.remove(place);
            if places.is_empty() {
                self.0.remove(object);
            }
        }
    }

    /// Returns a problem for each place at which an object does not count.
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

    /// Returns the objects that stand at several places.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = &ObjectId> {
        self.0.iter().filter(|(_, places)| places.len() > 1).map(|(object, _)| object)
    }
}
