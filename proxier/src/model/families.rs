//! Filters EndpointSlices by address family.
//!
//! Takes an event and the families that are programmed. Returns the event without EndpointSlices of other
//! families, or `None` if nothing is left (spec 6.1). A slice that changes to another family counts as
//! removed. The API forbids such a change, but a manifest can make it.

use super::address::PerFamily;
use super::endpoint::Slice;
use super::event::{Event, Update};
use super::store::Store;

impl Store {
    /// Returns the part of the event that concerns the programmed families. The event must not be an
    /// [`Event::Together`]: the answer depends on the events before it.
    pub fn concerning(&self, event: Event, families: &PerFamily<bool>) -> Option<Event> {
        let Event::Slice(update) = event else { return Some(event) };
        let is_programmed = |slice: &Slice| *families.of(slice.family);
        let only_programmed = |mut slices: Vec<Slice>| {
            slices.retain(is_programmed);
            slices
        };
        let update = match update {
            Update::Listed(slices) => Update::Listed(only_programmed(slices)),
            Update::PartlyListed(slices, unread) => {
                Update::PartlyListed(only_programmed(slices), unread)
            }
            Update::Put(slice) if is_programmed(&slice) => Update::Put(slice),
            Update::Put(Slice { name, .. }) | Update::Gone(name) => {
                self.slice(&name)?;
                Update::Gone(name)
            }
        };
        Some(Event::Slice(update))
    }
}
