//! A folder as the texts of its files.
//!
//! In: a path. Out: the files that count, by name, and the text of each one that is asked for, or the reason why there is
//! none. A link that points to nothing is no file. Never: a look into the texts, or a reading of a file that is as it was
//! unless it is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What became of reading one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its text.
    Read(String),
    /// Why it has none.
    Failed(String),
    /// It is no longer there.
    Gone,
}

/// How a file is, beside what was read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// It is as it was.
    None,
    /// It has to be read: it changed so shortly before it was read that another change may not show.
    Unsure,
    /// Another file is in its place.
    Replaced,
    /// It was never read, or was written in its place.
    Changed,
}

/// The files that have been read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    files: BTreeMap<PathBuf, Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    stamp: Stamp,
    is_settled: bool,
    is_link: bool,
}

/// What differs when a file has changed: device, inode, size, times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: [u64; 2],
    state: [i64; 5],
}

/// A file that has just changed may change again within the grain of its times.
const SETTLED: Duration = Duration::from_secs(2);

impl Stamp {
    /// That of a file.
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            file: [metadata.dev(), metadata.ino()],
            state: [
                metadata.size().cast_signed(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        }
    }

    /// True if the file has not changed for long enough for a change to show.
    fn is_settled(metadata: &fs::Metadata, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(metadata.ctime()).unwrap_or(u64::MAX);
        since.as_secs().saturating_sub(changed) > SETTLED.as_secs()
    }
}

/// The files of a folder that count, in the order of their names.
pub(super) fn manifests(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_manifest(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Seen {
    /// Reads a file.
    pub(super) fn read(&mut self, path: &Path) -> Content {
        let read = fs::metadata(path).and_then(|metadata| {
            let text = read_checked(path, &metadata)?;
            Ok((text, metadata))
        });
        match read {
            Ok((text, metadata)) => {
                let known = Known {
                    stamp: Stamp::of(&metadata),
                    is_settled: Stamp::is_settled(&metadata, SystemTime::now()),
                    is_link: fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()),
                };
                self.files.insert(path.to_owned(), known);
                Content::Read(text)
            }
            Err(error) => {
                self.forget(path);
                // It went away just now, or it is a link to nothing, or a folder.
                let is_no_file = [ErrorKind::NotFound, ErrorKind::IsADirectory];
                if is_no_file.contains(&error.kind()) {
                    return Content::Gone;
                }
                Content::Failed(error.to_string())
            }
        }
    }

    /// How a file is, beside what was read of it.
    pub(super) fn difference(&self, path: &Path) -> Difference {
        let stamp = fs::metadata(path).ok().as_ref().map(Stamp::of);
        match (self.files.get(path), stamp) {
            (Some(known), Some(now)) if known.stamp == now => {
                if known.is_settled {
                    Difference::None
                } else {
                    Difference::Unsure
                }
            }
            (Some(known), Some(now)) if known.stamp.file == now.file => Difference::Changed,
            (Some(_), Some(_) | None) => Difference::Replaced,
            (None, _) => Difference::Changed,
        }
    }

    /// The files that are links, which change with what they lead to.
    pub(super) fn links(&self) -> Vec<PathBuf> {
        let links = self.files.iter().filter(|(_, known)| known.is_link);
        links.map(|(path, _)| path.clone()).collect()
    }

    /// A file is no longer there.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    read_checked(path, &fs::metadata(path)?)
}

fn read_checked(path: &Path, metadata: &fs::Metadata) -> io::Result<String> {
    // A pipe or a device could keep the reader waiting for ever.
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    String::from_utf8(fs::read(path)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Whether a file of this name counts.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path
        .extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    known && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_different_is_told_without_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let mut seen = Seen::default();
        assert_eq!(seen.difference(&file), Difference::Changed);
        fs::write(&file, "one").unwrap();
        assert_eq!(seen.difference(&file), Difference::Changed);
        assert_eq!(seen.read(&file), Content::Read("one".to_owned()));
        // Too young to be trusted.
        assert_eq!(seen.difference(&file), Difference::Unsure);
        std::thread::sleep(SETTLED + Duration::from_millis(1100));
        assert_eq!(seen.read(&file), Content::Read("one".to_owned()));
        assert_eq!(seen.difference(&file), Difference::None);
        fs::write(&file, "two").unwrap();
        assert_eq!(seen.difference(&file), Difference::Changed);
        let other = folder.path().join("b");
        fs::write(&other, "three").unwrap();
        fs::rename(&other, &file).unwrap();
        assert_eq!(seen.difference(&file), Difference::Replaced);
        fs::remove_file(&file).unwrap();
        assert_eq!(seen.difference(&file), Difference::Replaced);
        assert_eq!(seen.read(&file), Content::Gone);
        assert!(manifests(folder.path()).unwrap().is_empty());
    }
}
