//! Follows a folder while it changes.
//!
//! Takes notices of inotify. Returns events. A notice means that the file it names may have
//! changed. The file is read once the folder has been quiet for a moment and no process writes the
//! file any more. So an atomic rename, an editor's temporary files, a ConfigMap's swap of links and
//! a slow writer are treated alike. Looks at all files at long intervals too, because links may
//! point to places without notices. Does not end when the folder is gone: its last content stays
//! until it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{INotifyWatcher, RecursiveMode, Watcher};
use proxier::model::Batch;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout_at};

use super::heard::{Heard, Notices, Writer};
use super::read::{Content, Difference, Seen, manifests};
use super::state::{State, Subject};
use super::writing::{self, Writing};
use super::{Error, Problem};
use crate::lasting::{Area, Condition, Lasting};

/// The time for which the folder has to be quiet before it is read.
const QUIET: Duration = Duration::from_millis(50);
/// The time after which a folder that is never quiet is read all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time between two looks at all files without a notice.
const UNASKED: Duration = Duration::from_secs(30);
/// The time between two looks while the folder is missing or cannot be watched.
const MISSING: Duration = Duration::from_secs(1);
/// The longest time that the first lists wait for files that are being written at the start.
const START: Duration = Duration::from_secs(30);

/// A folder of manifests that is being followed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    state: State,
    seen: Seen,
    writing: Writing,
    watcher: INotifyWatcher,
    notices: Arc<Notices>,
    /// Device and inode of the watched folder.
    watched: Option<(u64, u64)>,
    /// The problems that were reported: for each its identity and its text.
    told: BTreeMap<Subject, BTreeSet<String>>,
    /// The files that the first lists wait for, as they were logged.
    waited: Option<String>,
    /// The time since which the folder is followed.
    opened: Instant,
    /// The time of the next look at all files.
    next_full: Instant,
    lasting: Lasting,
}

impl Folder {
    /// Starts to watch a folder. Fails if it is not a folder or cannot be read.
    pub fn open(path: &Path, node_name: &str) -> Result<Self, Error> {
        if let Err(error) = fs::read_dir(path) {
            return Err(Error::new(path, error));
        }
        // The watcher reports absolute paths, whatever path it was given.
        let path = &std::path::absolute(path).map_err(|error| Error::new(path, error))?;
        let notices = Arc::new(Notices::default());
        let watcher = watcher(path, &notices).map_err(|error| Error::new(path, error))?;
        let mut folder = Self {
            path: path.to_owned(),
            state: State::new(node_name),
            seen: Seen::default(),
            writing: Writing::default(),
            watcher,
            notices,
            watched: None,
            told: BTreeMap::new(),
            waited: None,
            opened: Instant::now(),
            next_full: Instant::now(),
            lasting: Lasting::default(),
        };
        folder.watch(false).map_err(|error| Error::new(path, error))?;
        folder.watched = None;
        Ok(folder)
    }

    /// Sets the register in which lasting problems are kept for reminders.
    #[must_use]
    pub fn reminding(self, lasting: Lasting) -> Self {
        Self { lasting, ..self }
    }

    /// Sends the lists and then every difference, until the receiver is dropped. All differences of
    /// one look are one batch: a single rename may have moved an address from one Service to
    /// another.
    pub async fn follow(mut self, events: Sender<Batch>) {
        let notices = Arc::clone(&self.notices);
        loop {
            let look = tokio::task::spawn_blocking(move || {
                let found = self.look(Instant::now());
                (self, found)
            });
            // The runtime is being shut down, or the reader has panicked. The caller treats the end
            // of a source as an error.
            let Ok((folder, found)) = look.await else { return };
            self = folder;
            if !found.is_empty() && events.send(found).await.is_err() {
                return;
            }
            tokio::select! {
                () = events.closed() => return,
                () = sleep(self.pause(Instant::now())) => {}
                () = notices.arrived.notified() => quiet(&notices).await,
            }
        }
    }

    /// Returns how long to wait for a notice before the next look.
    fn pause(&self, now: Instant) -> Duration {
        let start = (!self.state.is_listed()).then(|| self.opened + START);
        let next = [Some(self.next_full), self.writing.next(), start].into_iter().flatten().min();
        next.unwrap_or(now).saturating_duration_since(now)
    }

