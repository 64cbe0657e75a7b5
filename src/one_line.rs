//! An error in one line.
//!
//! In: an error with what caused it. Out: one line in which each is said once. Never: a text over several lines.

use std::error::Error;

/// An error, then its causes: wrappers often say their cause's own text, and parsers append the place in further lines.
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
