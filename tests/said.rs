//! Brings the log of a proxy into one form for all tests.
//!
//! Takes a line of the log in JSON, or any other line. Returns `LEVEL message name=value …`, where the level is
//! `ERROR`, `INFO` or `DEBUG`, and any other line as it is.

#![allow(dead_code, unreachable_pub, reason = "shared by several binaries")]

use serde_json::Value;

/// The argument that has a proxy log in JSON.
pub const AS_JSON: &str = "--logging-format=json";

/// One line.
pub fn plain(line: &str) -> String {
    let Ok(Value::Object(said)) = serde_json::from_str(line) else { return line.to_owned() };
    let level = match said.get("v").and_then(Value::as_u64) {
        None => "ERROR",
        Some(0) => "INFO",
        Some(_) => "DEBUG",
    };
    let mut text =
        format!("{level} {}", said.get("msg").and_then(Value::as_str).unwrap_or_default());
    for (name, value) in
        said.iter().filter(|(name, _)| !["ts", "caller", "msg", "v"].contains(&name.as_str()))
    {
        match value {
            Value::String(value) => text += &format!(" {name}={value}"),
            value => text += &format!(" {name}={value}"),
        }
    }
    text
}