    /// Reads what may have changed and returns the differences. The watch is set before the first
    /// file is read, so that a change during the reading leaves a notice.
    fn look(&mut self, now: Instant) -> Batch {
        let heard = self.notices.take();
        let place = self.watch(heard.is_uprooted).map_err(|error| error.to_string());
        let is_full = place != Ok(Place::AsBefore) || heard.is_incomplete || self.next_full <= now;
        let mut wanted = self.changed(heard, now);
        let mut content = Vec::new();
        if is_full {
            let is_new = place == Ok(Place::New);
            let listed =
                place.and_then(|_| manifests(&self.path).map_err(|error| error.to_string()));
            self.next_full = now + if listed.is_ok() { UNASKED } else { MISSING };
            self.record_condition(listed.as_ref().err().cloned());
            match listed {
                Ok(paths) => self.look_at_all(paths, is_new, now, &mut wanted, &mut content),
                Err(_) => {
                    self.watched = None;
                    return Vec::new();
                }
            }
        }
        wanted.extend(self.writing.take_due(now));
        if !self.state.is_listed() && now >= self.opened + START {
            wanted.extend(self.waited_in_vain());
        }
        for path in wanted {
            content.push((path.clone(), self.seen.read(&path)));
        }
        let (events, subjects) = self.state.update(content);
        self.tell(subjects);
        if self.state.is_listed() { events } else { self.first_lists(now) }
    }

    /// The files that the first lists do not wait for any longer. They are read as they are, since lists without them
    /// would take their Services away. They are read again when they are closed.
    fn waited_in_vain(&self) -> Vec<PathBuf> {
        let paths: Vec<_> = self.writing.paths().cloned().collect();
        for path in paths.iter().map(|path| path.display()) {
            tracing::warn!("{path}: still not closed after {START:?}; read as it is now");
        }
        paths
    }

    /// The manifests that notices name and that can be read, and the links among all where a notice may mean one.
    fn changed(&mut self, heard: Heard, now: Instant) -> BTreeSet<PathBuf> {
        let mut wanted = BTreeSet::new();
        for (path, writer) in heard.files {
            match writer {
                // A link is complete when it is made, and no close event follows.
                Writer::Made if writing::is_link(&path) => self.writing.linked(&path, now),
                Writer::Made | Writer::AtWork => self.writing.unclosed(&path, now),
                Writer::Done => {
                    self.writing.done(&path);
                    wanted.insert(path);
                }
            }
        }
        if heard.concerns_links {
            for path in self.seen.links() {
                self.look_at(path, now, &mut wanted);
            }
        }
        wanted
    }

    /// Looks at all files. If the folder was replaced or is looked at for the first time, reads all
    /// files except those that are being written.
    fn look_at_all(
        &mut self,
        paths: Vec<PathBuf>,
        is_new: bool,
        now: Instant,
        wanted: &mut BTreeSet<PathBuf>,
        content: &mut Vec<(PathBuf, Content)>,
    ) {
        let present: BTreeSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let gone = self.state.paths().filter(|path| !present.contains(path)).map(Path::to_owned);
        for path in gone.collect::<Vec<_>>() {
            self.seen.forget(&path);
            self.writing.done(&path);
            content.push((path, Content::Gone));
        }
        if !is_new {
            paths.into_iter().for_each(|path| self.look_at(path, now, wanted));
            return;
        }
        let writers = writing::writers(paths.iter().map(PathBuf::as_path));
        for path in paths {
            if writers.contains_key(&path) {
                self.writing.unclosed(&path, now);
            } else if !self.writing.contains(&path) {
                wanted.insert(path);
            }
        }
    }

    /// Looks at a file without a notice. One that was written in place may not be complete yet.
    fn look_at(&mut self, path: PathBuf, now: Instant, wanted: &mut BTreeSet<PathBuf>) {
        if self.writing.contains(&path) {
            return;
        }
        match self.seen.difference(&path) {
            Difference::None => {}
            Difference::Replaced if writing::is_link(&path) => self.writing.linked(&path, now),
            Difference::Unsure | Difference::Replaced => drop(wanted.insert(path)),
            Difference::Changed if wanted.contains(&path) => {}
            Difference::Changed => self.writing.unannounced(&path, now),
        }
    }

