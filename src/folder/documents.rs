//! Parses the text of a file into objects.
//!
//! Takes YAML or JSON with any number of documents, which may be of `List` kinds. Returns the facts
//! of every known object, with the line of its document, and the documents that do not parse.
//! Ignores other kinds, and kinds of the same name in other API groups.

use std::sync::Arc;

use proxier::model;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::objects::{
    self, EndpointSlice, Field, Fields, Kind, Metadata, ObjectId, Problem, Service, Spoils,
    convert, fields,
};
use crate::yaml::{self, Document, Node, Value};

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

/// The type of a document, or of an item of a list.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Header {
    api_version: Field<String>,
    kind: Field<String>,
}

fn read(document: Document<'_>, parsed: &mut Parsed) -> Result<(), yaml::Error> {
    let (tree, repeated) = Node::read(document)?;
    if let Some(key) = repeated.into_iter().next() {
        return Err(duplicate(key));
    }
    let line = document.lines_before + 1;
    let refuse = |field: &str, reason| wrong(line, field.to_owned(), reason);
    let header = match Header::of(&tree) {
        Field::Given(header) => header,
        Field::Absent => return Ok(()),
        Field::Wrong(found) => return Err(refuse("", no_object(&found))),
    };
    if !header.is_list() {
        if !header.object(&tree, line, &mut parsed.entries) {
            parsed.notes.extend(header.mistake().map(|reason| refuse("", reason)));
        }
        return Ok(());
    }
    let items = match tree.get("items").map(|items| (items, &items.value)) {
        None | Some((_, Value::Null)) => return Ok(()),
        Some((_, Value::List(items))) => items,
        Some((items, _)) => {
            let found = match Header::of(items) {
                Field::Wrong(found) => found,
                Field::Given(_) | Field::Absent => "an object".to_owned(),
            };
            return Err(refuse("items", format!("{found} is not a list")));
        }
    };
    for (at, item) in items.iter().enumerate() {
        let of_item = match Header::of(item) {
            Field::Given(of_item) => of_item,
            Field::Absent => continue,
            // The other items are read, but the file is not complete: any object may be the one that is missing.
            Field::Wrong(found) => {
                parsed.errors.push(refuse(&format!("items[{at}]"), no_object(&found)));
                continue;
            }
        };
        let of_item = header.of_items().unwrap_or(of_item);
        if !of_item.object(item, line, &mut parsed.entries) {
            let nested = || "a list within a list is not read".to_owned();
            let reason = of_item.mistake().or_else(|| of_item.is_list().then(nested));
            let note = reason.map(|reason| refuse(&format!("items[{at}]"), reason));
            parsed.notes.extend(note);
        }
    }
    Ok(())
}

impl Header {
    fn of(node: &Node) -> Field<Self> {
        Field::deserialize(node).unwrap_or_default()
    }

    fn version_and_kind(&self) -> (Option<&str>, Option<&str>) {
        (self.api_version.given().map(String::as_str), self.kind.given().map(String::as_str))
    }

    fn mistake(&self) -> Option<String> {
        if let Field::Wrong(found) = &self.kind {
            return Some(format!("{found} is not a kind"));
        }
        let (version, kind) = self.version_and_kind();
        kinds::mistake(version, kind)
    }

    fn is_list(&self) -> bool {
        let (version, kind) = self.version_and_kind();
        kind.is_some_and(|kind| kinds::is_list(version, kind))
    }

    /// The type of each item of this list; `None` if each item has its own.
    fn of_items(&self) -> Option<Self> {
        let kind = self.kind.given()?.strip_suffix("List").filter(|kind| !kind.is_empty())?;
        Some(Self { api_version: self.api_version.clone(), kind: Field::Given(kind.to_owned()) })
    }

    /// Reads an object of this type. Returns false if the type is not read.
    fn object(&self, node: &Node, line: u64, entries: &mut Vec<Arc<Entry>>) -> bool {
        let (Some(version), Some(kind)) = self.version_and_kind() else { return false };
        object((version, kind), node, line).map(|entry| entries.push(entry)).is_some()
    }
}

/// Reads an object with this version and kind; `None` if the kind is not read.
pub(super) fn object(kind: (&str, &str), node: &Node, line: u64) -> Option<Arc<Entry>> {
    const SERVICE: (&str, &str) = (Service::API_VERSION, Service::NAME);
    const SLICE: (&str, &str) = (EndpointSlice::API_VERSION, EndpointSlice::NAME);
    const NODE: (&str, &str) = (objects::Node::API_VERSION, objects::Node::NAME);
    match kind {
        SERVICE => Some(entry::<Service>(node, line)),
        SLICE => Some(entry::<EndpointSlice>(node, line)),
        NODE => Some(entry::<objects::Node>(node, line)),
        _ => None,
    }
}

fn no_object(found: &str) -> String {
    format!("{found} is not an object")
}

fn wrong(line: u64, field: String, reason: String) -> yaml::Error {
    yaml::Error { line, column: 1, field, reason }
}

/// The error for a key that is there twice: it names the mapping, and then the key.
fn duplicate(error: yaml::Error) -> yaml::Error {
    let (field, key) = error.field.rsplit_once('.').unwrap_or(("", &error.field));
    let reason = format!("duplicate mapping key: {key}");
    yaml::Error { field: field.to_owned(), reason, ..error }
}

/// Reads and converts an object. `line` is the line at which its document begins.
fn entry<T: Known>(node: &Node, line: u64) -> Arc<Entry> {
    let (object, mut problems) = (T::deserialize(node).unwrap_or_default(), Vec::new());
    let fact = object.convert(&mut problems);
    let id = object.id();
    let unknown = T::fields().map(|fields| unknown::of_object(node, fields));
    // An object without a name cannot be used, which was already reported.
    for Unknown { path, message } in unknown.unwrap_or_default() {
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
trait Known: DeserializeOwned + Default {
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

impl Known for objects::Node {
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
