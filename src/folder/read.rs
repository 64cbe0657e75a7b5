//! Reads the files of a folder.
//!
//! Takes a path. Returns the manifests in it, by name, and the text of each requested file or the
//! reason why there is none. Treats a link to nothing as no file. Does not parse the texts. Does
//! not read unchanged files unless they are requested.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The result of reading one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The text of the file.
    Read(String),
    /// The reason why it could not be read.
    Failed(String),
    /// The file does not exist any more.
    Gone,
}

/// The difference between a file and what was last read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The file is unchanged.
    None,
    /// The file may have changed: it was read so soon after a change that another one may not show.
    Unsure,
    /// Another file is in its place.
    Replaced,
    /// The file was never read, or was written in place.
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

/// The properties that differ when a file has changed: device, inode, size, and times in
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: [u64; 2],
    state: [i64; 5],
}

/// The age from which a change is trusted to show. An earlier change may fall within the resolution
/// of the file's times.
const SETTLED: Duration = Duration::from_secs(2);

impl Stamp {
    /// Returns the stamp of a file.
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

/// Returns the manifests of a folder, sorted by name.
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
                // The file has just been removed, or it is a link to nothing, or a folder.
                let is_no_file = [ErrorKind::NotFound, ErrorKind::IsADirectory];
                if is_no_file.contains(&error.kind()) {
                    return Content::Gone;
                }
                Content::Failed(error.to_string())
            }
        }
    }

    /// Compares a file with what was last read of it.
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

    /// Returns the files that are links, as they change with their targets.
    pub(super) fn links(&self) -> Vec<PathBuf> {
        let links = self.files.iter().filter(|(_, known)| known.is_link);
        links.map(|(path, _)| path.clone()).collect()
    }

    /// Forgets a file that does not exist any more.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }
}

/// Reads one file as UTF-8.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    read_checked(path, &fs::metadata(path)?)
}

fn read_checked(path: &Path, metadata: &fs::Metadata) -> io::Result<String> {
    // A pipe or a device could block the reader forever.
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    String::from_utf8(fs::read(path)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// True if a file of this name is a manifest.
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
        // The file is too young to be trusted.
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
