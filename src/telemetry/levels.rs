//! Decides which events are logged: `-v` and `--vmodule`.
//!
//! Takes a verbosity, and patterns of source files with verbosities of their own. Decides once for each place in the
//! code. Drops details of other crates.

use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::ROUNDS;
use crate::config::VModule;

/// The verbosity from which on each round is logged.
const EACH_ROUND: u32 = 2;
/// The verbosity from which on each change is logged.
const CHANGES: u32 = 4;
/// The verbosity from which on everything is logged.
const EVERYTHING: u32 = 6;

/// The targets of this project's own events.
const OURS: &[&str] = &["ipvs_proxy", "proxier"];

/// The verbosities of the log.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    /// The verbosity of files that match no pattern.
    usual: u32,
    files: Vec<(String, u32)>,
}

/// The least verbosity at which an event is logged; `None` for errors, which are always logged.
pub(super) fn verbosity(metadata: &Metadata<'_>) -> Option<u32> {
    match *metadata.level() {
        Level::ERROR => None,
        Level::TRACE => Some(EVERYTHING),
        Level::DEBUG => Some(CHANGES),
        _ if metadata.target() == ROUNDS => Some(EACH_ROUND),
        _ => Some(0),
    }
}

/// The most detailed level that is logged at a verbosity.
fn level(verbosity: u32) -> Level {
    match verbosity {
        EVERYTHING.. => Level::TRACE,
        CHANGES.. => Level::DEBUG,
        _ => Level::INFO,
    }
}

impl Levels {
    pub(super) fn new(verbosity: u32, vmodule: &[VModule]) -> Self {
        let files = vmodule.iter();
        let files = files.map(|item| (item.file_pattern.clone(), item.verbosity));
        Self { usual: verbosity, files: files.collect() }
    }

    pub(super) fn set(&mut self, verbosity: u32) {
        self.usual = verbosity;
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        if !OURS.iter().any(|ours| metadata.target().starts_with(ours)) {
            return *metadata.level() <= Level::INFO;
        }
        let of_file = self.of_file(metadata.file().unwrap_or_default());
        verbosity(metadata).is_none_or(|verbosity| verbosity <= of_file)
    }

    /// The verbosity of a source file. A pattern with a slash is matched against the path, others against the file
    /// name, both without `.rs`.
    fn of_file(&self, file: &str) -> u32 {
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let stem = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
        let named = self.files.iter().find(|(pattern, _)| {
            fits(pattern.as_bytes(), if pattern.contains('/') { path } else { stem }.as_bytes())
        });
        named.map_or(self.usual, |(_, verbosity)| *verbosity)
    }
}

/// True if the text matches the pattern, in which `*` stands for any bytes and `?` for one byte.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            fits(rest, text) || text.split_first().is_some_and(|(_, text)| fits(pattern, text))
        }
        ([b'?', rest @ ..], [_, text @ ..]) => fits(rest, text),
        ([first, rest @ ..], [same, text @ ..]) if first == same => fits(rest, text),
        (_, _) => false,
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.admits(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let most = self.files.iter().map(|(_, verbosity)| *verbosity).chain([self.usual]).max();
        most.map(|verbosity| LevelFilter::from_level(level(verbosity)))
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn verbosities_are_klogs() {
        let levels = [0, 3, 4, 5, 6, 9].map(level);
        let wanted =
            [Level::INFO, Level::INFO, Level::DEBUG, Level::DEBUG, Level::TRACE, Level::TRACE];
        assert_eq!(levels, wanted);
    }

    #[test]
    fn a_file_has_the_level_of_the_first_pattern_that_fits() {
        let item = |pattern: &str, verbosity| VModule { file_pattern: pattern.into(), verbosity };
        let levels = Levels::new(0, &[item("sy?c", 4), item("*/watch/*", 6), item("s*", 6)]);
        assert_eq!(levels.of_file("src/sync.rs"), 4);
        assert_eq!(levels.of_file("src/sync/publish.rs"), 0);
        assert_eq!(levels.of_file("src/watch/node.rs"), 6);
        assert_eq!(levels.of_file("src/stop.rs"), 6);
        assert_eq!(levels.of_file("src/kernel.rs"), 0);
    }

    #[test]
    fn a_line_for_each_round_needs_a_verbosity_of_two_or_that_of_its_file() {
        let shows_rounds = |verbosity, files: &[VModule]| {
            let levels = Levels::new(verbosity, files);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(levels), || {
                (tracing::enabled!(target: ROUNDS, Level::INFO), tracing::enabled!(Level::INFO))
            })
        };
        assert_eq!(
            [0, 1, 2, 4].map(|verbosity| shows_rounds(verbosity, &[]).0),
            [false, false, true, true]
        );
        assert!(shows_rounds(0, &[]).1);
        let here = VModule { file_pattern: "levels".into(), verbosity: 2 };
        assert!(shows_rounds(0, &[here]).0);
    }
}
