//! The folder, live.
//!
//! In: what inotify says of the folder. Out: events. A notice only means "look again": everything
//! is read anew once the folder has been quiet for a moment, so an atomic rename, an editor's
//! dance, a ConfigMap's swap of links and a lost notice come to the same. A slow clock looks too,
//! because links may lead to where no notice comes from. Never: an end because the folder is gone;
//! what it last said stays until it is back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{INotifyWatcher, RecursiveMode, Watcher};
use proxier::model::Event;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout_at};

use super::read::Seen;
use super::state::State;
use super::{Error, Problem};
use crate::notices::is_reading;

/// The folder has to be quiet for so long before it is read,
const QUIET: Duration = Duration::from_millis(50);
/// but a folder that is never quiet is read after this time all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// The folder is read this often without a notice,
const UNASKED: Duration = Duration::from_secs(30);
/// and this often while it is missing or cannot be watched.
const MISSING: Duration = Duration::from_secs(1);

/// A folder of manifests that is being watched.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    state: State,
    seen: Seen,
    watcher: INotifyWatcher,
    notices: Arc<Notices>,
    /// Device and inode of the folder that the watch is on.
    watched: Option<(u64, u64)>,
    /// The problems that were told, in words.
    told: BTreeSet<String>,
    /// Why the folder cannot be followed at the moment.
    trouble: Option<String>,
}

/// What the watcher's thread leaves for the reader.
#[derive(Debug, Default)]
struct Notices {
    arrived: Notify,
    /// One of them was about the folder itself: the watch may be gone.
    is_uprooted: AtomicBool,
}

impl Folder {
    /// Begins to watch a folder. Fails if it is none, or cannot be read.
    pub fn open(path: &Path, node_name: &str) -> Result<Self, Error> {
        if let Err(error) = fs::read_dir(path) {
            return Err(Error::new(path, error));
        }
        // The watcher names files by absolute paths, whatever it was given.
        let path = &std::path::absolute(path).map_err(|error| Error::new(path, error))?;
        let notices = Arc::new(Notices::default());
        let watcher = watcher(path, &notices).map_err(|error| Error::new(path, error))?;
        let mut folder = Self {
            path: path.to_owned(),
            state: State::new(node_name),
            seen: Seen::default(),
            watcher,
            notices,
            watched: None,
            told: BTreeSet::new(),
            trouble: None,
        };
        folder.watch().map_err(|error| Error::new(path, error))?;
        Ok(folder)
    }

    /// Sends the lists and then every difference, until nobody listens any more. What was different at one look is
    /// one event: one renaming may have moved an address from one Service to another.
    pub async fn follow(mut self, events: Sender<Event>) {
        let notices = Arc::clone(&self.notices);
        loop {
            let look = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            // The runtime is being shut down, or the reader has died; the caller takes the end of
            // a source for an error.
            let Ok((folder, found)) = look.await else { return };
            self = folder;
            if !found.is_empty() && events.send(Event::Together(found)).await.is_err() {
                return;
            }
            let pause = if self.trouble.is_some() { MISSING } else { UNASKED };
            tokio::select! {
                () = events.closed() => return,
                () = sleep(pause) => {}
                () = notices.arrived.notified() => notices.quiet().await,
            }
        }
    }

    /// Reads the folder and says what is different. The watch is set before the first file is
    /// read, so that a change during the reading leaves a notice.
    fn look(&mut self) -> Vec<Event> {
        let watched = self.watch().map_err(|error| error.to_string());
        let content = self.seen.read_folder(&self.path).map_err(|error| error.to_string());
        self.note(watched.and(content.as_ref().map(|_| ()).map_err(Clone::clone)).err());
        let Ok(content) = content else {
            self.watched = None;
            return Vec::new();
        };
        let events = self.state.update(content);
        self.tell();
        events
    }

    /// Puts the watch on the folder that is now at the path, if it is not there already.
    fn watch(&mut self) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        let identity = Some((metadata.dev(), metadata.ino()));
        let is_uprooted = self.notices.is_uprooted.swap(false, Ordering::Relaxed);
        if self.watched == identity && !is_uprooted {
            return Ok(());
        }
        // There may be no old watch; then there is nothing to end.
        let _ = self.watcher.unwatch(&self.path);
        self.watched = None;
        self.watcher.watch(&self.path, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
        self.watched = identity;
        Ok(())
    }

    /// Says when trouble with the folder begins and when it ends.
    fn note(&mut self, trouble: Option<String>) {
        let path = self.path.display();
        match (&self.trouble, &trouble) {
            (_, Some(reason)) if self.trouble != trouble => {
                tracing::warn!("manifests {path}: {reason}; what was read before stays in force");
            }
            (Some(_), None) => tracing::info!("manifests {path}: followed again"),
            (_, _) => {}
        }
        self.trouble = trouble;
    }

    /// Says each problem when it is new and when it is over.
    fn tell(&mut self) {
        let now: BTreeSet<_> = self.state.problems().iter().map(Problem::to_string).collect();
        for problem in now.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        for problem in self.told.difference(&now) {
            tracing::info!("no longer: {problem}");
        }
        self.told = now;
    }
}

impl Notices {
    /// Waits until no notice has come for a moment.
    async fn quiet(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let until = deadline.min(Instant::now() + QUIET);
            if timeout_at(until, self.arrived.notified()).await.is_err() || until == deadline {
                return;
            }
        }
    }
}

fn watcher(path: &Path, notices: &Arc<Notices>) -> notify::Result<INotifyWatcher> {
    let (path, notices) = (path.to_owned(), Arc::clone(notices));
    let hear = move |notice: notify::Result<notify::Event>| {
        match notice {
            Ok(notice) if is_reading(&notice) => return,
            Ok(notice) if !notice.paths.contains(&path) => {}
            Ok(_) | Err(_) => notices.is_uprooted.store(true, Ordering::Relaxed),
        }
        notices.arrived.notify_one();
    };
    INotifyWatcher::new(hear, notify::Config::default())
}
