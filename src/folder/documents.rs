//! Parses the text of a file into objects.
//!
//! Takes YAML or JSON with any number of documents, which may be of `List` kinds. Returns the facts
//! of every known object, with the line of its document, and the documents that do not parse.
//! Ignores other kinds, and kinds of the same name in other API groups.

use std::sync::Arc;

use proxier::model;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::objects::{
    EndpointSlice, Field, Fields, Kind, List, Metadata, Node, ObjectId, Problem, Service, Spoils,
    convert, fields,
};
use crate::yaml::{self, Document, Duplicates};

use super::unknown::{self, Unknown};
use super::{json, kinds};

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The objects of the file, in order.
    pub(super) entries: Vec<Arc<Entry>>,
    /// The errors of documents that do not parse.
    pub(super) errors: Vec<yaml::Error>,
    /// The parts that are skipped although they look relevant. They affect nothing else.
    pub(super) notes: Vec<yaml::Error>,
}

/// One object of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// The identity of the object; `None` if it has no name.
    pub(super) object: Option<ObjectId>,
    /// The line at which the object's document begins.
    pub(super) line: u64,
    /// The facts; `None` if this proxy does not use the object, or nothing of it is usable.
    pub(super) fact: Option<Fact>,
    /// The problems of the object.
    pub(super) problems: Vec<Problem>,
}

impl Entry {
    /// True if the object cannot be read, so that what was last known of it stays in force.
    pub(super) fn is_unreadable(&self) -> bool {
        Problem::is_unreadable(&self.problems)
    }
}

/// The facts of an object.
#[derive(Debug, PartialEq)]
pub(super) enum Fact {
    Service(model::Service),
    Slice(model::Slice),
    Node(model::Node),
}

/// Parses all documents of a text.
pub(super) fn parse(text: &str) -> Parsed {
    if let Some(entries) = json::objects(text) {
        return Parsed { entries, ..Parsed::default() };
    }
    let mut parsed = Parsed::default();
    for document in yaml::documents(text) {
        if let Err(error) = read(document, &mut parsed) {
            parsed.errors.push(error);
        }
    }
    parsed
}

/// The type of a document, and of each item of its list.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Header {
    api_version: Field<String>,
    kind: Field<String>,
    items: List<Header>,
}

/// The items of a list.
#[derive(Deserialize)]
struct Items<T> {
    items: List<T>,
}

fn read(document: Document<'_>, parsed: &mut Parsed) -> Result<(), yaml::Error> {
    let Parsed { entries, notes, errors } = parsed;
    let header: Header = match decode(document)? {
        Field::Given(header) => header,
        Field::Absent => return Ok(()),
        Field::Wrong(found) => return Err(wrong(document, String::new(), no_object(&found))),
    };
    if header.is("v1", "List") {
        check_items(document, &header.items, errors)?;
        check_kinds(document, &header.items, notes);
        list::<Service>(document, Some(&header.items), entries)?;
        list::<EndpointSlice>(document, Some(&header.items), entries)?;
        list::<Node>(document, Some(&header.items), entries)
    } else if header.is("v1", "ServiceList") {
        check_items(document, &header.items, errors)?;
        list::<Service>(document, None, entries)
    } else if header.is("discovery.k8s.io/v1", "EndpointSliceList") {
        check_items(document, &header.items, errors)?;
        list::<EndpointSlice>(document, None, entries)
    } else if header.is("v1", "NodeList") {
        check_items(document, &header.items, errors)?;
        list::<Node>(document, None, entries)
    } else if is::<Service>(&header) {
        single::<Service>(document, entries)
    } else if is::<EndpointSlice>(&header) {
        single::<EndpointSlice>(document, entries)
    } else if is::<Node>(&header) {
        single::<Node>(document, entries)
    } else {
        notes.extend(header.mistake().map(|reason| wrong(document, String::new(), reason)));
        let Header { api_version, kind, items: _ } = header;
        tracing::debug!(?api_version, ?kind, "a manifest of a kind that does not matter here");
        Ok(())
    }
}

/// Deserializes a document. The lenient types read on after a syntax error and then report a later
/// place. A plain tree reports the error itself.
fn decode<T: DeserializeOwned>(document: Document<'_>) -> Result<T, yaml::Error> {
    yaml::decode(document, Duplicates::Refused).map_err(|error| {
        yaml::decode::<Value>(document, Duplicates::Refused).err().unwrap_or(error)
    })
}

impl Header {
    fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version.given().is_some_and(|found| found == api_version)
            && self.kind.given().is_some_and(|found| found == kind)
    }

    fn mistake(&self) -> Option<String> {
        if let Field::Wrong(found) = &self.kind {
            return Some(format!("{found} is not a kind"));
        }
        let version = self.api_version.given().map(String::as_str);
        kinds::mistake(version, self.kind.given().map(String::as_str))
    }

    fn is_list(&self) -> bool {
        let version = self.api_version.given().map(String::as_str);
        self.kind.given().is_some_and(|kind| kinds::is_list(version, kind))
    }
}

fn is<T: Known>(header: &Header) -> bool {
    header.is(T::API_VERSION, T::NAME)
}

fn no_object(found: &str) -> String {
    format!("{found} is not an object")
}

fn wrong(document: Document<'_>, field: String, reason: String) -> yaml::Error {
    yaml::Error { line: document.lines_before + 1, column: 1, field, reason, duplicate: false }
}

