//! Answers `/flagz` with every flag and its value.
//!
//! Takes flags. Returns a page or an object. Shows no secrets, since no flag has one.
//!
//! Source: spec 10.3.

use std::collections::BTreeMap;

use serde_json::json;

use super::accepted::{self, Form};
use crate::serve::listener::Answer;

pub(super) fn answer(flags: &BTreeMap<String, String>, accepts: Option<&str>) -> Answer {
    match accepted::form(accepts, "Flagz") {
        None => accepted::refused("Flagz"),
        Some(Form::Text) => {
            let lines = flags.iter().map(|(name, value)| format!("{name}:{value}\n"));
            accepted::page("flagz", &lines.collect::<String>())
        }
        Some(Form::Object(notation, version)) => {
            accepted::object("Flagz", notation, version, json!({"flags": flags}))
        }
    }
}
