//! A folder as the texts of its files.
//!
//! In: a path. Out: the files that count, by name, each with its text or with the reason why there
//! is none. A link that points to nothing is no file. Never: a look into the texts.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What became of reading one file.
#[derive(Debug)]
pub(super) enum Content {
    /// Its text.
    Read(String),
    /// Why it has none.
    Failed(String),
}

/// Reads every file of a folder that counts, in the order of their names.
pub(super) fn read_folder(folder: &Path) -> io::Result<Vec<(PathBuf, Content)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if is_manifest(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| match read_file(&path) {
        Ok(text) => Some((path, Content::Read(text))),
        // It went away just now, or it is a link to nothing, or a folder.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => None,
        Err(error) => Some((path, Content::Failed(error.to_string()))),
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    // A pipe or a device could keep the reader waiting for ever.
    let metadata = fs::metadata(path)?;
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
