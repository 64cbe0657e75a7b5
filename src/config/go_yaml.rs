//! Writes YAML as Go writes it.
//!
//! Takes a tree of values. Returns text with sorted keys, lists indented as deep as their keys, and quotes only where
//! Go's writer (`sigs.k8s.io/yaml`) has them. Does not break long lines.
//!
//! Source: `goyaml.v2` `encode.go`, `resolve.go` and `emitterc.go`, and files that kube-proxy has written.

use serde_json::{Map, Value};

/// Characters with which a plain scalar must not begin.
const INDICATORS: &[char] =
    &['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'];

/// Words that YAML 1.1 does not read as text, in lower case.
const WORDS: &[&str] = &[
    "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", ".inf", "+.inf",
    "-.inf", ".nan",
];

/// Returns the tree as a document.
pub(super) fn document(tree: &Value) -> String {
    let mut text = String::new();
    match tree {
        Value::Object(fields) => map(fields, 0, &mut text),
        Value::Array(elements) => list(elements, 0, &mut text),
        scalar => text = format!("{}\n", plain(scalar)),
    }
    text
}

fn map(fields: &Map<String, Value>, depth: usize, text: &mut String) {
    // If the text ends with the dash of a list, the first key continues that line.
    for (key, value) in fields {
        if !text.ends_with("- ") {
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(&word(key));
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                map(fields, depth + 1, text);
            }
            Value::Array(elements) if !elements.is_empty() => {
                text.push('\n');
                list(elements, depth, text);
            }
            scalar => text.push_str(&format!(" {}\n", plain(scalar))),
        }
    }
}

fn list(elements: &[Value], depth: usize, text: &mut String) {
    for element in elements {
        text.push_str(&"  ".repeat(depth));
        text.push_str("- ");
        match element {
            Value::Object(fields) if !fields.is_empty() => map(fields, depth + 1, text),
            Value::Array(elements) if !elements.is_empty() => list(elements, depth + 1, text),
            scalar => text.push_str(&format!("{}\n", plain(scalar))),
        }
    }
}

/// A value that fits on one line: a scalar, an empty list or an empty map.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        other => other.to_string(),
    }
}

/// The text, quoted if it must be: in double quotes if YAML would otherwise read another type, in single quotes if it
/// is not a plain scalar.
fn word(text: &str) -> String {
    if is_something_else(text) || text.chars().any(char::is_control) {
        // A JSON string is a double-quoted YAML string.
        Value::from(text).to_string()
    } else if is_no_word(text) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        text.to_owned()
    }
}

/// True if Go's reader takes the text for a null, a boolean, a number or a time.
fn is_something_else(text: &str) -> bool {
    let digits = text.replace('_', "").to_ascii_lowercase();
    let unsigned = digits.trim_start_matches(['-', '+']);
    let numeric = unsigned.starts_with(|c: char| c == '.' || c.is_ascii_digit());
    let of_base = |prefix, radix| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| u128::from_str_radix(rest, radix).is_ok())
    };
    let sixties = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    WORDS.contains(&text.to_ascii_lowercase().as_str())
        || (numeric && digits.parse::<f64>().is_ok())
        || of_base("0x", 16)
        || of_base("0o", 8)
        || of_base("0b", 2)
        || (text.contains(':') && unsigned.split(':').all(sixties))
        || is_date(text)
}

/// True if the text begins with a date such as `2001-12-14`. Go's writer quotes dates and times.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| {
        let part = parts.next().unwrap_or_default();
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        (1..=digits).contains(&end)
    };
    text.len() >= 8 && number(4) && number(2) && number(2)
}

/// True if the text has characters that have a meaning in YAML's block style.
fn is_no_word(text: &str) -> bool {
    text.starts_with(INDICATORS)
        || text.starts_with([' ', '\t'])
        || text.ends_with([' ', '\t', ':'])
        || ["- ", "? ", "---", "..."].iter().any(|start| text.starts_with(start))
        || ["-", "?"].contains(&text)
        || text.contains(": ")
        || text.contains(" #")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_quoted_as_go_quotes_them() {
        for (text, written) in [
            ("0.0.0.0", "0.0.0.0"),
            ("0.0.0.0:10256", "0.0.0.0:10256"),
            ("10.0.0.0/8,fd00::/56", "10.0.0.0/8,fd00::/56"),
            ("15m0s", "15m0s"),
            ("::1", "::1"),
            ("::", "'::'"),
            ("[::1]:10249", "'[::1]:10249'"),
            ("it's", "it's"),
            ("*a", "'*a'"),
            ("a: b", "'a: b'"),
            ("", "\"\""),
            ("0", "\"0\""),
            ("1.35", "\"1.35\""),
            ("1e3", "\"1e3\""),
            ("0x1f", "\"0x1f\""),
            ("10:20", "\"10:20\""),
            ("2001-12-14", "\"2001-12-14\""),
            ("Yes", "\"Yes\""),
            ("null", "\"null\""),
            ("infinity", "infinity"),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(word(text), written, "{text}");
            let again: String = serde_saphyr::from_str(&word(text)).unwrap();
            assert_eq!(again, text);
        }
    }

    #[test]
    fn lists_and_maps_stand_as_deep_as_go_puts_them() {
        let tree = json!({
            "b": {"list": ["x", "y"], "none": [], "empty": {}},
            "a": [{"filePattern": "f", "verbosity": 1}, {"filePattern": "g"}],
            "c": null,
        });
        let text = "a:\n- filePattern: f\n  verbosity: 1\n- filePattern: g\nb:\n  empty: {}\n  \
                    list:\n  - x\n  - \"y\"\n  none: []\nc: null\n";
        assert_eq!(document(&tree), text);
    }
}
