//! Noticing that a configuration file has changed.
//!
//! In: the paths of files. Out: a word when one of them may have changed: written in place, replaced by
//! another, or reached through symbolic links of which one was, as when a ConfigMap is updated. Never:
//! a look at what is in them; a wake-up for a mere reading.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{INotifyWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::inotify::is_reading;

/// A file has to be left alone for so long before it is read.
const QUIET: Duration = Duration::from_millis(200);
/// But not longer than so.
const PATIENCE: Duration = Duration::from_secs(2);
/// While a folder is not there nobody tells of it, and it is looked for this often.
const UNASKED: Duration = Duration::from_secs(60);

/// Files that are being watched.
#[derive(Debug)]
pub struct FileWatcher {
    paths: Vec<PathBuf>,
    watcher: INotifyWatcher,
    places: BTreeSet<PathBuf>,
    /// Whether each folder on the way is watched, so that nothing has to be looked for unasked.
    is_whole: bool,
    arrived: Arc<Notify>,
}

impl FileWatcher {
    /// Watches these files from now on.
    ///
    /// # Errors
    /// If the kernel watches nothing more.
    pub fn new(paths: Vec<PathBuf>) -> notify::Result<Self> {
        let arrived = Arc::new(Notify::new());
        let told = Arc::clone(&arrived);
        let hear = move |notice: notify::Result<notify::Event>| {
            if !notice.is_ok_and(|notice| is_reading(&notice)) {
                told.notify_one();
            }
        };
        let watcher = INotifyWatcher::new(hear, notify::Config::default())?;
        let places = BTreeSet::new();
        let mut followed = Self { paths, watcher, places, is_whole: false, arrived };
        followed.watch();
        Ok(followed)
    }

    /// Waits until a file may have changed and was then left alone for a moment.
    pub async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        let notice = self.arrived.notified();
        if self.is_whole {
            notice.await;
        } else {
            let _ = timeout(UNASKED, notice).await;
        }
        self.quiet().await;
        self.watch();
    }

    /// Waits until no notice has come for a moment; others may write into the same folder all the time.
    async fn quiet(&self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && timeout(QUIET, self.arrived.notified()).await.is_ok() {}
    }

    /// Links lead to other folders after a change. One that is not there is not watched.
    fn watch(&mut self) {
        let ways: Vec<_> = self.paths.iter().map(|path| WatchedPath::to(path)).collect();
        let folders: BTreeSet<_> = ways.iter().flat_map(|way| &way.folders).collect();
        let places: BTreeSet<_> =
            folders.into_iter().chain(ways.iter().map(|way| &way.file)).collect();
        for gone in self.places.iter().filter(|place| !places.contains(place)) {
            // It may have been removed, and the watch with it.
            let _ = self.watcher.unwatch(gone);
        }
        let watcher = &mut self.watcher;
        let mut watch = |place: &&PathBuf| {
            let watched = watcher.watch(place, RecursiveMode::NonRecursive);
            watched.inspect_err(|error| tracing::debug!("{error}")).is_ok()
        };
        self.places = places.into_iter().filter(&mut watch).cloned().collect();
        // A file that is not there comes by its folder.
        let mut folders = ways.iter().flat_map(|way| &way.folders);
        self.is_whole = folders.all(|folder| self.places.contains(folder));
    }
}

/// How a file is reached.
struct WatchedPath {
    /// Where the way may change: the folder of each symbolic link, and that of the file.
    folders: Vec<PathBuf>,
    /// The file, behind all links: one that is mounted here, or has another name elsewhere, is written to without a
    /// word to this folder.
    file: PathBuf,
}

impl WatchedPath {
    /// Goes the way that the kernel goes, link by link.
    fn to(path: &Path) -> Self {
        let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut ahead: VecDeque<PathBuf> = parts(&named);
        let (mut folders, mut file) = (Vec::new(), PathBuf::new());
        while let Some(part) = ahead.pop_front() {
            let here = file.clone();
            match part.as_os_str().as_encoded_bytes() {
                b".." => drop(file.pop()),
                _ => file.push(part),
            }
            if let Ok(target) = file.read_link() {
                folders.push(here.clone());
                if folders.len() > LINKS {
                    break;
                }
                for part in parts(&target).into_iter().rev() {
                    ahead.push_front(part);
                }
                file = here;
            }
        }
        folders.extend(file.parent().map(Path::to_owned));
        Self { folders, file }
    }
}

/// As many links as the kernel follows (`MAXSYMLINKS`).
const LINKS: usize = 40;

fn parts(path: &Path) -> VecDeque<PathBuf> {
    path.components().map(|part| Path::new(part.as_os_str()).to_owned()).collect()
}
