//! Finds fields of a manifest that the API does not have, because they are misspelled or misplaced.
//!
//! Takes the text of an object, and the fields of its kind. Returns the path of each unknown field,
//! with the field that was probably meant. Does not check values. Does not report text that cannot
//! be parsed: the reader does.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::objects::Fields;
use crate::yaml::{self, Document};

/// A field that the API does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The path of the field, such as `spec.ports[0].targetport`.
    pub(super) path: String,
    /// The message for the operator.
    pub(super) message: String,
}

/// Returns the unknown fields of a document that is one object.
pub(super) fn of_document(document: Document<'_>, fields: &'static Fields) -> Vec<Unknown> {
    let mut found = Vec::new();
    // The reader reports what cannot be parsed.
    let _ = yaml::walk(document, Part::root(fields, &mut found));
    found
}

/// Returns the unknown fields of an object in JSON.
pub(super) fn of_json(json: &str, fields: &'static Fields) -> Vec<Unknown> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(json);
    let _ = Part::root(fields, &mut found).deserialize(&mut reader);
    found
}

/// Returns the unknown fields of each item of a list, by index. Checks only items for which
/// `fields` returns something.
pub(super) fn of_items(
    document: Document<'_>,
    fields: impl Fn(usize) -> Option<&'static Fields>,
) -> BTreeMap<usize, Vec<Unknown>> {
    let mut found = BTreeMap::new();
    let _ = yaml::walk(document, ListOf { fields: &fields, found: &mut found });
    found
}

/// A visitor of one part of an object.
struct Part<'a> {
    root: &'static Fields,
    fields: &'static Fields,
    path: String,
    found: &'a mut Vec<Unknown>,
}

impl<'a> Part<'a> {
    fn root(root: &'static Fields, found: &'a mut Vec<Unknown>) -> Self {
        Self { root, fields: root, path: String::new(), found }
    }

    fn below(&mut self, fields: &'static Fields, path: String) -> Part<'_> {
        Part { root: self.root, fields, path, found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Fields::Named(names) = self.fields else {
            return IgnoredAny.visit_map(map).map(drop);
        };
        while let Some(key) = map.next_key::<String>()? {
            let path =
                if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            match names.get(key.as_str()) {
                Some(fields) => map.next_value_seed(self.below(fields, path))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                    let message = message(&key, names, self.root);
                    self.found.push(Unknown { path, message });
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Fields::List(element) = self.fields else {
            return IgnoredAny.visit_seq(seq).map(drop);
        };
        let path = self.path.clone();
        for at in 0.. {
            if seq.next_element_seed(self.below(element, format!("{path}[{at}]")))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A visitor of a list of objects of several kinds.
struct ListOf<'a, F> {
    fields: &'a F,
    found: &'a mut BTreeMap<usize, Vec<Unknown>>,
}

impl<'de, F: Fn(usize) -> Option<&'static Fields>> DeserializeSeed<'de> for ListOf<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fn(usize) -> Option<&'static Fields>> Visitor<'de> for ListOf<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                map.next_value_seed(ListOf { fields: self.fields, found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for at in 0.. {
            let mut unknown = Vec::new();
            let fields = (self.fields)(at).unwrap_or(&Fields::Any);
            if seq.next_element_seed(Part::root(fields, &mut unknown))?.is_none() {
                break;
            }
            if !unknown.is_empty() {
                self.found.insert(at, unknown);
            }
        }
        Ok(())
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
