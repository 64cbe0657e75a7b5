//! Detects changes of configuration files.
//!
//! Takes the paths of files. Reports when one of them may have changed: when it is written in place or replaced, or
//! when a symbolic link on its path changes, as at an update of a ConfigMap. Does not read the files. Ignores mere
//! readings.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{INotifyWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::inotify::is_reading;

/// The time for which a file must be left alone before it is read.
const QUIET: Duration = Duration::from_millis(200);
/// The longest wait for such a pause.
const PATIENCE: Duration = Duration::from_secs(2);
/// The interval of looking for a folder that does not exist, since the kernel reports nothing about it.
const UNASKED: Duration = Duration::from_secs(60);

/// Watches configuration files.
#[derive(Debug)]
pub struct FileWatcher {
    paths: Vec<PathBuf>,
    watcher: INotifyWatcher,
    places: BTreeSet<PathBuf>,
    /// True if every folder on the paths is watched, so that nothing must be looked for at intervals.
    is_whole: bool,
    arrived: Arc<Notify>,
}

impl FileWatcher {
    /// Watches these files from now on. An empty list never reports a change.
    ///
    /// # Errors
    /// If the kernel refuses another inotify instance.
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

    /// Waits until a file may have changed and has then been left alone for a moment.
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

    /// Waits until no notice has come for a moment, but not for long: other programs may write into the same folder.
    async fn quiet(&self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && timeout(QUIET, self.arrived.notified()).await.is_ok() {}
    }

    /// Watches the folders and files that the paths lead to now, since links may lead elsewhere after a change. Skips
    /// folders and files that do not exist.
    fn watch(&mut self) {
        let ways: Vec<_> = self.paths.iter().map(|path| WatchedPath::to(path)).collect();
        let folders: BTreeSet<_> = ways.iter().flat_map(|way| &way.folders).collect();
        let places: BTreeSet<_> =
            folders.into_iter().chain(ways.iter().map(|way| &way.file)).collect();
        for gone in self.places.iter().filter(|place| !places.contains(place)) {
            // The kernel removes the watch of a folder that is removed, so this may fail.
            let _ = self.watcher.unwatch(gone);
        }
        let watcher = &mut self.watcher;
        let mut watch = |place: &&PathBuf| {
            let watched = watcher.watch(place, RecursiveMode::NonRecursive);
            watched.inspect_err(|error| tracing::debug!("{error}")).is_ok()
        };
        self.places = places.into_iter().filter(&mut watch).cloned().collect();
        // The watch of its folder reports a file that does not exist yet.
        let mut folders = ways.iter().flat_map(|way| &way.folders);
        self.is_whole = folders.all(|folder| self.places.contains(folder));
    }
}

/// The folders and the file that a path leads through.
struct WatchedPath {
    /// The folders in which the path may change: that of each symbolic link, and that of the file.
    folders: Vec<PathBuf>,
    /// The file behind all links. Writing to a file that is mounted here, or has a second name elsewhere, is not
    /// reported to its folder.
    file: PathBuf,
}

impl WatchedPath {
    /// Follows the path as the kernel does, link by link.
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

/// The number of links that the kernel follows (`MAXSYMLINKS`).
const LINKS: usize = 40;

fn parts(path: &Path) -> VecDeque<PathBuf> {
    path.components().map(|part| Path::new(part.as_os_str()).to_owned()).collect()
}
