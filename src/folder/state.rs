//! Keeps the content of the folder and computes differences.
//!
//! Takes the texts of files that may have changed. Returns events, first lists and then
//! differences, and the problems in force. Parses a text only when it has changed; the cost does
//! not depend on the other files. Does not read files or the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxier::model::{Event, NodeReadiness, ServiceName, SliceName, Update};

use super::Problem;
use super::claims::Claims;
use super::documents::{Entry, Fact, Parsed, parse};
use super::read::Content;
use crate::objects::{Kind, ObjectId};

/// The known content of the folder.
#[derive(Debug)]
pub(super) struct State {
    node_name: String,
    files: BTreeMap<Arc<Path>, File>,
    claims: Claims,
    is_listed: bool,
}

/// A file or an object whose problems may have changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A file and its content.
    File(PathBuf),
    /// An object that stands at several places.
    Object(ObjectId),
}

/// The known content of one file.
#[derive(Debug, Default)]
struct File {
    /// The 64-bit hash of the last text. It need not resist attacks.
    fingerprint: Option<u64>,
    /// The objects of the file, or those of its last text that parsed completely.
    entries: Vec<Arc<Entry>>,
    /// The reasons why the last text is not in force.
    problems: Vec<Problem>,
}

/// The objects of changed files, each with the copy that counted before.
type Touched = BTreeMap<ObjectId, Option<Arc<Entry>>>;

impl State {
    /// Starts without content.
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            files: BTreeMap::new(),
            claims: Claims::default(),
            is_listed: false,
        }
    }

    /// True if the lists were returned.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Returns the paths of the known files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(|path| &**path)
    }

    /// Takes files that may have changed. Returns the differences, if the lists were returned
    /// before, and the subjects whose problems may have changed.
    pub(super) fn update(
        &mut self,
        content: Vec<(PathBuf, Content)>,
    ) -> (Vec<Event>, BTreeSet<Subject>) {
        let (mut touched, mut subjects) = (Touched::new(), BTreeSet::new());
        for (path, content) in content {
            if self.update_file(&path, content, &mut touched) {
                subjects.insert(Subject::File(path));
            }
        }
        subjects.extend(touched.keys().cloned().map(Subject::Object));
        let events = if self.is_listed { self.differences(&touched) } else { Vec::new() };
        (events, subjects)
    }

    /// Returns all facts as lists. After this, [`update`](Self::update) returns differences.
    pub(super) fn lists(&mut self) -> Vec<Event> {
        self.is_listed = true;
        let (mut services, mut slices, mut node) = (Vec::new(), Vec::new(), None);
        for fact in self.claims.all().filter_map(|entry| entry.fact.as_ref()) {
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

    /// Returns every node of the files by its addresses, this one included. The files say nothing of their readiness that
    /// a plan would need, so that all count as ready.
    pub(super) fn nodes(&self) -> Vec<NodeReadiness> {
        let facts = self.files.values().flat_map(|file| &file.entries);
        let nodes = facts.filter_map(|entry| match &entry.fact {
            Some(Fact::Node(node)) => Some(node),
            Some(Fact::Service(_) | Fact::Slice(_)) | None => None,
        });
        nodes
            .map(|node| NodeReadiness {
                name: node.name.clone(),
                ready: true,
                addresses: node.addresses.clone(),
            })
            .collect()
    }

    /// Returns all problems.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let of_files = self.files.keys().flat_map(|path| self.problems_of_file(path));
        let twice = self.claims.conflicts().flat_map(|object| self.claims.ignored(object));
        of_files.chain(twice).collect()
    }

    /// Returns the problems of one subject.
    pub(super) fn problems_of(&self, subject: &Subject) -> Vec<Problem> {
        match subject {
            Subject::File(path) => self.problems_of_file(path),
            Subject::Object(object) => self.claims.ignored(object),
        }
    }

    fn problems_of_file(&self, path: &Path) -> Vec<Problem> {
        let Some(file) = self.files.get(path) else { return Vec::new() };
        let mut problems = file.problems.clone();
        for entry in file.entries.iter().filter(|entry| self.concerns(entry)) {
            problems.extend(entry.problems.iter().map(|problem| Problem::Object {
                file: path.to_owned(),
                line: entry.line,
                problem: problem.clone(),
            }));
        }
        problems
    }

    /// False for the Nodes of other nodes, which do not matter.
    fn concerns(&self, entry: &Entry) -> bool {
        entry
            .object
            .as_ref()
            .is_none_or(|object| object.kind != Kind::Node || object.name == self.node_name)
    }

    /// Returns whether anything of the file has changed.
    fn update_file(&mut self, path: &Path, content: Content, touched: &mut Touched) -> bool {
        let path: Arc<Path> = path.into();
        let mut file = self.files.remove(&path).unwrap_or_default();
        let before = file.entries.clone();
        let is_gone = content == Content::Gone;
        let is_changed = file.update(&path, content);
        if is_changed {
            let now = file.entries.as_slice();
            self.replace(&path, &before, if is_gone { &[] } else { now }, touched);
        }
        if !is_gone {
            self.files.insert(path, file);
        }
        is_changed
    }

    fn replace(
        &mut self,
        path: &Arc<Path>,
        before: &[Arc<Entry>],
        now: &[Arc<Entry>],
        touched: &mut Touched,
    ) {
        let places = |entries: &[Arc<Entry>]| -> Vec<_> {
            let named = |(at, entry): (usize, &Arc<Entry>)| {
                let object = entry.object.clone().filter(|_| self.concerns(entry))?;
                Some((object, (Arc::clone(path), at), Arc::clone(entry)))
            };
            entries.iter().enumerate().filter_map(named).collect()
        };
        let (before, now) = (places(before), places(now));
        for (object, _, _) in before.iter().chain(&now) {
            let in_force = || self.claims.in_force(object).cloned();
            touched.entry(object.clone()).or_insert_with(in_force);
        }
        before.iter().for_each(|(object, place, _)| self.claims.remove(object, place));
        now.into_iter().for_each(|(object, place, entry)| self.claims.add(&object, place, &entry));
    }

    /// Returns the differences in an order in which no Service lacks its endpoints: EndpointSlices
    /// are added before Services and removed after them.
    fn differences(&self, touched: &Touched) -> Vec<Event> {
        let (mut node, mut slices, mut services) = (Vec::new(), Vec::new(), Vec::new());
        let (mut services_gone, mut slices_gone) = (Vec::new(), Vec::new());
        for (object, before) in touched {
            let (before, now) = (before.as_ref(), self.claims.in_force(object));
            if now.is_some_and(|entry| entry.is_unreadable()) {
                // The last state of the object that could be read stays in force.
                continue;
            }
            // Only the store knows which last state of an unreadable object is in force.
            let is_known = !before.is_some_and(|entry| entry.is_unreadable());
            let before = before.and_then(|entry| entry.fact.as_ref());
            let now = now.and_then(|entry| entry.fact.as_ref());
            let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
            match (now, object.kind) {
                _ if is_known && before == now => {}
                (Some(Fact::Node(new)), _) => node.push(Event::Node(Some(new.clone()))),
                (Some(Fact::Slice(new)), _) => slices.push(Event::Slice(Update::Put(new.clone()))),
                (Some(Fact::Service(new)), _) => {
                    services.push(Event::Service(Update::Put(new.clone())));
                }
                (None, Kind::Node) => node.push(Event::Node(None)),
                (None, Kind::EndpointSlice) => {
                    let name = SliceName::new(namespace, name);
                    slices_gone.push(Event::Slice(Update::Gone(name)));
                }
                (None, Kind::Service) => {
                    let name = ServiceName::new(namespace, name);
                    services_gone.push(Event::Service(Update::Gone(name)));
                }
            }
        }
        [node, slices, services, services_gone, slices_gone].concat()
    }
}

