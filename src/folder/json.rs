//! Reads a file that is plain JSON.
//!
//! Takes a text. Returns its objects, each parsed separately, so that a list of a whole cluster is
//! never held in parsed form. Does not report errors: other texts are left to the YAML reader,
//! which is much slower and knows the place of every error.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::documents::{self, Entry};
use super::kinds;
use crate::yaml::{Node, Value};

/// The type of an object, or the items of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    api_version: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Reads the objects of a text. `None` if the YAML reader has to read it.
pub(super) fn objects(text: &str) -> Option<Vec<Arc<Entry>>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let head: Head<'_> = serde_json::from_str(text).ok()?;
    let kind = (&*head.api_version, &*head.kind);
    let Some(items) = &head.items else {
        return Some(object(kind, text)?.into_iter().collect());
    };
    if !kinds::is_list(Some(kind.0), kind.1) {
        return None;
    }
    let of_items = kind.1.strip_suffix("List").filter(|kind| !kind.is_empty());
    let mut entries = Vec::new();
    for item in items {
        let json = item.get();
        entries.extend(match of_items {
            Some(name) => object((kind.0, name), json)?,
            None => {
                let head: Head<'_> = serde_json::from_str(json).ok()?;
                object((&head.api_version, &head.kind), json)?
            }
        });
    }
    Some(entries)
}

/// Reads an object of any kind. Skips kinds that are not used.
fn object(kind: (&str, &str), json: &str) -> Option<Option<Arc<Entry>>> {
    let (tree, repeated) = Node::of_json(json).ok()?;
    // The whole text is one document, which begins in the first line.
    let entry = documents::object(kind, &tree, 1);
    // The YAML reader reports a key that is there twice, a wrong type, and a list within a list.
    let is_wrong = !repeated.is_empty()
        || !matches!(tree.value, Value::Map(_))
        || entry.is_none()
            && (kinds::mistake(Some(kind.0), Some(kind.1)).is_some()
                || kinds::is_list(Some(kind.0), kind.1));
    (!is_wrong).then_some(entry)
}
