//! Which events are logged: `-v` and `--vmodule`.
//!
//! In: a verbosity, and patterns of source files with verbosities of their own. Out: yes or no for each
//! place in the code, once. Never: a detail of other crates.

use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::config::VModule;

/// From this verbosity on each change is told.
pub(super) const CHANGES: u32 = 4;
/// And from this one on everything.
pub(super) const EVERYTHING: u32 = 6;

/// The targets of events that are the project's own.
const OURS: &[&str] = &["ipvs_proxy", "proxier"];

/// What is to be logged.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    usual: Level,
    files: Vec<(String, Level)>,
}

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
        let files = files.map(|item| (item.file_pattern.clone(), level(item.verbosity)));
        Self { usual: level(verbosity), files: files.collect() }
    }

    pub(super) fn set(&mut self, verbosity: u32) {
        self.usual = level(verbosity);
    }

    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        if !OURS.iter().any(|ours| metadata.target().starts_with(ours)) {
            return *metadata.level() <= Level::INFO;
        }
        *metadata.level() <= self.of_file(metadata.file().unwrap_or_default())
    }

    /// A pattern with a slash is for the path, any other one for the file's name; neither has the `.rs`.
    fn of_file(&self, file: &str) -> Level {
        let path = file.strip_suffix(".rs").unwrap_or(file);
        let stem = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
        let named = self.files.iter().find(|(pattern, _)| {
            fits(pattern.as_bytes(), if pattern.contains('/') { path } else { stem }.as_bytes())
        });
        named.map_or(self.usual, |(_, level)| *level)
    }
}

/// Whether a text fits a pattern in which `*` is anything and `?` any one byte.
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
        let most = self.files.iter().map(|(_, level)| *level).chain([self.usual]).max();
        most.map(LevelFilter::from_level)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(levels.of_file("src/sync.rs"), Level::DEBUG);
        assert_eq!(levels.of_file("src/sync/publish.rs"), Level::INFO);
        assert_eq!(levels.of_file("src/watch/node.rs"), Level::TRACE);
        assert_eq!(levels.of_file("src/stop.rs"), Level::TRACE);
        assert_eq!(levels.of_file("src/kernel.rs"), Level::INFO);
    }
}
