//! Writes an error in one line.
//!
//! Takes an error with its causes. Returns one line that has each text once.

use std::error::Error;

/// Returns the first lines of the error and its causes. Skips a cause whose text is already there: wrappers often
/// repeat it. Skips further lines, in which parsers show the place.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let first_line = |error: &dyn Error| error.to_string().lines().next().unwrap_or("").to_owned();
    let mut text = first_line(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said = first_line(cause);
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::one_line;

    #[test]
    fn each_cause_is_said_once_and_in_one_line() {
        let error =
            anyhow!("no such file\n  in the second line").context("cannot open x: no such file");
        let error = error.context("a file is missing");
        assert_eq!(one_line(&*error), "a file is missing: cannot open x: no such file");
    }
}