impl File {
    /// Returns whether anything has changed.
    fn update(&mut self, path: &Path, content: Content) -> bool {
        let text = match content {
            Content::Read(text) => text,
            Content::Gone => return true,
            Content::Failed(reason) => {
                self.fingerprint = None;
                self.problems = vec![Problem::Unreadable { file: path.to_owned(), reason }];
                return true;
            }
        };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let fingerprint = Some(hasher.finish());
        if self.fingerprint == fingerprint {
            return false;
        }
        let is_first = self.fingerprint.is_none() && self.entries.is_empty();
        self.fingerprint = fingerprint;
        let Parsed { entries, errors, notes } = parse(&text);
        let broken = |error| Problem::Broken { file: path.to_owned(), error };
        let notes = notes.into_iter().map(broken);
        // A file that is written in place is empty for a moment. Objects are removed by taking them
        // out of a file that has others, or by deleting the file.
        if entries.is_empty() && errors.is_empty() && !self.entries.is_empty() {
            self.problems = vec![Problem::Emptied { file: path.to_owned() }];
            self.problems.extend(notes);
            return true;
        }
        // If a file has never parsed completely, its valid documents are used. Later only a
        // complete file is used: half of a change could be worse than none.
        if errors.is_empty() || is_first {
            self.entries = entries;
        }
        self.problems = errors.into_iter().map(broken).chain(notes).collect();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: usize, port: u16) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{name}}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: {port}}}]}}\n"
        )
    }

    fn path(name: usize) -> PathBuf {
        format!("/m/{name}.yaml").into()
    }

    /// Returns the number of allocations when one of this many files changes. It does not depend on
    /// the machine.
    fn cost(files: usize) -> u64 {
        let mut state = State::new("node1");
        let content = |name, port| (path(name), Content::Read(service(name, port)));
        state.update((0..files).map(|name| content(name, 80)).collect());
        assert_eq!(state.lists().len(), 3);
        let mut found = (Vec::new(), BTreeSet::new());
        let cost = allocation_counter::measure(|| {
            found = state.update(vec![content(files / 2, 81)]);
            let problems: usize =
                found.1.iter().map(|subject| state.problems_of(subject).len()).sum();
            assert_eq!(problems, 0);
        });
        assert_eq!(found.0.len(), 1, "one Service differs");
        cost.count_total
    }

    #[test]
    fn a_changed_file_costs_the_same_among_many_as_among_few() {
        cost(1);
        let (few, many) = (cost(10), cost(4_000));
        assert!(many <= few + few / 5, "{few} among 10 files, {many} among 4000");
    }

    #[test]
    fn a_problem_is_the_same_although_its_line_has_moved() {
        let bad = service(1, 0);
        let mut state = State::new("node1");
        let identities = |state: &State| -> Vec<String> {
            state.problems().iter().map(Problem::identity).collect()
        };
        state.update(vec![(path(1), Content::Read(bad.clone()))]);
        let before = identities(&state);
        let lines: Vec<_> = state.problems().iter().map(ToString::to_string).collect();
        let text = format!("{}---\n{bad}", service(2, 80));
        let (_, subjects) = state.update(vec![(path(1), Content::Read(text))]);
        assert!(subjects.contains(&Subject::File(path(1))));
        assert_eq!((identities(&state), before.len()), (before, 1));
        assert_ne!(state.problems()[0].to_string(), lines[0]);
    }
}
