//! Splits YAML and JSON text into documents and reads them, with the place of every mistake.
//!
//! Takes the text of a file. Returns its documents, and the tree of one of them. A mistake is an [`Error`] with
//! line, column and field path. Reads JSON as YAML. Does not read files. Does not know what the values mean.

use std::fmt;

use serde::Deserialize as _;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{MessageFormatter, Options, UserMessageFormatter};

pub use self::tree::{Node, Value, below};

mod tree;

/// One document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Lines of the file before this document.
    pub lines_before: u64,
    /// The document, with its `---` line if it has one.
    pub text: &'a str,
}

/// The reason why a document could not be decoded, and the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line in the file, from 1; 0 when unknown.
    pub line: u64,
    /// Column in that line, from 1; 0 when unknown.
    pub column: u64,
    /// Path of the field, such as `spec.ports[0].port`; empty if the text is not YAML at all.
    pub field: String,
    /// The mistake, in one line.
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

/// Splits text into documents at every line that begins with the word `---`, as YAML does. Such a line ends even a
/// quoted or literal scalar (YAML 1.2.2, 9.1.2), so a broken document cannot swallow the next one.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (line, content) in (0_u64..).zip(text.split_inclusive('\n')) {
        if offset > start && begins_document(content) {
            let text = text.get(start..offset).unwrap_or_default();
            found.push(Document { lines_before: start_line, text });
            (start, start_line) = (offset, line);
        }
        offset += content.len();
    }
    let text = text.get(start..).unwrap_or_default();
    found.push(Document { lines_before: start_line, text });
    found
}

fn begins_document(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Reads the document again, now with the path of each field, to describe the error of a document that is not YAML.
/// Tracking the path of every document would cost too much.
fn locate(document: Document<'_>, error: serde_saphyr::Error) -> Error {
    let mut track = serde_path_to_error::Track::new();
    let again = serde_saphyr::with_deserializer_from_str_with_options(
        document.text,
        options(DuplicateKeyPolicy::LastWins),
        |yaml| {
            serde_json::Value::deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track))
        },
    );
    let error = again.err().unwrap_or(error);
    describe(&error, document.lines_before, &track.path().to_string())
}

/// The parser's options. Documents may be as long as a folder needs that describes a large cluster. Depth stays
/// limited, because it costs stack. Repetition by aliases does too, because a few lines could ask for any amount of
/// memory. Numbers are those of YAML 1.1, as in Kubernetes' decoder: `010` is eight.
fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_recorded_anchor_events: 10_000,
        },
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        emit_comments: false,
        with_snippet: false,
    }
}

fn describe(error: &serde_saphyr::Error, lines_before: u64, field: &str) -> Error {
    let (line, column) = error
        .location()
        .filter(|place| place.line() > 0)
        .map_or((0, 0), |place| (lines_before + place.line(), place.column()));
    // The text without its place, which would count from the document's first line, not the file's.
    let said = || UserMessageFormatter.format_message(error).into_owned();
    let reason = told(error).unwrap_or_else(said);
    // An unknown path ends with `?`, and the path of the whole document is `.`.
    let known = field.trim_end_matches(['?', '.']);
    Error {
        line,
        column,
        field: known.to_owned(),
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    }
}

/// A clearer text for those errors that the parser describes in its own terms; `None` for others.
fn told(error: &serde_saphyr::Error) -> Option<String> {
    use serde_saphyr::Error as E;
    let told = match error {
        E::AliasError { error, .. } | E::WithSnippet { error, .. } => return told(error),
        E::Budget { .. } => "it is nested too deeply, or repeats too much by anchors and aliases",
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => "it repeats too much by anchors and aliases",
        _ => return None,
    };
    Some(told.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Error {
        Node::read(documents(text)[0]).unwrap_err()
    }

    #[test]
    fn documents_begin_at_marker_lines_only() {
        let text = "# a\n---\na: |\n  ---\nb: \"---\"\n--- # c\n---\tx\n----\n---";
        let lines: Vec<_> = documents(text).iter().map(|d| (d.lines_before, d.text)).collect();
        assert_eq!(
            lines,
            [
                (0, "# a\n"),
                (1, "---\na: |\n  ---\nb: \"---\"\n"),
                (5, "--- # c\n"),
                (6, "---\tx\n----\n"),
                (8, "---")
            ]
        );
    }

    #[test]
    fn broken_yaml_has_a_line() {
        for text in ["a: [1\nb: 2\n", "a: b: c\n", "\"a", "a\n b: c", "{", "\u{0}", "a: *b"] {
            let error = error(text);
            assert!(error.line > 0, "{text:?}: {error:?}");
            assert!(!error.reason.contains("line"), "{error:?}");
            assert!(!error.to_string().contains('?'), "{error}");
        }
    }

    #[test]
    fn what_aliases_repeat_is_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let inner = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        let wanted = "it is nested too deeply, or repeats too much by anchors and aliases";
        assert_eq!(error(&text).reason, wanted);
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
        error(&"[".repeat(100_000));
    }
}
