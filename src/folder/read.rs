//! A folder as the texts of its files.
//!
//! In: a path. Out: the files that count, by name, each with its text, with the reason why there is
//! none, or with the word that it is as it was: a folder of thousands costs a look at each, not a reading. A link that points to nothing is no file. Never: a look into the texts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What became of reading one file.
#[derive(Debug)]
pub(super) enum Content {
    /// Its text.
    Read(String),
    /// Why it has none.
    Failed(String),
    /// It has the text that it had before.
    Same,
}

/// The files that have been read, as far as they need not be read again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    stamps: BTreeMap<PathBuf, Stamp>,
}

/// What differs when a file has changed: device, inode, size, times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i64; 7]);

/// A file that has just changed may change again within the grain of its times.
const SETTLED: Duration = Duration::from_secs(2);

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        let numbers = [metadata.dev(), metadata.ino(), metadata.size()].map(u64::cast_signed);
        let [device, inode, size] = numbers;
        Self([
            device,
            inode,
            size,
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ])
    }

    /// True if the file has not changed for long enough for a change to show.
    fn is_settled(metadata: &fs::Metadata, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(metadata.ctime()).unwrap_or(u64::MAX);
        since.as_secs().saturating_sub(changed) > SETTLED.as_secs()
    }
}

impl Seen {
    /// Reads every file of a folder that counts, in the order of their names; one that is as it was is
    /// only named.
    pub(super) fn read_folder(&mut self, folder: &Path) -> io::Result<Vec<(PathBuf, Content)>> {
        let mut stamps = std::mem::take(&mut self.stamps);
        let now = SystemTime::now();
        let mut read = |path: PathBuf| {
            let metadata = fs::metadata(&path);
            let stamp = metadata.as_ref().ok().map(Stamp::of);
            let known = stamps.remove(&path);
            if known.is_some() && known == stamp {
                self.stamps.extend(known.map(|stamp| (path.clone(), stamp)));
                return Some((path, Content::Same));
            }
            match metadata.and_then(|metadata| Ok((read_checked(&path, &metadata)?, metadata))) {
                Ok((text, metadata)) => {
                    if Stamp::is_settled(&metadata, now) {
                        self.stamps.extend(stamp.map(|stamp| (path.clone(), stamp)));
                    }
                    Some((path, Content::Read(text)))
                }
                // It went away just now, or it is a link to nothing, or a folder.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) =>
                {
                    None
                }
                Err(error) => Some((path, Content::Failed(error.to_string()))),
            }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if is_manifest(&path) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths.into_iter().filter_map(&mut read).collect())
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

fn is_manifest(path: &Path) -> bool {
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
    fn a_file_is_read_again_when_it_may_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        fs::write(&file, "one").unwrap();
        let mut seen = Seen::default();
        let mut read = || {
            let content = seen.read_folder(folder.path()).unwrap();
            content.into_iter().map(|(_, content)| format!("{content:?}")).collect::<Vec<_>>()
        };
        // Too young to be trusted.
        assert_eq!(read(), [r#"Read("one")"#]);
        assert_eq!(read(), [r#"Read("one")"#]);
        std::thread::sleep(SETTLED + Duration::from_millis(1100));
        assert_eq!(read(), [r#"Read("one")"#]);
        assert_eq!(read(), ["Same"]);
        fs::write(&file, "two").unwrap();
        assert_eq!(read(), [r#"Read("two")"#]);
        fs::remove_file(&file).unwrap();
        assert_eq!(read(), [""; 0]);
    }
}
