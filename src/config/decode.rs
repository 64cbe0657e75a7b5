//! Decodes a document into its fields and reports every field of a wrong type.
//!
//! Takes a document and its tree. Returns the fields that could be read, and a mistake with its place for each other
//! field, which stays unset. Does not stop at the first mistake. Does not take quoted text for a number or a boolean:
//! Go's decoder does not do that either.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::spans::Places;
use crate::yaml::{self, Document, Duplicates, Error};

/// The most mistakes that one document reports. Each costs another decoding of the document.
const MAX_DECODE_ERRORS: usize = 100;

/// Decodes the fields of a document of this kind.
pub(super) fn decode<T: DeserializeOwned + Serialize + Default>(
    document: Document<'_>,
    tree: &Value,
    duplicates: Duplicates,
    kind: &str,
) -> (T, Vec<Error>) {
    let mut mistakes = Vec::new();
    let (mut rest, mut mended) = (tree.clone(), BTreeSet::new());
    let mut is_of_file = true;
    let mut read = yaml::decode::<T>(document, duplicates);
    let value = loop {
        let mistake = match read {
            Ok(value) => break value,
            Err(mistake) => mistake,
        };
        let is_number = !mended.contains(&mistake.field) && mend(&mut rest, &mistake.field);
        if is_number {
            mended.insert(mistake.field);
        } else {
            let is_out = take_out(&mut rest, &mistake.field);
            // The first mistake has its place in the file. The others were found in `text` below, so theirs are wrong.
            mistakes.push(if is_of_file { mistake } else { Error { line: 0, ..mistake } });
            if !is_out || mistakes.len() == MAX_DECODE_ERRORS {
                break T::default();
            }
        }
        is_of_file = false;
        // JSON is YAML, but its lines are not those of the file.
        let text = rest.to_string();
        let left = Document { lines_before: 0, text: &text };
        read = yaml::decode(left, Duplicates::LastWins);
    };
    let understood = serde_json::to_value(&value).unwrap_or_default();
    compare(&rest, &understood, String::new(), &mut mistakes);
    if mistakes.is_empty() {
        return (value, mistakes);
    }
    let places = Places::of(document);
    for mistake in &mut mistakes {
        if let Some(place) = places.of_field(&mistake.field) {
            (mistake.line, mistake.column) = place;
        }
        mistake.field = format!("{kind}.{}", mistake.field);
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    (value, mistakes)
}

/// Removes the field at this path, such as `ipvs.syncPeriod`. For an element of a list it removes the whole list, so
/// that the other elements keep their indices. Returns false if there is no such field.
fn take_out(tree: &mut Value, path: &str) -> bool {
    let list = path.strip_suffix(']').and_then(|path| path.rsplit_once('['));
    let field = list.map_or(path, |(list, _)| list);
    let (parent, key) = field.rsplit_once('.').unwrap_or(("", field));
    let parent = tree.pointer_mut(&pointer(parent)).and_then(Value::as_object_mut);
    parent.and_then(|fields| fields.remove(key)).is_some()
}

/// The JSON pointer of the field at this path.
fn pointer(path: &str) -> String {
    let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
    steps.map(|step| format!("/{}", step.trim_end_matches(']'))).collect()
}

/// Rewrites the number at this path as JSON spells it; Go's decoder turns YAML into JSON before it reads fields. Thus
/// `1e3` and `1000.0` are whole numbers, and `1_000` is a number. Returns false if there is no whole number.
fn mend(tree: &mut Value, path: &str) -> bool {
    /// Up to this value (2^53) every whole number is exact in a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(value) = tree.pointer_mut(&pointer(path)).filter(|value| value.is_number()) else {
        return false;
    };
    let whole = value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
    if let (true, Some(float)) = (value.is_f64(), whole) {
        *value = Value::from(float as i64);
    }
    !value.is_f64()
}

/// The path of a field below another path.
pub(super) fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Finds text in quotes that was decoded as a number or a boolean.
fn compare(tree: &Value, understood: &Value, path: String, mistakes: &mut Vec<Error>) {
    let wanted = match (tree, understood) {
        (Value::Object(fields), Value::Object(understood)) => {
            for (key, value) in fields {
                let path = below(&path, key);
                let understood = understood.get(key).unwrap_or(&Value::Null);
                compare(value, understood, path, mistakes);
            }
            return;
        }
        (Value::Array(elements), Value::Array(understood)) => {
            for (at, (value, understood)) in elements.iter().zip(understood).enumerate() {
                compare(value, understood, format!("{path}[{at}]"), mistakes);
            }
            return;
        }
        (Value::String(text), Value::Bool(_)) if is_in_quotes(text) => "a boolean",
        (Value::String(text), Value::Number(_)) if is_in_quotes(text) => "a number",
        _ => return,
    };
    mistakes.push(Error {
        line: 0,
        column: 0,
        field: path,
        reason: format!("text in quotes where {wanted} is expected"),
        duplicate: false,
    });
}

/// True if the text must have been quoted: without quotes YAML would read another type.
fn is_in_quotes(text: &str) -> bool {
    let plain = Document { lines_before: 0, text };
    yaml::decode::<Value>(plain, Duplicates::LastWins).is_ok_and(|plain| !plain.is_string())
}
