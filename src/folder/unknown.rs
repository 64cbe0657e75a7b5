//! Finds fields of a manifest that the API does not have, because they are misspelled or misplaced.
//!
//! Takes the tree of an object, and the fields of its kind. Returns the path of each unknown field,
//! with the field that was probably meant. Does not check values.

use std::collections::BTreeMap;

use crate::objects::Fields;
use crate::yaml::{Node, Value, below};

/// A field that the API does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The path of the field, such as `spec.ports[0].targetport`.
    pub(super) path: String,
    /// The message for the operator.
    pub(super) message: String,
}

/// Returns the unknown fields of an object.
pub(super) fn of_object(object: &Node, fields: &'static Fields) -> Vec<Unknown> {
    let mut found = Vec::new();
    of_part(object, fields, "", fields, &mut found);
    found
}

fn of_part(
    part: &Node,
    fields: &Fields,
    path: &str,
    root: &'static Fields,
    found: &mut Vec<Unknown>,
) {
    match (&part.value, fields) {
        (Value::Map(entries), Fields::Named(names)) => {
            for (key, node) in entries {
                let path = below(path, key);
                match names.get(key.as_str()) {
                    Some(fields) => of_part(node, fields, &path, root, found),
                    None => found.push(Unknown { path, message: message(key, names, root) }),
                }
            }
        }
        (Value::List(nodes), Fields::List(element)) => {
            for (at, node) in nodes.iter().enumerate() {
                of_part(node, element, &format!("{path}[{at}]"), root, found);
            }
        }
        _ => {}
    }
}

/// Returns the message about an unknown field. It names a similar field of the same part, or the
/// part that has a field of this name.
fn message(name: &str, here: &BTreeMap<&'static str, Fields>, root: &'static Fields) -> String {
    let similar = here.keys().filter_map(|known| Some((distance(name, known)?, *known)));
    let meant = similar.min().map(|(_, known)| known.to_owned());
    match meant.or_else(|| place(name, root)) {
        Some(meant) => format!("unknown field; did you mean {meant}?"),
        None => "unknown field; it has no effect".to_owned(),
    }
}

/// Returns how many letters differ, if they are few for the length of the name. Ignores case.
fn distance(name: &str, known: &str) -> Option<usize> {
    let differing = strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    (differing <= known.len().div_ceil(4).min(3)).then_some(differing)
}

/// Returns the path of the part that has a field of this name, nearest to the root.
fn place(name: &str, root: &'static Fields) -> Option<String> {
    let mut level = vec![(String::new(), root)];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, fields) in level {
            match fields {
                Fields::Any => {}
                Fields::List(element) => below.push((format!("{path}[]"), &**element)),
                Fields::Named(names) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    if names.contains_key(name) {
                        return Some(format!("{path}{dot}{name}"));
                    }
                    let parts = names.iter();
                    below
                        .extend(parts.map(|(part, fields)| (format!("{path}{dot}{part}"), fields)));
                }
            }
        }
        level = below;
    }
    None
}
