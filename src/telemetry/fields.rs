//! Collects the fields of an event.
//!
//! Takes an event. Returns its message and its other fields in order, each as text and whether it needs quotes. Does
//! not format the line.

use std::fmt;

use tracing::Event;
use tracing::field::{Field, Visit};

/// The message and the other fields of an event.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Vec<(&'static str, Value)>,
}

/// A value as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number or a boolean in JSON's notation.
    Plain(String),
    /// Any other value.
    Text(String),
}

impl Fields {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.others.push((field.name(), Value::Plain(value.to_string())));
    }

    fn text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            // Numbers that their writer has formatted arrive as text.
            name if is_number(&text) => self.others.push((name, Value::Plain(text))),
            name => self.others.push((name, Value::Text(text))),
        }
    }
}

/// True if the text is a JSON number.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.text(field, value.to_string());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.others.push((name, Value::Text(value.to_owned()))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }
}
