//! Writes the classic text format as Prometheus' Go client does.
//!
//! Takes metric families. Returns text of the version 0.0.4. A bucket's bound is a label and part of the series' name,
//! so it has Go's spelling: dashboards ask for `1.048576e+06`. Does not write the OpenMetrics format.
//!
//! Source: prometheus.io/docs/instrumenting/exposition_formats, spec 11.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The content type of a scrape (spec 10.3).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Writes families in the given order.
pub fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        let (name, kind) = (family.name(), family.get_field_type());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {}", escaped(family.help(), false));
        let _ = writeln!(text, "# TYPE {name} {}", word(kind));
        for metric in family.get_metric() {
            write_metric(&mut text, name, kind, metric);
        }
    }
    text
}

fn word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
    }
}

fn write_metric(text: &mut String, name: &str, kind: MetricType, metric: &Metric) {
    let labels = labels(metric.get_label());
    let value = match kind {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => return write_histogram(text, name, &labels, metric),
        // The proxy has no metrics of these kinds.
        MetricType::SUMMARY | MetricType::UNTYPED => return,
    };
    let _ = writeln!(text, "{name}{} {}", braced(&labels), number(value));
}

fn write_histogram(text: &mut String, name: &str, labels: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let separator = if labels.is_empty() { "" } else { "," };
    let mut bucket = |bound: &str, count: u64| {
        let _ = writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
    };
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    finite.for_each(|found| bucket(&number(found.upper_bound()), found.cumulative_count()));
    let count = histogram.get_sample_count();
    bucket("+Inf", count);
    let labels = braced(labels);
    let _ = writeln!(text, "{name}_sum{labels} {}", number(histogram.get_sample_sum()));
    let _ = writeln!(text, "{name}_count{labels} {count}");
}

fn labels(pairs: &[LabelPair]) -> String {
    let pair = |pair: &LabelPair| format!("{}=\"{}\"", pair.name(), escaped(pair.value(), true));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

/// Writes a number as Go's shortest `%g`: with an exponent if it is at least a million or below a ten-thousandth.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Ok(_) | Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.001, "0.001"),
            (16.384, "16.384"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (65536.0, "65536"),
            (262144.0, "262144"),
            (1_048_576.0, "1.048576e+06"),
            (1_795_397_104.528_198_5, "1.7953971045281985e+09"),
            (18_446_744_073_709_551_616.0, "1.8446744073709552e+19"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn what_would_end_a_label_is_escaped() {
        assert_eq!(escaped("a\"b\\\n", true), "a\\\"b\\\\\\n");
    }
}
