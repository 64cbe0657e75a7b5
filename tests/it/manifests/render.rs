//! Renders kustomizations, as far as the manifests use them: resources, JSON patches (RFC 6902),
//! images.
//!
//! Takes a folder with a kustomization. Returns its objects. Panics if a resource or target does
//! not exist, or at a field of kustomize that is not supported. Does not guess.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn kustomization(folder: &Path) -> Value {
    let mut documents = documents(&folder.join("kustomization.yaml"));
    assert_eq!(documents.len(), 1, "{folder:?}");
    let file = documents.remove(0);
    assert_eq!(file["apiVersion"], "kustomize.config.k8s.io/v1beta1", "{folder:?}");
    assert_eq!(file["kind"], "Kustomization", "{folder:?}");
    let known = ["apiVersion", "kind", "resources", "patches", "images"];
    for field in file.as_object().unwrap().keys() {
        assert!(known.contains(&field.as_str()), "{folder:?}: {field}");
    }
    file
}

fn list<'a>(file: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    file[field].as_array().into_iter().flatten()
}

/// Returns the objects of a folder.
pub(super) fn render(folder: &Path) -> Vec<Value> {
    let file = kustomization(folder);
    let mut objects = Vec::new();
    for resource in list(&file, "resources") {
        let path = folder.join(resource.as_str().unwrap());
        objects.extend(if path.is_dir() { render(&path) } else { documents(&path) });
    }
    for patch in list(&file, "patches") {
        let target = &patch["target"];
        let is_target = |object: &&mut Value| {
            object["kind"] == target["kind"] && object["metadata"]["name"] == target["name"]
        };
        let object = objects.iter_mut().find(is_target);
        let object = object.unwrap_or_else(|| panic!("{folder:?}: no {target}"));
        for operations in documents(&folder.join(patch["path"].as_str().unwrap())) {
            operations.as_array().unwrap().iter().for_each(|operation| apply(object, operation));
        }
    }
    for image in list(&file, "images") {
        let used = objects.iter_mut().map(|object| rename(object, image)).sum::<usize>();
        assert!(used > 0, "{folder:?}: no image {image}");
    }
    objects
}

fn apply(object: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap();
    let (parent, field) = path.rsplit_once('/').unwrap();
    let field = field.replace("~1", "/").replace("~0", "~");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    let is_there = parent.get(&field).is_some()
        || field.parse::<usize>().is_ok_and(|at| parent.get(at).is_some());
    let value = operation["value"].clone();
    let op = operation["op"].as_str().unwrap();
    match op {
        "replace" | "remove" => assert!(is_there, "nothing there at {path}"),
        "add" => assert!(!is_there, "{path} is there already"),
        other => panic!("unknown operation {other}"),
    }
    match (&mut *parent, field.parse::<usize>()) {
        (Value::Object(map), _) if op == "remove" => drop(map.remove(&field)),
        (parent, _) if op == "remove" => panic!("{path}: out of {parent} nothing is taken"),
        (Value::Array(list), Ok(at)) => list[at] = value,
        (Value::Object(map), _) => drop(map.insert(field, value)),
        (other, _) => panic!("{other} has no {field}"),
    }
}

/// Sets the image. Returns how many containers use it.
fn rename(object: &mut Value, image: &Value) -> usize {
    let mut used = 0;
    for kind in ["initContainers", "containers"] {
        let containers = object.pointer_mut(&format!("/spec/template/spec/{kind}"));
        for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
            if container["image"] == image["name"] {
                let (name, tag) = (image["newName"].as_str(), image["newTag"].as_str());
                container["image"] = format!("{}:{}", name.unwrap(), tag.unwrap()).into();
                used += 1;
            }
        }
    }
    used
}

/// Adds the files that a folder's objects come from.
pub(super) fn files(folder: &Path, into: &mut BTreeSet<PathBuf>) {
    let file = kustomization(folder);
    let mut note = |path: PathBuf| {
        into.insert(path.canonicalize().unwrap());
    };
    note(folder.join("kustomization.yaml"));
    for resource in list(&file, "resources") {
        let path = folder.join(resource.as_str().unwrap());
        if path.is_file() {
            note(path);
        }
    }
    for patch in list(&file, "patches") {
        note(folder.join(patch["path"].as_str().unwrap()));
    }
}
