//! Lists as Go's pflag reads them: one line of CSV.
//!
//! Takes the value of one flag. Returns its words without the quotes around them, empty words included.
//!
//! Source: `pflag/string_slice.go`, which leaves it to Go's `encoding/csv`.

/// Returns the words of one value; an empty value has none.
///
/// # Errors
/// If a quote is not closed, or stands within a word.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = (!text.is_empty()).then_some(text);
    while let Some(text) = rest {
        let (word, after) = match text.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => plain(text)?,
        };
        words.push(word);
        rest = after;
    }
    Ok(words)
}

/// Reads a word without quotes. Returns it and the text after its comma.
fn plain(text: &str) -> Result<(String, Option<&str>), String> {
    let (word, after) = match text.split_once(',') {
        Some((word, after)) => (word, Some(after)),
        None => (text, None),
    };
    if word.contains('"') {
        return Err("a quote may only stand around a whole word".to_owned());
    }
    Ok((word.to_owned(), after))
}

/// Reads a quoted word, its first quote already removed. Returns it and the text after its comma. Two quotes in a row
/// are one quote of the word.
fn unquoted(mut text: &str) -> Result<(String, Option<&str>), String> {
    let mut word = String::new();
    loop {
        let (part, after) = text.split_once('"').ok_or("a quote is not closed")?;
        word.push_str(part);
        if after.is_empty() {
            return Ok((word, None));
        }
        if let Some(after) = after.strip_prefix(',') {
            return Ok((word, Some(after)));
        }
        text = after.strip_prefix('"').ok_or("a comma must follow a word in quotes")?;
        word.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_line_of_csv() {
        for (text, words) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            ("a,", &["a", ""]),
            (r#""a","b""#, &["a", "b"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""a""b","""#, &["a\"b", ""]),
        ] {
            assert_eq!(list(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn a_quote_in_the_wrong_place_is_refused() {
        for text in [r#"""#, r#""a"#, r#"a"b"#, r#""a"b"#, r#"a,"b"#] {
            assert!(list(text).is_err(), "{text}");
        }
    }
}
