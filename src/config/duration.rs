//! Durations in Go's syntax: `1h0m0s`, `1.5h`, `-30s`, `100ms`.
//!
//! Takes text of a flag or a configuration field. Returns a signed number of nanoseconds, as in Go. Refuses a bare
//! number (only `0` needs no unit), and values out of range.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signed duration with the range, syntax and text form of Go's `time.Duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

/// The error for a text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration such as 30s or 1h15m")]
pub struct NotADuration(String);

const NANOS_PER_SECOND: i64 = 1_000_000_000;

impl GoDuration {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Returns a duration of `nanos` nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns a duration of `seconds` seconds, at most the longest one, about 292 years.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Returns the duration, or `None` if it is negative.
    pub fn checked(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let refuse = || NotADuration(text.to_owned());
        let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(refuse());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = term(rest).ok_or_else(refuse)?;
            total = total.checked_add(nanos).ok_or_else(refuse)?;
            rest = after;
        }
        i64::try_from(if negative { -total } else { total }).map(Self).map_err(|_| refuse())
    }
}

/// Reads one number with its unit. Returns nanoseconds and the text after it, or `None` if the text is no such term.
fn term(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_end)?;
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits would be below one nanosecond even in hours; Go cuts them off too.
    let fraction = fraction.get(..fraction.len().min(18))?;
    let parts: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((whole.checked_mul(unit)?.checked_add(parts * unit / scale)?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

impl fmt::Display for GoDuration {
    /// Writes the duration as Go prints it: `1h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let (mut whole, fraction) = (nanos / unit, nanos % unit);
        if name == "s" && whole >= 60 {
            let minutes = whole / 60;
            whole %= 60;
            if minutes >= 60 {
                write!(f, "{}h", minutes / 60)?;
            }
            write!(f, "{}m", minutes % 60)?;
        }
        write!(f, "{whole}")?;
        if fraction > 0 {
            let width = unit.ilog10() as usize;
            let digits = format!("{fraction:0width$}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(name)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<i64> {
        text.parse::<GoDuration>().ok().map(|duration| duration.0)
    }

    #[test]
    fn text_is_read_as_go_reads_it() {
        assert_eq!(nanos("0"), Some(0));
        assert_eq!(nanos("1h0m0s"), Some(3_600_000_000_000));
        assert_eq!(nanos("1m30s"), Some(90_000_000_000));
        assert_eq!(nanos("1.5h"), Some(5_400_000_000_000));
        assert_eq!(nanos(".5s"), Some(500_000_000));
        assert_eq!(nanos("5.s"), Some(5_000_000_000));
        assert_eq!(nanos("-1s"), Some(-1_000_000_000));
        assert_eq!(nanos("+100ms"), Some(100_000_000));
        assert_eq!(nanos("1µs1us1ns"), Some(2_001));
        assert_eq!(nanos("9223372036854775807ns"), Some(i64::MAX));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "-", "30", "s", ".s", "1x", "1 s", "1h-1m", "é", "1sé", "300000000h", " 1s"]
        {
            assert_eq!(nanos(text), None, "{text:?}");
        }
        assert_eq!(nanos(&"9".repeat(60)), None);
        assert_eq!(nanos(&format!("{}h", "9".repeat(60))), None);
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for text in
            ["0s", "15m0s", "1h0m0s", "24h0m0s", "1m30s", "1.5s", "250ms", "3µs", "7ns", "-1m0.25s"]
        {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
        }
    }
}
