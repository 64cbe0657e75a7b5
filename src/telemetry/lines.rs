//! Formats one event as one line.
//!
//! Takes an event and the time. Writes klog's text (`I1125 21:30:05.123456    1234 sync.rs:220] "synced" changed=3`) or
//! the JSON of Kubernetes' components (`{"ts":…,"caller":"src/sync.rs:220","msg":"synced","v":0,"changed":3}`). Escapes
//! line breaks, so that an event never takes two lines.
//!
//! Sources: `k8s.io/klog/v2/internal/{buffer,serialize}`, `k8s.io/component-base/logs/json`.

use std::fmt;
use std::path::Path;

use jiff::Zoned;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, Value};
use super::levels;
use crate::config::LogFormat;

/// The formatter of log lines.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    format: LogFormat,
    process: u32,
}

impl Lines {
    /// Creates a formatter for this process.
    pub fn new(format: LogFormat) -> Self {
        Self { format, process: std::process::id() }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = Zoned::now();
        let fields = Fields::of(event);
        match self.format {
            LogFormat::Text => self.text(&mut writer, &now, event.metadata(), &fields),
            LogFormat::Json => json(&mut writer, &now, event.metadata(), &fields),
        }
    }
}

impl Lines {
    fn text(
        &self,
        writer: &mut Writer<'_>,
        now: &Zoned,
        metadata: &Metadata<'_>,
        fields: &Fields,
    ) -> fmt::Result {
        let severity = match *metadata.level() {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            _ => 'I',
        };
        let time = now.strftime("%m%d %H:%M:%S%.6f");
        let (process, line) = (self.process, metadata.line().unwrap_or(1));
        let file = Path::new(metadata.file().unwrap_or("???")).file_name().unwrap_or_default();
        let file = file.to_string_lossy();
        write!(writer, "{severity}{time} {process:7} {file}:{line}] {}", Quoted(&fields.message))?;
        for (name, value) in &fields.others {
            match value {
                Value::Plain(text) => write!(writer, " {name}={text}")?,
                Value::Text(text) => write!(writer, " {name}={}", Quoted(text))?,
            }
        }
        writer.write_char('\n')
    }
}

/// Writes an event as JSON. As with `logr`, errors have no verbosity, and no event has a severity.
fn json(
    writer: &mut Writer<'_>,
    now: &Zoned,
    metadata: &Metadata<'_>,
    fields: &Fields,
) -> fmt::Result {
    let string = |text: &str| serde_json::Value::from(text);
    let micros = now.timestamp().as_microsecond();
    let (millis, rest) = (micros.div_euclid(1000), micros.rem_euclid(1000));
    let fraction = format!(".{rest:03}");
    write!(writer, "{{\"ts\":{millis}{}", fraction.trim_end_matches('0').trim_end_matches('.'))?;
    write!(
        writer,
        ",\"caller\":{},\"msg\":{}",
        string(&caller(metadata)),
        string(&fields.message)
    )?;
    if let Some(verbosity) = levels::verbosity(metadata) {
        write!(writer, ",\"v\":{verbosity}")?;
    }
    for (name, value) in &fields.others {
        match value {
            Value::Plain(text) => write!(writer, ",{}:{text}", string(name))?,
            Value::Text(text) => write!(writer, ",{}:{}", string(name), string(text))?,
        }
    }
    writer.write_str("}\n")
}

/// The file with its folder, and the line, as `FOLDER/FILE:LINE`.
fn caller(metadata: &Metadata<'_>) -> String {
    let file = metadata.file().unwrap_or("???");
    let mut parts = file.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    let line = metadata.line().unwrap_or(1);
    match parts.next() {
        Some(folder) => format!("{folder}/{name}:{line}"),
        None => format!("{name}:{line}"),
    }
}

/// Text that is displayed as Go's `strconv.Quote` writes it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                other => write!(f, "{other}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests;
