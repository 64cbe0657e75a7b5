//! Holds back files that are being written.
//!
//! Takes files that were written and not closed, or that have changed without a notice. Returns the
//! files that can be read: quiet for long enough, and, as far as can be seen, not open for writing.
//! Does not read the text of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::read::Stamp;

/// The time for which a file that was written and not closed has to be quiet: not every file system
/// reports a close.
const UNCLOSED: Duration = Duration::from_secs(10);
/// The time for which a file that changed without a notice, as on a network file system, has to be
/// quiet.
const UNANNOUNCED: Duration = Duration::from_secs(2);

/// The files that are not read yet.
#[derive(Debug, Default)]
pub(super) struct Writing {
    files: BTreeMap<PathBuf, Wait>,
    /// The files whose writer was reported.
    told: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Instant,
    patience: Duration,
    /// The file's stamp when the wait began.
    stamp: Option<Stamp>,
}

impl Writing {
    /// Notes that a file was written and not closed.
    pub(super) fn unclosed(&mut self, path: &Path, now: Instant) {
        self.wait(path, UNCLOSED, now);
    }

    /// Notes that a file has changed without a notice.
    pub(super) fn unannounced(&mut self, path: &Path, now: Instant) {
        self.wait(path, UNANNOUNCED, now);
    }

    /// A link was made, or leads to another file than before. It can be read at once unless a process writes that file.
    pub(super) fn linked(&mut self, path: &Path, now: Instant) {
        let wait = Wait { until: now, patience: UNANNOUNCED, stamp: stamp(path) };
        self.files.insert(path.to_owned(), wait);
    }

    /// A file was closed, or is gone.
    pub(super) fn done(&mut self, path: &Path) {
        self.files.remove(path);
        self.told.remove(path);
    }

    /// True if a file must not be read yet.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// True if no file is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the files, for a message.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.keys()
    }

    /// Returns the time of the next look. `None` if no file is held back.
    pub(super) fn next(&self) -> Option<Instant> {
        self.files.values().map(|wait| wait.until).min()
    }

    /// Takes out the files that can be read: those whose time has come, that did not change meanwhile and that no
    /// process has open, of those that can be seen.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PathBuf> {
        let due = self.files.iter().filter(|(_, wait)| wait.until <= now);
        let due: Vec<(PathBuf, Wait)> = due.map(|(path, wait)| (path.clone(), *wait)).collect();
        let writers = writers(due.iter().map(|(path, _)| path.as_path()));
        let mut ready = Vec::new();
        for (path, wait) in due {
            if let Some(process) = writers.get(&path) {
                self.tell(&path, *process);
                self.wait(&path, wait.patience, now);
            } else if wait.stamp != stamp(&path) {
                self.wait(&path, wait.patience, now);
            } else {
                self.done(&path);
                ready.push(path);
            }
        }
        ready
    }

    fn wait(&mut self, path: &Path, patience: Duration, now: Instant) {
        let wait = Wait { until: now + patience, patience, stamp: stamp(path) };
        self.files.insert(path.to_owned(), wait);
    }

    fn tell(&mut self, path: &Path, process: u32) {
        if self.told.insert(path.to_owned()) {
            let path = path.display();
            tracing::warn!(
                "{path}: process {process} has it open for writing; what was read before stays in force until it is closed"
            );
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().as_ref().map(Stamp::of)
}

/// True if the file at a path is complete although nothing closes it: a symbolic or hard link.
pub(super) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

/// The files that are open for writing, each with one of the processes that have it open. Links are followed. Processes
/// of other PID namespaces and, without privileges, of other users cannot be seen.
pub(super) fn writers<'a>(paths: impl Iterator<Item = &'a Path>) -> BTreeMap<PathBuf, u32> {
    let targets = Targets::of(paths);
    let mut found = BTreeMap::new();
    if targets.by_path.is_empty() {
        return found;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        for file in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let info = process.path().join("fdinfo").join(file.file_name());
            let paths = targets.opened_as(&file.path(), &info);
            found.extend(paths.into_iter().map(|path| (path.clone(), id)));
        }
    }
    found
}

/// The files that paths lead to.
#[derive(Default)]
struct Targets {
    by_path: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Files that have other names too, by device and inode.
    by_inode: BTreeMap<(u64, u64), Vec<PathBuf>>,
}

impl Targets {
    fn of<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        let mut targets = Self::default();
        for path in paths {
            let Ok(real) = fs::canonicalize(path) else { continue };
            if let Some(inode) = fs::metadata(&real).ok().filter(|file| file.nlink() > 1) {
                let inode = (inode.dev(), inode.ino());
                targets.by_inode.entry(inode).or_default().push(path.to_owned());
            }
            targets.by_path.entry(real).or_default().push(path.to_owned());
        }
        targets
    }

    /// The paths that lead to the file that a descriptor has open for writing.
    fn opened_as(&self, descriptor: &Path, info: &Path) -> Vec<&PathBuf> {
        let Ok(name) = fs::read_link(descriptor) else { return Vec::new() };
        let by_path = self.by_path.get(&name);
        let may_be_other_name = !self.by_inode.is_empty() && name.is_absolute();
        // Only what is open for writing is looked at: on a file system that hangs this would hang too.
        if (by_path.is_none() && !may_be_other_name) || !is_for_writing(info) {
            return Vec::new();
        }
        let file = may_be_other_name.then(|| fs::metadata(descriptor).ok()).flatten();
        let by_inode = file.and_then(|file| self.by_inode.get(&(file.dev(), file.ino())));
        by_path.into_iter().chain(by_inode).flatten().collect()
    }
}

/// The access mode is in the last two bits of `flags`, in octal (`proc_pid_fdinfo(5)`, `fcntl.h`).
fn is_for_writing(info: &Path) -> bool {
    let text = fs::read_to_string(info).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| matches!(flags & 0o3, 1 | 2))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_when_its_time_has_come_and_nobody_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let mut file = fs::File::create(&path).unwrap();
        let mut writing = Writing::default();
        let start = Instant::now();
        writing.unclosed(&path, start);
        assert_eq!(writing.next(), Some(start + UNCLOSED));
        assert!(writing.take_due(start + UNANNOUNCED).is_empty());
        // It is still open.
        assert!(writing.take_due(start + UNCLOSED).is_empty());
        assert_eq!(writing.next(), Some(start + 2 * UNCLOSED));
        file.write_all(b"more").unwrap();
        drop(file);
        // It is closed, and another one than at the last look.
        assert!(writing.take_due(start + 2 * UNCLOSED).is_empty());
        let due = writing.take_due(start + 3 * UNCLOSED);
        assert_eq!(due, std::slice::from_ref(&path));
        assert!(writing.is_empty() && !writing.contains(&path));
        writing.unannounced(&path, start);
        assert_eq!(writing.take_due(start + UNANNOUNCED), [path]);
    }

    #[test]
    fn who_only_reads_is_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "").unwrap();
        let _reader = fs::File::open(&path).unwrap();
        assert!(writers([path.as_path()].into_iter()).is_empty());
        let elsewhere = tempfile::tempdir().unwrap();
        let [link, other] = ["link.yaml", "other.yaml"].map(|name| elsewhere.path().join(name));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::hard_link(&path, &other).unwrap();
        let _writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        let paths = [path, link, other];
        let found = writers(paths.iter().map(PathBuf::as_path));
        assert_eq!(found, paths.map(|path| (path, std::process::id())).into());
    }
}
