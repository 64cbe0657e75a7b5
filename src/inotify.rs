//! Recognizes inotify events that report no change.
//!
//! Takes an event. Returns true if a reader caused it. Does not watch files; its users have watches of their own.

use notify::Event;
use notify::event::{AccessKind, AccessMode, EventKind};

/// True if the event comes from reading (open, close without writing), so that a reading does not trigger another one.
pub(crate) fn is_reading(notice: &Event) -> bool {
    matches!(notice.kind, EventKind::Access(access)
        if access != AccessKind::Close(AccessMode::Write))
}
