//! Collects the notices of inotify.
//!
//! Takes notices, in the watcher's thread. Returns which files have changed since the last call,
//! and which of them are still being written. Does not look at files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use notify::event::{AccessKind, EventKind, ModifyKind, RenameMode};
use tokio::sync::Notify;

use super::read::is_manifest;
use crate::inotify::is_reading;

/// The notices that the watcher's thread leaves for the reader.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Notified at each notice.
    pub(super) arrived: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    heard: Heard,
    /// The files of any name that were written and not closed since.
    open: BTreeSet<PathBuf>,
}

/// The notices since the last call.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// True if the folder itself was moved or removed: the watch on it may be gone.
    pub(super) is_uprooted: bool,
    /// True if notices were lost: any file may have changed.
    pub(super) is_incomplete: bool,
    /// True if something other than a manifest has changed; links may point to it.
    pub(super) concerns_links: bool,
    /// The manifests that have changed.
    pub(super) files: BTreeMap<PathBuf, Writer>,
}

/// The state of a file's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// The file was closed after it was written, or was put into its place complete.
    Done,
    /// It was made, and neither written nor closed since. A link is whole then; any other file is still being written.
    Made,
    /// It was written and not closed since.
    AtWork,
}

impl Notices {
    /// Takes a notice about `folder` or what is in it.
    pub(super) fn hear(&self, folder: &Path, notice: notify::Result<notify::Event>) {
        if notice.as_ref().is_ok_and(is_reading) {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match notice {
            Ok(notice) if notice.need_rescan() => inner.heard.is_incomplete = true,
            Ok(notice) if !notice.paths.iter().any(|path| path == folder) => inner.note(&notice),
            Ok(_) | Err(_) => inner.heard.is_uprooted = true,
        }
        drop(inner);
        self.arrived.notify_one();
    }

    /// Returns everything since the last call.
    pub(super) fn take(&self) -> Heard {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.heard)
    }
}

impl Inner {
    fn note(&mut self, notice: &notify::Event) {
        match (notice.kind, &notice.paths[..]) {
            // This notice comes after those of both names: a writer continues under the new name.
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), [from, to]) => {
                if self.open.remove(from) {
                    self.put(to, Writer::AtWork);
                }
            }
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), paths) => {
                paths.iter().for_each(|path| self.changed(path, Writer::Done));
            }
            (EventKind::Create(_), paths) => {
                paths.iter().for_each(|path| self.put(path, Writer::Made));
            }
            (EventKind::Modify(ModifyKind::Data(_)), paths) => {
                paths.iter().for_each(|path| self.put(path, Writer::AtWork));
            }
            (
                EventKind::Access(AccessKind::Close(_))
                | EventKind::Remove(_)
                | EventKind::Modify(ModifyKind::Name(_)),
                paths,
            ) => paths.iter().for_each(|path| self.put(path, Writer::Done)),
            (_, paths) => {
                for path in paths {
                    let is_open = self.open.contains(path);
                    self.changed(path, if is_open { Writer::AtWork } else { Writer::Done });
                }
            }
        }
    }

    fn put(&mut self, path: &Path, writer: Writer) {
        match writer {
            Writer::Made | Writer::AtWork => drop(self.open.insert(path.to_owned())),
            Writer::Done => drop(self.open.remove(path)),
        }
        self.changed(path, writer);
    }

    fn changed(&mut self, path: &Path, writer: Writer) {
        if is_manifest(path) {
            self.heard.files.insert(path.to_owned(), writer);
        } else {
            self.heard.concerns_links = true;
        }
    }
}
