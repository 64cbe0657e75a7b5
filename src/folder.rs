//! Reads Services, EndpointSlices and this Node from YAML and JSON files.
//!
//! Takes a folder's `*.yaml`, `*.yml` and `*.json` files that are not hidden, or for a plan one
//! file. Returns [`Event`]s: complete lists first, then differences, until the receiver is dropped.
//! A file that does not parse keeps its last content, and an error in an object affects only that
//! object. Reports every [`Problem`] once for as long as it lasts. Reads a file when its writer is
//! done. Does not read subfolders. Does not take facts away because something could not be read.

use std::fmt;
use std::path::{Path, PathBuf};

use proxier::model::{Event, Update};

pub use self::follow::Folder;
use self::read::{Content, Seen, manifests, read_file};
use self::state::State;
use crate::objects::{self, ObjectId};
use crate::yaml;

mod claims;
mod documents;
mod follow;
mod heard;
mod json;
mod kinds;
mod read;
mod state;
mod unknown;
mod writing;

/// A part of the folder that is not used.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// A file cannot be read.
    Unreadable {
        /// The file's path.
        file: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// A file that had objects has none. Its objects stay in force until it is deleted.
    Emptied {
        /// The file's path.
        file: PathBuf,
    },
    /// A document of a file does not parse, or a part that looks relevant is skipped.
    Broken {
        /// The file's path.
        file: PathBuf,
        /// The error, with line, column and field.
        error: yaml::Error,
    },
    /// A part of an object cannot be used.
    Object {
        /// The file's path.
        file: PathBuf,
        /// The line at which the object's document begins.
        line: u64,
        /// The object, the field, and the error.
        problem: objects::Problem,
    },
    /// An object occurs twice. The first one counts, in the order of the files' names.
    Twice {
        /// The object.
        object: ObjectId,
        /// The file and line of the object that counts.
        kept: (PathBuf, u64),
        /// The file and line of the object that does not count.
        ignored: (PathBuf, u64),
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, reason } => write!(f, "{}: {reason}", file.display()),
            Self::Emptied { file } => write!(
                f,
                "{}: empty; the objects it had stay in force until it is deleted",
                file.display()
            ),
            Self::Broken { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Object { file, line, problem } => {
                write!(f, "{}:{line}: {problem}", file.display())
            }
            Self::Twice { object, kept, ignored } => write!(
                f,
                "{}:{}: {object} is ignored, because {}:{} has it too",
                ignored.0.display(),
                ignored.1,
                kept.0.display(),
                kept.1
            ),
        }
    }
}

impl Problem {
    /// Returns a key that stays equal when the lines of the file move.
    fn identity(&self) -> String {
        let file = |path: &Path| path.display().to_string();
        match self {
            Self::Unreadable { file: path, reason: _ } => format!("{}: unreadable", file(path)),
            Self::Emptied { file: path } => format!("{}: empty", file(path)),
            Self::Broken { file: path, error } => {
                format!("{}: {}: {}", file(path), error.field, error.reason)
            }
            Self::Object { file: path, line: _, problem } => format!("{}: {problem}", file(path)),
            Self::Twice { object, kept, ignored } => {
                format!("{}: {object}: {}", file(&ignored.0), file(&kept.0))
            }
        }
    }
}

/// The folder, or the file, cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("manifests {}: {reason}", path.display())]
pub struct Error {
    /// The path that was given.
    pub path: PathBuf,
    /// The cause of the error.
    pub reason: String,
}

impl Error {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a folder or a file once. Returns the three lists, and every problem.
///
/// # Errors
/// If the folder or file cannot be read.
pub fn load(path: &Path, node_name: &str) -> Result<(Vec<Event>, Vec<Problem>), Error> {
    let mut state = load_state(path, node_name)?;
    Ok((state.lists(), state.problems()))
}

/// Like [`load`], with a list of all nodes, which tells addresses that belong to another node.
///
/// # Errors
/// If the folder or file cannot be read.
pub fn load_with_nodes(path: &Path, node_name: &str) -> Result<(Vec<Event>, Vec<Problem>), Error> {
    let mut state = load_state(path, node_name)?;
    let mut events = state.lists();
    events.push(Event::NodeReadiness(Update::Listed(state.nodes())));
    Ok((events, state.problems()))
}

fn load_state(path: &Path, node_name: &str) -> Result<State, Error> {
    let content = if path.is_dir() {
        let paths = manifests(path).map_err(|error| Error::new(path, error))?;
        let mut seen = Seen::default();
        paths.into_iter().map(|path| (path.clone(), seen.read(&path))).collect()
    } else {
        let content = read_file(path).map_err(|error| Error::new(path, error))?;
        vec![(path.to_owned(), Content::Read(content))]
    };
    let mut state = State::new(node_name);
    state.update(content);
    Ok(state)
}
