//! Reads the recorded cases of this folder, whose steps hold only what differs from the step before.
//!
//! `README.md` says what each file is. Changes nothing of what was recorded.

#![allow(dead_code, unreachable_pub, reason = "shared by several binaries")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where the cases are; tests run in the root of the repository.
const FOLDER: &str = "tests/golden";
/// The folder of the files that most first steps have.
const COMMON: &str = "common";
/// The kinds of objects, in the order in which they are listed.
const KINDS: [&str; 3] = ["Node", "Service", "EndpointSlice"];

/// A recorded case.
pub struct Case {
    name: String,
    description: Value,
    steps: Vec<Step>,
}

/// One of its steps.
pub struct Step {
    folder: PathBuf,
    state: State,
    repeated: Vec<String>,
}

/// Everything that there was at a step.
#[derive(Clone, Default)]
struct State {
    /// By the names of the files.
    texts: BTreeMap<String, String>,
    objects: BTreeMap<ObjectId, String>,
}

/// An object's kind, by its place in [`KINDS`], its namespace and name.
type ObjectId = (usize, String, String);

impl Case {
    /// Every case, in the order of their names.
    pub fn all() -> Vec<Self> {
        let folders = folders(Path::new(FOLDER)).into_iter();
        let cases = folders.filter(|folder| folder.join("case.yaml").exists());
        cases.map(|folder| Self::named(folder.file_name().unwrap().to_str().unwrap())).collect()
    }

    /// The case of this name.
    pub fn named(name: &str) -> Self {
        let folder = Path::new(FOLDER).join(name);
        let text = fs::read_to_string(folder.join("case.yaml")).unwrap();
        let mut state = State::default();
        state.advance(&Path::new(FOLDER).join(COMMON));
        let steps = folders(&folder).into_iter().map(|folder| {
            let repeated = state.advance(&folder);
            Step { folder, state: state.clone(), repeated }
        });
        let steps = steps.collect();
        Self { name: name.to_owned(), description: serde_saphyr::from_str(&text).unwrap(), steps }
    }

    /// Its name, which is its folder's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the content of `case.yaml`.
    pub fn description(&self) -> &Value {
        &self.description
    }

    /// Its steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    /// Where it is written what it changes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns files that the folder has although they are as in the step before.
    pub fn repeated(&self) -> &[String] {
        &self.repeated
    }

    /// Everything that the API server served.
    pub fn objects(&self) -> String {
        let objects: Vec<_> = self.state.objects.values().map(String::as_str).collect();
        objects.join("---\n")
    }

    /// A text about the node, by the name of its file.
    pub fn text(&self, file: &str) -> &str {
        let text = self.state.texts.get(file);
        text.unwrap_or_else(|| panic!("{} has no {file}", self.folder.display()))
    }
}

impl State {
    /// Takes in what a folder says to be otherwise, and tells what is not.
    fn advance(&mut self, folder: &Path) -> Vec<String> {
        let mut repeated = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            match path.file_name().unwrap().to_str().unwrap() {
                "objects.yaml" => {
                    for object in documents(&text) {
                        let before = self.objects.insert(id(&object), object.clone());
                        repeated.extend(before.filter(|before| *before == object));
                    }
                }
                "gone.txt" => {
                    for line in text.lines() {
                        let gone = self.objects.remove(&id_of_line(line));
                        assert!(gone.is_some(), "{}: there is no {line}", path.display());
                    }
                }
                name => {
                    let before = self.texts.insert(name.to_owned(), text.clone());
                    repeated.extend(before.filter(|before| *before == text).map(|_| name.into()));
                }
            }
        }
        repeated
    }
}

fn documents(text: &str) -> impl Iterator<Item = String> {
    text.trim_end().split("\n---\n").map(|document| format!("{document}\n"))
}

fn id(object: &str) -> ObjectId {
    let object: Value = serde_saphyr::from_str(object).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    (rank(&text(&object["kind"])), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// Returns the parts of an identity such as `Node node2` or `Service default/web`.
fn id_of_line(line: &str) -> ObjectId {
    let (kind, name) = line.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    (rank(kind), namespace.to_owned(), name.to_owned())
}

fn rank(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("{kind} is no kind"))
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
