//! What inotify says of the folder.
//!
//! In: notices, in the watcher's thread. Out: since the last time somebody asked, which files are other than before, and
//! which of them somebody still writes. Never: a look at a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use notify::event::{AccessKind, EventKind, ModifyKind, RenameMode};
use tokio::sync::Notify;

use super::read::is_manifest;
use crate::inotify::is_reading;

/// What the watcher's thread leaves for the reader.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Rings at each notice.
    pub(super) arrived: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    heard: Heard,
    /// Files of any name that were written and not closed since.
    open: BTreeSet<PathBuf>,
}

/// What has been heard since the last time.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The folder itself was moved or removed: the watch on it may be gone.
    pub(super) is_uprooted: bool,
    /// Notices were lost: any file may be another one.
    pub(super) is_incomplete: bool,
    /// Something that is no manifest is other than before; links may lead to it.
    pub(super) concerns_links: bool,
    /// The manifests that are other than before.
    pub(super) files: BTreeMap<PathBuf, Writer>,
}

/// Whether somebody writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// It was closed after it was written, or came into its place as a whole.
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

    /// Everything since the last time.
    pub(super) fn take(&self) -> Heard {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut inner.heard)
    }
}

impl Inner {
    fn note(&mut self, notice: &notify::Event) {
        match (notice.kind, &notice.paths[..]) {
            // Told after both halves of it: who still writes goes on under the new name.
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
