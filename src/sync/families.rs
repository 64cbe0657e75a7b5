//! Filters EndpointSlices by address family.
//!
//! Takes an event and the families that are programmed. Returns the event without EndpointSlices of
//! other families, or `None` if nothing is left (spec 6.1). A slice that changes to another family
//! counts as removed. The API forbids such a change, but a manifest can make it.

use proxier::Proxier;
use proxier::model::{Event, Slice, Update};

/// Returns the part of the event that concerns the programmed families. The event must not be an
/// [`Event::Together`]: the answer depends on the events before it.
pub(super) fn concerning(event: Event, proxier: &Proxier) -> Option<Event> {
    let Event::Slice(update) = event else { return Some(event) };
    let is_programmed = |slice: &Slice| *proxier.settings().families.of(slice.family);
    let update = match update {
        Update::Listed(mut slices) => {
            slices.retain(is_programmed);
            Update::Listed(slices)
        }
        Update::Put(slice) if is_programmed(&slice) => Update::Put(slice),
        Update::Put(Slice { name, .. }) | Update::Gone(name) => {
            proxier.store().slice(&name)?;
            Update::Gone(name)
        }
    };
    Some(Event::Slice(update))
}