/// Finds items that are not objects. The other items are read, but the file is not complete: any object may be
/// the one that is missing.
fn check_items(
    document: Document<'_>,
    items: &List<Header>,
    errors: &mut Vec<yaml::Error>,
) -> Result<(), yaml::Error> {
    if let List::Wrong(found) = items {
        return Err(wrong(document, "items".to_owned(), format!("{found} is not a list")));
    }
    for (at, item) in items.items().iter().enumerate() {
        if let Field::Wrong(found) = item {
            errors.push(wrong(document, format!("items[{at}]"), no_object(found)));
        }
    }
    Ok(())
}

/// Notes wrong types of the items of a list of kind `List`.
fn check_kinds(document: Document<'_>, items: &List<Header>, notes: &mut Vec<yaml::Error>) {
    for (at, item) in items.items().iter().enumerate() {
        let Some(header) = item.given() else { continue };
        let nested = || "a list within a list is not read".to_owned();
        let reason = header.mistake().or_else(|| header.is_list().then(nested));
        notes.extend(reason.map(|reason| wrong(document, format!("items[{at}]"), reason)));
    }
}

fn single<T: Known>(
    document: Document<'_>,
    entries: &mut Vec<Arc<Entry>>,
) -> Result<(), yaml::Error> {
    let object: T = decode(document)?;
    let unknown = T::fields().map(|fields| unknown::of_document(document, fields));
    entries.push(entry(&object, document.lines_before + 1, unknown.unwrap_or_default()));
    Ok(())
}

/// Reads the objects of one kind from a list. A mixed list is read once for each kind: the types
/// are lenient, so an item of another kind parses and is skipped.
fn list<T: Known>(
    document: Document<'_>,
    kinds: Option<&List<Header>>,
    entries: &mut Vec<Arc<Entry>>,
) -> Result<(), yaml::Error> {
    let wanted = |at: usize| match kinds {
        None => true,
        Some(kinds) => kinds.items().get(at).and_then(Field::given).is_some_and(is::<T>),
    };
    if kinds.is_some_and(|kinds| !(0..kinds.items().len()).any(wanted)) {
        return Ok(());
    }
    let list: Items<T> = decode(document)?;
    let fields = |at| T::fields().filter(|_| wanted(at));
    let mut unknown = unknown::of_items(document, fields);
    for (at, item) in list.items.items().iter().enumerate() {
        if let Some(object) = item.given()
            && wanted(at)
        {
            let unknown = unknown.remove(&at).unwrap_or_default();
            entries.push(entry(object, document.lines_before + 1, unknown));
        }
    }
    Ok(())
}

/// Converts an object. `line` is the line at which its document begins.
pub(super) fn entry<T: Known>(object: &T, line: u64, unknown: Vec<Unknown>) -> Arc<Entry> {
    let mut problems = Vec::new();
    let fact = object.convert(&mut problems);
    let id = object.id();
    // An object without a name cannot be used, which was already reported.
    for Unknown { path, message } in unknown {
        let object = id.clone();
        problems.extend(object.map(|object| Problem {
            object,
            field: path,
            message,
            spoils: Spoils::Part,
        }));
    }
    Arc::new(Entry { object: id, line, fact, problems })
}

/// A kind of object that this proxy reads.
pub(super) trait Known: DeserializeOwned {
    const API_VERSION: &'static str;
    const NAME: &'static str;

    /// Returns every field that the API has. `None` for kinds that people do not write by hand.
    fn fields() -> Option<&'static Fields>;
    fn id(&self) -> Option<ObjectId>;
    fn convert(&self, problems: &mut Vec<Problem>) -> Option<Fact>;
}

fn id<L>(kind: Kind, metadata: &Field<Metadata<L>>) -> Option<ObjectId> {
    convert::id(kind, metadata)
}

impl Known for Service {
    const API_VERSION: &'static str = "v1";
    const NAME: &'static str = "Service";

    fn fields() -> Option<&'static Fields> {
        Some(&*fields::SERVICE)
    }

    fn id(&self) -> Option<ObjectId> {
        id(Kind::Service, &self.metadata)
    }

    fn convert(&self, problems: &mut Vec<Problem>) -> Option<Fact> {
        convert::service(self, problems).map(Fact::Service)
    }
}

impl Known for EndpointSlice {
    const API_VERSION: &'static str = "discovery.k8s.io/v1";
    const NAME: &'static str = "EndpointSlice";

    fn fields() -> Option<&'static Fields> {
        Some(&*fields::ENDPOINT_SLICE)
    }

    fn id(&self) -> Option<ObjectId> {
        id(Kind::EndpointSlice, &self.metadata)
    }

    fn convert(&self, problems: &mut Vec<Problem>) -> Option<Fact> {
        convert::slice(self, problems).map(Fact::Slice)
    }
}

impl Known for Node {
    const API_VERSION: &'static str = "v1";
    const NAME: &'static str = "Node";

    fn fields() -> Option<&'static Fields> {
        None
    }

    fn id(&self) -> Option<ObjectId> {
        id(Kind::Node, &self.metadata)
    }

    fn convert(&self, problems: &mut Vec<Problem>) -> Option<Fact> {
        convert::node(self, problems).map(Fact::Node)
    }
}
