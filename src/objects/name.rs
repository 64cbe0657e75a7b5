//! Checks the names of objects.
//!
//! Takes a text. Returns whether the API server accepts it as a name. Does not read objects.
//!
//! Source: `apimachinery/pkg/util/validation`: `IsDNS1123Label`, `IsDNS1123Subdomain`.

use std::fmt::{self, Write as _};

/// The description of a name that is one label.
pub(super) const LABEL: &str =
    "a DNS label (1–63 of a–z, 0–9 and -, a letter or digit at both ends)";
/// The description of a name that has several labels.
pub(super) const SUBDOMAIN: &str = "a DNS subdomain (DNS labels without a limit of their own, with dots between them, 253 bytes at most)";

/// True for names that namespaces and Services can have.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// True for names that EndpointSlices can have.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

fn is_part(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// A text in which control characters are spelled out, for terminals and logs.
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmless(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_default())?;
            }
        }
        Ok(())
    }
}

/// True if the character is neither a control character nor changes the direction of writing.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_api_server_does() {
        let long = "a".repeat(63);
        for (text, label, subdomain) in [
            ("web", true, true),
            ("0-9", true, true),
            (&*long, true, true),
            (&format!("{long}a"), false, true),
            ("a.b", false, true),
            (&vec!["a"; 127].join("."), false, true),
            (&vec!["a"; 128].join("."), false, false),
            ("a..b", false, false),
            ("a.", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("Web", false, false),
            ("a_b", false, false),
            ("a\n", false, false),
            ("é", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text:?}");
        }
    }

    #[test]
    fn control_characters_are_spelled_out() {
        let text = "a\u{1b}[2Jb\n\u{9b}\u{202e}é c";
        assert_eq!(Plain(text).to_string(), "a\\u{1b}[2Jb\\n\\u{9b}\\u{202e}é c");
    }
}
