//! Finds the places of a document's fields.
//!
//! Takes a document. Returns line and column of each field's value, and every duplicate key. Returns nothing for a
//! document that cannot be read; does not report its errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::decode::below;
use crate::yaml::{Document, Error};

/// The places of a document's fields in its file; lines and columns count from 1.
#[derive(Debug, Default)]
pub(super) struct Places {
    fields: BTreeMap<String, (u64, u64)>,
    lines_before: u64,
    /// An error for each key that occurs in its mapping again.
    pub(super) repeated: Vec<Error>,
}

impl Places {
    pub(super) fn of(document: Document<'_>) -> Self {
        let mut places = Self { lines_before: document.lines_before, ..Self::default() };
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
        };
        if let Ok(Node::Map(entries)) = serde_saphyr::from_str_with_options(document.text, options)
        {
            places.map(&entries, "");
        }
        places
    }

    /// Returns line and column of the value at this path, such as `ipvs.excludeCIDRs[1]`.
    pub(super) fn of_field(&self, path: &str) -> Option<(u64, u64)> {
        self.fields.get(path).copied()
    }

    fn map(&mut self, entries: &[(Spanned<String>, Spanned<Node>)], path: &str) {
        let mut seen = BTreeSet::new();
        for (key, node) in entries {
            let name = &key.value;
            let path = below(path, name);
            if !seen.insert(name) {
                let (line, column) = self.place(key);
                let (field, reason) = (path.clone(), "this key is there twice".to_owned());
                self.repeated.push(Error { line, column, field, reason, duplicate: true });
            }
            self.node(node, path);
        }
    }

    fn node(&mut self, node: &Spanned<Node>, path: String) {
        match &node.value {
            Node::Leaf => {}
            Node::List(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    self.node(element, format!("{path}[{at}]"));
                }
            }
            Node::Map(entries) => self.map(entries, &path),
        }
        self.fields.insert(path, self.place(node));
    }

    fn place<T>(&self, spanned: &Spanned<T>) -> (u64, u64) {
        let place = spanned.referenced;
        (self.lines_before + place.line(), place.column())
    }
}

/// A value of a document, reduced to its structure.
enum Node {
    Leaf,
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}
