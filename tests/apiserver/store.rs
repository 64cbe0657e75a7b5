//! Keeps the objects of the test API server, with their history.
//!
//! Takes objects as JSON values. Returns lists as of a version, and changes since a version, as one
//! watch with its selectors sees them. Does not know HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Kind, namespace and name.
pub type Id = (String, String, String);

/// The objects and their history.
#[derive(Default)]
pub struct Store {
    objects: BTreeMap<Id, Value>,
    history: Vec<Change>,
    version: u64,
    oldest: u64,
}

struct Change {
    version: u64,
    id: Id,
    before: Option<Value>,
    after: Option<Value>,
}

/// A change as a watch sees it.
pub struct Event {
    /// The version after the change.
    pub version: u64,
    /// The type: `ADDED`, `MODIFIED` or `DELETED`.
    pub kind: &'static str,
    /// The object.
    pub object: Value,
}

impl Store {
    /// Returns the version of the last change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Creates or updates an object. An equal object changes nothing.
    pub fn put(&mut self, mut object: Value) {
        let id = id(&object);
        if object["apiVersion"].is_null() {
            object["apiVersion"] = json!(api_version(&id.0));
        }
        let before = self.objects.get(&id).cloned();
        if let Some(before) = &before {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == object {
                return;
            }
        }
        self.change(id, before, Some(object));
    }

    /// Deletes an object if it exists.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) {
        let id = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        if let Some(before) = self.objects.get(&id).cloned() {
            self.change(id, Some(before), None);
        }
    }

    /// Replaces all objects by these.
    pub fn replace_all(&mut self, objects: Vec<Value>) {
        let wanted: Vec<Id> = objects.iter().map(id).collect();
        let unwanted: Vec<Id> =
            self.objects.keys().filter(|id| !wanted.contains(id)).cloned().collect();
        for (kind, namespace, name) in unwanted {
            self.delete(&kind, &namespace, &name);
        }
        for object in objects {
            self.put(object);
        }
    }

    /// Forgets every version up to now. Open watches continue, as in a real server.
    pub fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
    }

    /// True if a list or watch may begin at this version.
    pub fn knows(&self, version: u64) -> bool {
        version >= self.oldest
    }

    /// Returns all objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let of_kind = self.objects.iter().filter(|(id, _)| id.0 == kind);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// Returns the selected objects of a kind as of a version, in the order of their names.
    pub fn list(&self, kind: &str, selector: &Selector, version: u64) -> Vec<Value> {
        let mut objects = self.objects.clone();
        for change in self.history.iter().rev().take_while(|change| change.version > version) {
            match &change.before {
                Some(before) => objects.insert(change.id.clone(), before.clone()),
                None => objects.remove(&change.id),
            };
        }
        let of_kind = objects.into_iter().filter(|(id, _)| id.0 == kind);
        of_kind.map(|(_, object)| object).filter(|object| selector.admits(object)).collect()
    }

    /// Returns what a watch of the selected objects of a kind sees after a version.
    pub fn since(&self, kind: &str, selector: &Selector, version: u64) -> Vec<Event> {
        let news = self.history.iter().filter(|change| change.version > version);
        news.filter(|change| change.id.0 == kind).filter_map(|c| c.seen_by(selector)).collect()
    }

    fn change(&mut self, id: Id, before: Option<Value>, mut after: Option<Value>) {
        self.version += 1;
        if let Some(object) = &mut after {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(id.clone(), object.clone());
        } else {
            self.objects.remove(&id);
        }
        self.history.push(Change { version: self.version, id, before, after });
    }
}

impl Change {
    /// Returns the change as a watch sees it. An object that starts or stops to match the selector
    /// is added or deleted for the watch.
    fn seen_by(&self, selector: &Selector) -> Option<Event> {
        let before = self.before.as_ref().filter(|object| selector.admits(object));
        let after = self.after.as_ref().filter(|object| selector.admits(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", before),
        };
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        Some(Event { version: self.version, kind, object })
    }
}

/// Label and field selectors: comma-separated `key`, `!key`, `key=value`, `key!=value`.
#[derive(Clone, Default)]
pub struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Clone)]
enum Term {
    Present(String),
    Absent(String),
    Is(String, String),
    IsNot(String, String),
}

impl Selector {
    /// Parses both selectors; empty texts select everything.
    pub fn new(labels: &str, fields: &str) -> Self {
        Self { labels: terms(labels), fields: terms(fields) }
    }

    fn admits(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key).cloned();
        let field = |key: &str| {
            let pointer = format!("/{}", key.replace('.', "/"));
            object.pointer(&pointer).cloned()
        };
        self.labels.iter().all(|term| term.holds(label))
            && self.fields.iter().all(|term| term.holds(field))
    }
}

impl Term {
    fn holds(&self, value: impl Fn(&str) -> Option<Value>) -> bool {
        let text = |key: &str| value(key).and_then(|value| value.as_str().map(str::to_owned));
        match self {
            Self::Present(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
            Self::Is(key, wanted) => text(key).unwrap_or_default() == *wanted,
            Self::IsNot(key, unwanted) => text(key).unwrap_or_default() != *unwanted,
        }
    }
}

fn terms(text: &str) -> Vec<Term> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            if let Some((key, value)) = term.split_once("!=") {
                Term::IsNot(key.to_owned(), value.to_owned())
            } else if let Some((key, value)) = term.split_once('=') {
                Term::Is(key.to_owned(), value.trim_start_matches('=').to_owned())
            } else if let Some(key) = term.strip_prefix('!') {
                Term::Absent(key.to_owned())
            } else {
                Term::Present(term.to_owned())
            }
        })
        .collect()
}

/// Returns the version in which objects of a kind are stored, whatever the written object says.
fn api_version(kind: &str) -> &'static str {
    match kind {
        "EndpointSlice" => "discovery.k8s.io/v1",
        _ => "v1",
    }
}

/// Returns the kind, namespace and name of an object.
pub fn id(object: &Value) -> Id {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, meta) = (text(&object["kind"]), &object["metadata"]);
    let namespace = match (kind.as_str(), text(&meta["namespace"])) {
        ("Node", _) => String::new(),
        (_, namespace) if namespace.is_empty() => "default".to_owned(),
        (_, namespace) => namespace,
    };
    (kind, namespace, text(&meta["name"]))
}

/// Returns the objects of YAML documents, including those of `List`s.
pub fn parse(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("objects in YAML");
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .flat_map(|mut document| match document["items"].take() {
            Value::Array(items) => items,
            _ => {
                document.as_object_mut().expect("an object").remove("items");
                vec![document]
            }
        })
        .collect()
}
