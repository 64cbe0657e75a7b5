//! Checks the settings of the log.
//!
//! Takes the settings of files and flags. Returns checked values, or adds problems. Does not configure the log.

use std::time::Duration;

use super::Check;
use crate::config::document::{KubeProxyConfiguration, VModule};
use crate::config::gates::{Gates, LOGGING_ALPHA, LOGGING_BETA};

/// Units of a Kubernetes quantity (`apimachinery/pkg/api/resource/suffix.go`).
const SUFFIXES: &[&str] =
    &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E"];

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The form of a line.
    pub format: LogFormat,
    /// 0 logs important events, 4 each change, 6 everything.
    pub verbosity: u32,
    /// The longest time a line may be buffered; more than zero. It has no effect: this proxy buffers no line.
    pub flush_frequency: Duration,
    /// Levels of single source files; the first pattern that matches wins.
    pub vmodule: Vec<VModule>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text in klog's format.
    Text,
    /// One JSON object per line.
    Json,
}

impl Check {
    pub(super) fn logging(&mut self, raw: &KubeProxyConfiguration, gates: &Gates) -> Logging {
        let logging = &raw.logging;
        let format = match logging.format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                self.refuse("Logging.Format", other, "must be text or json");
                LogFormat::Text
            }
        };
        if format == LogFormat::Json && !gates.is_on(LOGGING_BETA) {
            let reason = format!("needs the feature gate {LOGGING_BETA}");
            self.refuse("Logging.Format", "json", &reason);
        }
        let verbosity = logging.verbosity;
        if i32::try_from(verbosity).is_err() {
            self.refuse("Logging.Verbosity", verbosity, "must be at most 2147483647");
        }
        let (text, json) = (&logging.options.text, &logging.options.json);
        self.options("Text", gates, text.split_stream, &text.info_buffer_size);
        self.options("JSON", gates, json.split_stream, &json.info_buffer_size);
        Logging {
            format,
            verbosity,
            flush_frequency: self.period("Logging.FlushFrequency", logging.flush_frequency),
            vmodule: self.vmodule(format, logging.vmodule.clone()),
        }
    }

    fn vmodule(&mut self, format: LogFormat, modules: Vec<VModule>) -> Vec<VModule> {
        for (index, module) in modules.iter().enumerate() {
            let (field, pattern) = (format!("Logging.VModule[{index}]"), &module.file_pattern);
            if format != LogFormat::Text {
                self.refuse(&field, pattern, "is only for the text format");
            }
            if pattern.is_empty() || pattern.contains(['=', ',']) {
                let reason = "must be a pattern without \"=\" and \",\", and not empty";
                self.refuse(&format!("{field}.FilePattern"), pattern, reason);
            }
            if i32::try_from(module.verbosity).is_err() {
                let field = format!("{field}.Verbosity");
                self.refuse(&field, module.verbosity, "must be at most 2147483647");
            }
        }
        modules
    }

    /// Checks stream options. Values other than the default need the feature gate `LoggingAlphaOptions`.
    fn options(&mut self, format: &str, gates: &Gates, splits_stream: bool, size: &str) {
        let field = format!("Logging.Options.{format}");
        let is_open = gates.is_on(LOGGING_ALPHA);
        let reason = format!("needs the feature gate {LOGGING_ALPHA}");
        if splits_stream && !is_open {
            self.refuse(&format!("{field}.SplitStream"), true, &reason);
        }
        let field = format!("{field}.InfoBufferSize");
        match quantity(size) {
            None => self.refuse(&field, size, "must be a quantity such as 64Ki"),
            Some(number) if number != 0.0 && !is_open => self.refuse(&field, size, &reason),
            Some(_) => {}
        }
    }
}

/// The number before the unit; 0 for an empty text, `None` if the text is not a quantity.
fn quantity(text: &str) -> Option<f64> {
    let suffix = SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix));
    let number = suffix.unwrap_or(text);
    if number.is_empty() && suffix.is_none() {
        return Some(0.0);
    }
    number.parse().ok().filter(|number: &f64| number.is_finite())
}
