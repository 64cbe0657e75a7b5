//! What the folder says, and what is different from before.
//!
//! In: the texts of all files, each time something may have changed. Out: events, first lists and
//! then differences, and the problems in force. A text is parsed only when it has changed. Never:
//! a file, a clock.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxier::model::{Event, ServiceName, SliceName, Update};

use super::Problem;
use super::documents::{Entry, Fact, Parsed, parse};
use super::read::Content;
use crate::objects::{Kind, ObjectId};

/// What is known of the folder.
#[derive(Debug)]
pub(super) struct State {
    node_name: String,
    files: BTreeMap<PathBuf, File>,
    in_force: InForce,
    twice: Vec<Problem>,
    is_listed: bool,
}

/// Every object that counts.
type InForce = BTreeMap<ObjectId, Arc<Entry>>;

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// Of the text last seen; 64 bits that need not resist anybody.
    fingerprint: Option<u64>,
    /// Its objects, or those of the last text that parsed whole.
    entries: Vec<Arc<Entry>>,
    /// Why the text last seen is not what is in force.
    problems: Vec<Problem>,
}

impl State {
    /// Knows nothing yet.
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            files: BTreeMap::new(),
            in_force: BTreeMap::new(),
            twice: Vec::new(),
            is_listed: false,
        }
    }

    /// Takes in all files there are. The first time all facts are listed, later only changed.
    pub(super) fn update(&mut self, content: Vec<(PathBuf, Content)>) -> Vec<Event> {
        let is_same = |content: &Content| matches!(content, Content::Same);
        let is_known = |(path, content): &(PathBuf, Content)| {
            is_same(content) && self.files.contains_key(path)
        };
        if self.is_listed && content.len() == self.files.len() && content.iter().all(is_known) {
            return Vec::new();
        }
        let present: BTreeSet<_> = content.iter().map(|(path, _)| path.clone()).collect();
        self.files.retain(|path, _| present.contains(path));
        for (path, content) in content {
            let file = self.files.entry(path.clone()).or_default();
            file.update(&path, content);
        }
        let (in_force, twice) = self.merged();
        let before = std::mem::replace(&mut self.in_force, in_force);
        self.twice = twice;
        if std::mem::replace(&mut self.is_listed, true) {
            differences(&before, &self.in_force)
        } else {
            lists(&self.in_force)
        }
    }

    /// Everything that is not used.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, file) in &self.files {
            problems.extend(file.problems.iter().cloned());
            for entry in file.entries.iter().filter(|entry| self.concerns(entry)) {
                problems.extend(entry.problems.iter().map(|problem| Problem::Object {
                    file: path.clone(),
                    line: entry.line,
                    problem: problem.clone(),
                }));
            }
        }
        problems.extend(self.twice.iter().cloned());
        problems
    }

    /// Of the Nodes only this one matters.
    fn concerns(&self, entry: &Entry) -> bool {
        entry
            .object
            .as_ref()
            .is_none_or(|object| object.kind != Kind::Node || object.name == self.node_name)
    }

    /// Every object that counts, and those that do not because another one does.
    fn merged(&self) -> (InForce, Vec<Problem>) {
        let (mut in_force, mut twice) = (InForce::new(), Vec::new());
        let mut origin: BTreeMap<&ObjectId, (&Path, u64)> = BTreeMap::new();
        for (path, file) in &self.files {
            for entry in file.entries.iter().filter(|entry| self.concerns(entry)) {
                let Some(object) = &entry.object else { continue };
                match origin.entry(object) {
                    Slot::Vacant(slot) => {
                        slot.insert((path, entry.line));
                        in_force.insert(object.clone(), Arc::clone(entry));
                    }
                    Slot::Occupied(kept) => twice.push(Problem::Twice {
                        object: object.clone(),
                        kept: (kept.get().0.to_owned(), kept.get().1),
                        ignored: (path.clone(), entry.line),
                    }),
                }
            }
        }
        (in_force, twice)
    }
}

impl File {
    fn update(&mut self, path: &Path, content: Content) {
        let text = match content {
            Content::Read(text) => text,
            Content::Same => return,
            Content::Failed(reason) => {
                self.fingerprint = None;
                self.problems = vec![Problem::Unreadable { file: path.to_owned(), reason }];
                return;
            }
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let fingerprint = Some(hasher.finish());
        if self.fingerprint == fingerprint {
            return;
        }
        let is_first = self.fingerprint.is_none() && self.entries.is_empty();
        self.fingerprint = fingerprint;
        let Parsed { entries, errors, notes } = parse(&text);
        let broken = |error| Problem::Broken { file: path.to_owned(), error };
        let notes = notes.into_iter().map(broken);
        // A file that is written in place is empty for a moment. Objects are taken away by taking
        // them out of a file that has others, or by deleting the file.
        if entries.is_empty() && errors.is_empty() && !self.entries.is_empty() {
            self.problems = vec![Problem::Emptied { file: path.to_owned() }];
            self.problems.extend(notes);
            return;
        }
        // What parses of a file that never did is better than nothing. Later the file counts as
        // one: half of a change could be worse than none.
        if errors.is_empty() || is_first {
            self.entries = entries;
        }
        self.problems = errors.into_iter().map(broken).chain(notes).collect();
    }
}

fn facts(entries: &InForce) -> impl Iterator<Item = &Fact> {
    entries.values().filter_map(|entry| entry.fact.as_ref())
}

fn lists(now: &InForce) -> Vec<Event> {
    let (mut services, mut slices, mut node) = (Vec::new(), Vec::new(), None);
    for fact in facts(now) {
        match fact {
            Fact::Service(service) => services.push(service.clone()),
            Fact::Slice(slice) => slices.push(slice.clone()),
            Fact::Node(found) => node = Some(found.clone()),
        }
    }
    vec![
        Event::Node(node),
        Event::Slice(Update::Listed(slices)),
        Event::Service(Update::Listed(services)),
    ]
}

/// Endpoints come before the Services that need them and go after them, so that no Service is
/// without its endpoints meanwhile.
fn differences(before: &InForce, now: &InForce) -> Vec<Event> {
    let fact = |entries: &InForce, object: &ObjectId| {
        entries.get(object).is_some_and(|entry| entry.fact.is_some())
    };
    let (mut node, mut slices, mut services) = (Vec::new(), Vec::new(), Vec::new());
    for (object, entry) in now {
        let old = before.get(object).and_then(|entry| entry.fact.as_ref());
        match &entry.fact {
            None => {}
            Some(new) if old == Some(new) => {}
            Some(Fact::Node(new)) => node.push(Event::Node(Some(new.clone()))),
            Some(Fact::Slice(new)) => slices.push(Event::Slice(Update::Put(new.clone()))),
            Some(Fact::Service(new)) => services.push(Event::Service(Update::Put(new.clone()))),
        }
    }
    let (mut services_gone, mut slices_gone) = (Vec::new(), Vec::new());
    for object in before.keys().filter(|object| fact(before, object) && !fact(now, object)) {
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        match object.kind {
            Kind::Node => node.push(Event::Node(None)),
            Kind::EndpointSlice => {
                let name = SliceName::new(namespace, name);
                slices_gone.push(Event::Slice(Update::Gone(name)));
            }
            Kind::Service => {
                let name = ServiceName::new(namespace, name);
                services_gone.push(Event::Service(Update::Gone(name)));
            }
        }
    }
    [node, slices, services, services_gone, slices_gone].concat()
}
