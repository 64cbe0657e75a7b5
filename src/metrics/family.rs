//! Metric families whose values are read at a scrape instead of being counted.
//!
//! Takes names, labels and values. Returns metric families for the text of a scrape. Keeps nothing between scrapes.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A family of gauges or counters whose values come from elsewhere, such as the kernel.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    metrics: Vec<Metric>,
}

/// The type of a family's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value only grows.
    Counter,
    /// The value goes up and down.
    Gauge,
}

impl Family {
    /// Creates a family without values.
    pub fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        Self { name, help, kind, metrics: Vec::new() }
    }

    /// Adds a value. Labels are in the order of their names.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
        match self.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }

    /// Returns a family with one value and no labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> MetricFamily {
        let mut family = Self::new(name, help, kind);
        family.push(&[], value);
        family.into()
    }
}

impl From<Family> for MetricFamily {
    fn from(family: Family) -> Self {
        let mut made = Self::default();
        made.set_name(family.name.to_owned());
        made.set_help(family.help.to_owned());
        made.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        made.set_metric(family.metrics);
        made
    }
}
