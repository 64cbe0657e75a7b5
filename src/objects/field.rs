//! Reads fields of an object that may have any type.
//!
//! Takes any JSON or YAML value. Returns the wanted value, nothing, or a note of what was there
//! instead. Does not fail because of a type, so that the rest of a document stays readable: only a
//! syntax error fails. `null` and absence are equal everywhere, as for the API server, which writes
//! empty lists as `null`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{Error as ValueError, MapAccessDeserializer};
use serde::de::{Deserialize, Deserializer, IgnoredAny, IntoDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};

/// A scalar or an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The field is absent or `null`.
    #[default]
    Absent,
    /// The field has the wanted type.
    Given(T),
    /// The field has another type. The text describes it for a message: `"abc"`, `70000`, `a list`.
    Wrong(String),
}

/// A list of scalars or objects, each of which may have the wrong type. Absent means empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List<T> {
    /// The elements, in order.
    Items(Vec<Field<T>>),
    /// The field is not a list. The text describes it for a message.
    Wrong(String),
}

impl<T> Field<T> {
    /// Returns the value if it has the wanted type.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }
}

impl<T> List<T> {
    /// Returns the elements. Returns none if the field is not a list.
    pub fn items(&self) -> &[Field<T>] {
        match self {
            Self::Items(items) => items,
            Self::Wrong(_) => &[],
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> FieldVisitor<T> {
    /// Converts a scalar. The parser has consumed it already, so a type that refuses it does no
    /// harm.
    fn scalar<V>(value: V, found: impl FnOnce() -> String) -> Field<T>
    where
        V: IntoDeserializer<'de, ValueError>,
    {
        match T::deserialize(value.into_deserializer()) {
            Ok(value) => Field::Given(value),
            Err(_) => Field::Wrong(found()),
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::scalar(value, || value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Self::scalar(value, || value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Self::scalar(value, || value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Self::scalar(value, || value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Self::scalar(value, || quoted(value)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    /// Deserializes an object. A type that refuses it leaves entries unread. They are skipped here,
    /// so that the parser always continues after the object.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        match T::deserialize(MapAccessDeserializer::new(&mut map)) {
            Ok(value) => Ok(Field::Given(value)),
            Err(_) => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Wrong("an object".to_owned()))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq)?;
        Ok(Field::Wrong("a list".to_owned()))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(List::Wrong(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(List::Wrong(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(List::Wrong(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(List::Wrong(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(List::Wrong(quoted(value)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(List::default())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(List::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map)?;
        Ok(List::Wrong("an object".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(List::Items(items))
    }
}

/// Returns the text in quotes for a message, cut after 64 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{Field, List, quoted};

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(default)]
    struct Object {
        port: Field<u16>,
        name: Field<String>,
        tags: List<String>,
        inner: Field<Inner>,
    }

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(default)]
    struct Inner {
        on: Field<bool>,
    }

    fn both(json: &str) -> Object {
        let from_json: Object = serde_json::from_str(json).unwrap();
        let from_yaml: Object = serde_saphyr::from_str(json).unwrap();
        assert_eq!(from_json, from_yaml);
        from_json
    }

    fn wrong<T>(text: &str) -> Field<T> {
        Field::Wrong(text.to_owned())
    }

    #[test]
    fn null_and_absence_are_the_same() {
        let nulls = both(r#"{"port": null, "name": null, "tags": null, "inner": null}"#);
        assert_eq!(nulls, both("{}"));
        assert_eq!(nulls, Object::default());
    }

    #[test]
    fn the_right_things_are_given() {
        let object = both(r#"{"port": 80, "name": "a", "tags": ["b"], "inner": {"on": true}}"#);
        assert_eq!(object.port, Field::Given(80));
        assert_eq!(object.name, Field::Given("a".to_owned()));
        assert_eq!(object.tags.items(), [Field::Given("b".to_owned())]);
        assert_eq!(object.inner, Field::Given(Inner { on: Field::Given(true) }));
    }

    #[test]
    fn a_wrong_thing_is_noted_and_the_rest_is_read() {
        for (value, found) in [
            (r#""abc""#, r#""abc""#),
            ("70000", "70000"),
            ("-1", "-1"),
            ("80.5", "80.5"),
            ("99999999999999999999", "100000000000000000000"),
            ("true", "true"),
            ("[1, [2]]", "a list"),
            (r#"{"a": {"b": 1}}"#, "an object"),
        ] {
            let json = format!(r#"{{"port": {value}, "name": "after"}}"#);
            let object: Object = serde_json::from_str(&json).unwrap();
            assert_eq!(object.port, wrong(found), "{json}");
            assert_eq!(object.name, Field::Given("after".to_owned()), "{json}");
        }
    }

    #[test]
    fn a_wrong_element_spoils_only_itself() {
        let object = both(r#"{"tags": ["a", 5, null, {"x": 1}, "b"], "inner": [true], "port": 1}"#);
        assert_eq!(
            object.tags.items(),
            [
                Field::Given("a".to_owned()),
                wrong("5"),
                Field::Absent,
                wrong("an object"),
                Field::Given("b".to_owned()),
            ]
        );
        assert_eq!(object.inner, wrong("a list"));
        assert_eq!(object.port, Field::Given(1));
    }

    #[test]
    fn something_else_than_a_list_is_noted() {
        for (value, found) in [("5", "5"), (r#""x""#, r#""x""#), (r#"{"a": 1}"#, "an object")] {
            let object = both(&format!(r#"{{"tags": {value}, "port": 1}}"#));
            assert_eq!(object.tags, List::Wrong(found.to_owned()));
            assert_eq!(object.port, Field::Given(1));
        }
    }

    #[test]
    fn broken_syntax_fails() {
        assert!(serde_json::from_str::<Object>(r#"{"port": {"a": }"#).is_err());
        assert!(serde_json::from_str::<Object>(r#"{"name": {"a" 5}}"#).is_err());
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(quoted("short"), r#""short""#);
        assert_eq!(quoted(&"é".repeat(100)), format!("\"{}\"…", "é".repeat(64)));
    }
}
