//! Reads a file that is plain JSON.
//!
//! Takes a text. Returns its objects, each parsed separately, so that a list of a whole cluster is
//! never held in parsed form. Does not report errors: other texts are left to the YAML reader,
//! which is much slower and knows the place of every error.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::documents::{Entry, Known, entry};
use super::{kinds, unknown};
use crate::objects::{EndpointSlice, Node, Service};

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
    let mut entries = Vec::new();
    match (&*head.api_version, &*head.kind, &head.items) {
        ("v1", "List", Some(items)) => {
            for item in items {
                let head: Head<'_> = serde_json::from_str(item.get()).ok()?;
                object(&head, item.get(), &mut entries)?;
            }
        }
        ("v1", "ServiceList", Some(items)) => typed::<Service>(items, &mut entries)?,
        ("v1", "NodeList", Some(items)) => typed::<Node>(items, &mut entries)?,
        ("discovery.k8s.io/v1", "EndpointSliceList", Some(items)) => {
            typed::<EndpointSlice>(items, &mut entries)?;
        }
        (_, _, None) => object(&head, text, &mut entries)?,
        (_, _, Some(_)) => return None,
    }
    Some(entries)
}

/// Reads an object of any kind. Skips kinds that are not used.
fn object(head: &Head<'_>, json: &str, into: &mut Vec<Arc<Entry>>) -> Option<()> {
    let is = |version: &str, kind: &str| head.api_version == version && head.kind == kind;
    if is(Service::API_VERSION, Service::NAME) {
        one::<Service>(json, into)
    } else if is(EndpointSlice::API_VERSION, EndpointSlice::NAME) {
        one::<EndpointSlice>(json, into)
    } else if is(Node::API_VERSION, Node::NAME) {
        one::<Node>(json, into)
    } else {
        // The YAML reader reports a wrong type, and a list within a list.
        let version = Some(&*head.api_version);
        let is_wrong = kinds::mistake(version, Some(&head.kind)).is_some()
            || kinds::is_list(version, &head.kind);
        (!is_wrong).then_some(())
    }
}

fn typed<T: Known>(items: &[&RawValue], into: &mut Vec<Arc<Entry>>) -> Option<()> {
    items.iter().try_for_each(|item| one::<T>(item.get(), into))
}

fn one<T: Known>(json: &str, into: &mut Vec<Arc<Entry>>) -> Option<()> {
    let object: T = serde_json::from_str(json).ok()?;
    // The whole text is one document, which begins in the first line.
    let unknown = T::fields().map(|fields| unknown::of_json(json, fields));
    into.push(entry(&object, 1, unknown.unwrap_or_default()));
    Some(())
}
