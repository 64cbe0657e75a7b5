//! Which slices the rounds are told of.
//!
//! In: an event, and the families that are programmed. Out: the event without EndpointSlices of other
//! families, or nothing if it spoke of no others (spec 6.1). Never: a slice that stays under its name when it
//! has become one of another family, which the API refuses and a manifest does not.

use proxier::Proxier;
use proxier::model::{Event, Slice, Update};

/// What the event says of the families that are programmed. It must be no [`Event::Together`]: whether
/// a slice is known depends on what comes before.
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