    /// Returns the lists, unless they have to wait for a file that is being written: the kernel may
    /// still hold its objects from before.
    fn first_lists(&mut self, now: Instant) -> Batch {
        if self.writing.is_empty() || now >= self.opened + START {
            return self.state.lists();
        }
        let waited: Vec<_> = self.writing.paths().map(|path| path.display().to_string()).collect();
        let waited = waited.join(", ");
        if self.waited.as_ref() != Some(&waited) {
            tracing::info!(
                "manifests: waiting for the programs that write {waited}, {START:?} at most"
            );
            self.waited = Some(waited);
        }
        Vec::new()
    }

    /// Watches the folder that is now at the path, if it is not watched already.
    fn watch(&mut self, is_uprooted: bool) -> io::Result<Place> {
        let metadata = fs::metadata(&self.path)?;
        let identity = Some((metadata.dev(), metadata.ino()));
        if self.watched == identity && !is_uprooted {
            return Ok(Place::AsBefore);
        }
        // There may be no old watch; then there is nothing to end.
        let _ = self.watcher.unwatch(&self.path);
        self.watched = None;
        self.watcher.watch(&self.path, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
        self.watched = identity;
        Ok(Place::New)
    }

    /// Records in [`Lasting`] that the folder cannot be read or followed, for the given reason, or, with `None`, that
    /// it can be again.
    fn record_condition(&self, error: Option<String>) {
        match error {
            Some(reason) => {
                let path = self.path.display();
                let text =
                    format!("manifests {path}: {reason}; what was read before stays in force");
                self.lasting.begin(Area::Source, FOLDER, text);
            }
            None => self.lasting.end(Area::Source, FOLDER),
        }
    }

    /// Reports the problems of these subjects. A problem stays the same when the lines of its file move.
    fn tell(&mut self, subjects: BTreeSet<Subject>) {
        for subject in subjects {
            let problems = self.state.problems_of(&subject);
            let condition = |problem: &Problem| {
                let key = format!("{subject:?} {}", problem.identity());
                Condition { cause: key.clone(), key, text: problem.to_string() }
            };
            let conditions: Vec<_> = problems.iter().map(condition).collect();
            let now: BTreeSet<_> = conditions.iter().map(|it| it.key.clone()).collect();
            self.lasting.begin_all(Area::Objects, conditions);
            let before = self.told.remove(&subject).unwrap_or_default();
            self.lasting.end_all(Area::Objects, before.difference(&now).map(String::as_str));
            if !now.is_empty() {
                self.told.insert(subject, now);
            }
        }
    }
}

/// The key of the condition that the folder cannot be followed.
const FOLDER: &str = "manifests";

/// Tells whether the folder at the path is the one that was watched before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    AsBefore,
    New,
}

/// Waits until no notice has come for a moment.
async fn quiet(notices: &Notices) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let until = deadline.min(tokio::time::Instant::now() + QUIET);
        if timeout_at(until, notices.arrived.notified()).await.is_err() || until == deadline {
            return;
        }
    }
}

fn watcher(path: &Path, notices: &Arc<Notices>) -> notify::Result<INotifyWatcher> {
    let (path, notices) = (path.to_owned(), Arc::clone(notices));
    let hear = move |notice: notify::Result<notify::Event>| notices.hear(&path, notice);
    INotifyWatcher::new(hear, notify::Config::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_never_closed_is_in_the_first_lists_as_it_is_by_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let web = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: \
                   {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n";
        fs::write(&path, web).unwrap();
        let held = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut folder = Folder::open(dir.path(), "node1").unwrap();
        let start = folder.opened;
        assert!(folder.look(start).is_empty());
        assert!(folder.look(start + START / 2).is_empty());
        let lists = format!("{:?}", folder.look(start + START));
        assert!(lists.contains("\"web\""), "{lists}");
        // It is still waited for.
        assert!(folder.writing.contains(&path));
        drop(held);
        assert!(folder.look(start + 2 * START).is_empty(), "nothing is different");
        assert!(folder.writing.is_empty());
    }
}
