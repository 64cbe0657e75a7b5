//! Notices of inotify that tell nothing new.
//!
//! In: a notice. Out: whether it comes of reading. Never: a watch; who follows files has his own.

use notify::Event;
use notify::event::{AccessKind, AccessMode, EventKind};

/// Reading a file makes notices too (opened, closed); those must not lead to another reading.
pub(crate) fn is_reading(notice: &Event) -> bool {
    matches!(notice.kind, EventKind::Access(access)
        if access != AccessKind::Close(AccessMode::Write))
}
