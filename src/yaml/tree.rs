//! Reads a document into a tree of values, each with its place in the file.
//!
//! Takes a document. Returns its tree, and an error for each key that occurs twice; its last value counts. Keeps the
//! spelling of numbers and booleans. Does not know which fields there should be.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

use super::{Document, Error, locate, options};

/// A value of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line in the file, from 1.
    pub line: u64,
    /// Column in that line, from 1.
    pub column: u64,
    /// The value.
    pub value: Value,
}

/// A value without its place. A scalar that is not text has its spelling beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing.
    Null,
    /// A boolean without quotes.
    Bool(bool, String),
    /// A whole number without quotes.
    Whole(i64, String),
    /// Another number without quotes.
    Float(f64, String),
    /// Text, with or without quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text, with the last value of each key.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads a document. The second value has an error for each key that occurs in its mapping again.
    ///
    /// # Errors
    /// If the text is not YAML.
    pub fn read(document: Document<'_>) -> Result<(Self, Vec<Error>), Error> {
        let policy = DuplicateKeyPolicy::PassThrough;
        let bare = serde_saphyr::from_str_with_options(document.text, options(policy))
            .map_err(|error| locate(document, error))?;
        Ok(Self::of(bare, document))
    }

    /// Reads a text of JSON; lines and columns are 0. The second value has an error for each key that occurs again.
    ///
    /// # Errors
    /// If the text is not JSON.
    pub fn of_json(text: &str) -> serde_json::Result<(Self, Vec<Error>)> {
        let bare = serde_json::from_str(text)?;
        Ok(Self::of(bare, Document { lines_before: 0, text: "" }))
    }

    fn of(bare: Spanned<Bare>, document: Document<'_>) -> (Self, Vec<Error>) {
        let mut reader = Reader { document, repeated: Vec::new() };
        (reader.node(bare, ""), reader.repeated)
    }

    /// Returns the value of this key; `None` without the key, or if this is not a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Returns the text; `None` if this is not text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the error for this value.
    #[must_use]
    pub fn error(&self, field: &str, reason: &str) -> Error {
        let (field, reason) = (field.to_owned(), reason.to_owned());
        Error { line: self.line, column: self.column, field, reason }
    }
}

/// Returns the path of a field below another path.
#[must_use]
pub fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(on, _) => visitor.visit_bool(*on),
            Value::Whole(number, _) => visitor.visit_i64(*number),
            Value::Float(number, _) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(nodes) => visitor.visit_seq(SeqDeserializer::new(nodes.iter())),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.as_str(), node));
                visitor.visit_map(MapDeserializer::new(entries))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Makes nodes of what the parser returns.
struct Reader<'a> {
    document: Document<'a>,
    repeated: Vec<Error>,
}

impl Reader<'_> {
    fn node(&mut self, bare: Spanned<Bare>, path: &str) -> Node {
        let text = || self.spelling(bare.defined);
        let value = match bare.value {
            Bare::Null => Value::Null,
            Bare::Bool(on) => Value::Bool(on, text().unwrap_or_else(|| on.to_string())),
            Bare::Whole(number) => {
                Value::Whole(number, text().unwrap_or_else(|| number.to_string()))
            }
            Bare::Float(number) => {
                Value::Float(number, text().unwrap_or_else(|| number.to_string()))
            }
            Bare::Text(text) => Value::Text(text),
            Bare::List(elements) => {
                let elements = elements.into_iter().enumerate();
                let node = |(at, element)| self.node(element, &format!("{path}[{at}]"));
                Value::List(elements.map(node).collect())
            }
            Bare::Map(entries) => self.map(entries, path),
        };
        let (line, column) = self.place(bare.referenced);
        Node { line, column, value }
    }

    fn map(&mut self, entries: Vec<(Spanned<String>, Spanned<Bare>)>, path: &str) -> Value {
        let (mut seen, mut nodes) = (BTreeSet::new(), Vec::with_capacity(entries.len()));
        for (key, value) in entries {
            let path = below(path, &key.value);
            if !seen.insert(key.value.clone()) {
                let (line, column) = self.place(key.referenced);
                let (field, reason) = (path.clone(), "this key is there twice".to_owned());
                self.repeated.push(Error { line, column, field, reason });
                nodes.retain(|(name, _): &(String, Node)| *name != key.value);
            }
            nodes.push((key.value, self.node(value, &path)));
        }
        Value::Map(nodes)
    }

    fn place(&self, location: Location) -> (u64, u64) {
        (self.document.lines_before + location.line(), location.column())
    }

    /// The text of a plain scalar, as the document has it.
    fn spelling(&self, location: Location) -> Option<String> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let text = self.document.text.get(start..end)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A value as the parser returns it.
enum Bare {
    Null,
    Bool(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Bare>>),
    Map(Vec<(Spanned<String>, Spanned<Bare>)>),
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bare, E> {
        Ok(Bare::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Bare, E> {
        Ok(Bare::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Bare, E> {
        Ok(i64::try_from(value).map_or(Bare::Float(value as f64), Bare::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bare, E> {
        Ok(Bare::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bare, E> {
        Ok(Bare::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare::Null)
    }

    fn visit_none<E>(self) -> Result<Bare, E> {
        Ok(Bare::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bare, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Bare::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bare, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Bare::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::documents;

    fn read(text: &str) -> (Node, Vec<Error>) {
        let documents = documents(text);
        Node::read(*documents.last().unwrap()).unwrap()
    }

    #[test]
    fn scalars_keep_their_spelling_and_their_place() {
        let (tree, _) = read("---\n---\na: 0x10 # sixteen\nb: [yes, '1', 1.30]\nc: &c 07\nd: *c\n");
        let at = |key: &str| tree.get(key).cloned().unwrap();
        let node = |line, column, value| Node { line, column, value };
        assert_eq!(at("a"), node(3, 4, Value::Whole(16, "0x10".to_owned())));
        let list = vec![
            node(4, 5, Value::Bool(true, "yes".to_owned())),
            node(4, 10, Value::Text("1".to_owned())),
            node(4, 15, Value::Float(1.3, "1.30".to_owned())),
        ];
        assert_eq!(at("b").value, Value::List(list));
        assert_eq!(at("d"), node(6, 4, Value::Whole(7, "07".to_owned())));
    }

    #[test]
    fn a_key_that_is_there_twice_is_an_error_and_its_last_value_counts() {
        let (tree, repeated) = read("a: {b: 1, b: 2}\n");
        let [error] = &repeated[..] else { panic!("{repeated:?}") };
        assert_eq!(error.to_string(), "line 1, column 11: a.b: this key is there twice");
        let value = &tree.get("a").and_then(|a| a.get("b")).unwrap().value;
        assert_eq!(*value, Value::Whole(2, "2".to_owned()));
    }

    #[test]
    fn a_key_of_a_mapping_wins_over_one_that_is_merged_into_it() {
        for text in ["x: &x {a: 1}\ny: {<<: *x, a: 2}\n", "x: &x {a: 1}\ny: {a: 2, <<: *x}\n"] {
            let (tree, repeated) = read(text);
            assert_eq!(repeated, [], "{text}");
            let value = &tree.get("y").and_then(|y| y.get("a")).unwrap().value;
            assert_eq!(*value, Value::Whole(2, "2".to_owned()), "{text}");
        }
    }
}
