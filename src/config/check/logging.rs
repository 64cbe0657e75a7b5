//! Checks the settings of the log.
//!
//! Takes the settings of files and flags. Returns checked values, or adds problems. Does not configure the log.

use super::Check;
use crate::config::defaults;
use crate::config::file::{self, Raw, VModule};
use crate::config::gates::{Gates, LOGGING_ALPHA, LOGGING_BETA};
use crate::config::{LogFormat, Logging};

/// Units of a Kubernetes quantity (`apimachinery/pkg/api/resource/suffix.go`).
const SUFFIXES: &[&str] =
    &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E"];

impl Check {
    pub(super) fn logging(&mut self, raw: &Raw, gates: &Gates) -> Logging {
        let logging = &raw.logging;
        let format = match logging.format.as_deref().unwrap_or(defaults::LOG_FORMAT) {
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
        let verbosity = logging.verbosity.unwrap_or_default();
        if i32::try_from(verbosity).is_err() {
            self.refuse("Logging.Verbosity", verbosity, "must be at most 2147483647");
        }
        self.options("Logging.Options.Text", gates, &logging.options.text);
        self.options("Logging.Options.JSON", gates, &logging.options.json);
        Logging {
            format,
            verbosity,
            flush_frequency: self.period(
                "Logging.FlushFrequency",
                logging.flush_frequency,
                defaults::LOG_FLUSH,
            ),
            vmodule: self.vmodule(format, logging.vmodule.clone().unwrap_or_default()),
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
    fn options(&mut self, field: &str, gates: &Gates, options: &file::StreamOptions) {
        let is_open = gates.is_on(LOGGING_ALPHA);
        let reason = format!("needs the feature gate {LOGGING_ALPHA}");
        if options.split_stream == Some(true) && !is_open {
            self.refuse(&format!("{field}.SplitStream"), true, &reason);
        }
        let size = options.info_buffer_size.as_deref().unwrap_or_default();
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
