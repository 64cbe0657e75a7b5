//! Reads the recorded cases of `tests/golden`.
//!
//! Takes a case's name. Returns its configuration, its steps, and the state that kube-proxy left
//! after each. Does not select cases, and does not change what was recorded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::canonical::Dumps;
use crate::node::Namespace;
use crate::proxy::Source;

/// A recorded case.
pub(crate) struct Case {
    folder: PathBuf,
    description: Value,
}

/// One step of a case.
pub(crate) struct Step {
    folder: PathBuf,
}

impl Case {
    /// Returns every case, in the order of their names.
    pub(crate) fn all() -> Vec<Self> {
        folders(Path::new("tests/golden")).into_iter().map(Self::read).collect()
    }

    /// Returns the case that a test is named after.
    pub(crate) fn of_test(name: &str) -> Self {
        Self::read(Path::new("tests/golden").join(name.replace('_', "-")))
    }

    fn read(folder: PathBuf) -> Self {
        let text = fs::read_to_string(folder.join("case.yaml")).unwrap();
        Self { folder, description: serde_saphyr::from_str(&text).unwrap() }
    }

    /// Returns the name of the case's test.
    pub(crate) fn test_name(&self) -> String {
        self.folder.file_name().unwrap().to_str().unwrap().replace('-', "_")
    }

    /// Returns the `KubeProxyConfiguration`.
    pub(crate) fn config(&self) -> &Value {
        &self.description["config"]
    }

    /// Returns the steps in order.
    pub(crate) fn steps(&self) -> Vec<Step> {
        folders(&self.folder).into_iter().map(|folder| Step { folder }).collect()
    }

    /// Runs the commands on the node that were run before the proxy started.
    pub(crate) fn prepare(&self, node: &Namespace) {
        for command in self.description["prepare"].as_array().into_iter().flatten() {
            node.run(command.as_str().unwrap());
        }
    }

    /// Changes the source from one step's objects to the next one's, as for the recording.
    pub(crate) fn advance(&self, source: &Source, from: Option<&Step>, to: &Step) {
        let wanted = to.objects();
        if let (Some(from), Some(true)) =
            (from, self.description["recreateChangedServices"].as_bool())
        {
            source.replace_all(&without_changed_services(&wanted, &from.objects()));
        }
        source.replace_all(&wanted);
    }

    /// Returns the health-check ports that were requested after each step.
    pub(crate) fn health_check_ports(&self) -> Vec<u64> {
        let ports = self.description["healthCheckNodePorts"].as_array().into_iter().flatten();
        ports.map(|port| port.as_u64().unwrap()).collect()
    }
}

impl Step {
    /// Returns the folder of the recording.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all objects that the API server served.
    pub(crate) fn objects(&self) -> String {
        self.read("objects.yaml")
    }

    /// Returns the dumps of the kernel's final state.
    pub(crate) fn dumps(&self) -> Dumps {
        Dumps::recorded(&self.folder)
    }

    /// Returns the dump of virtual servers and destinations.
    pub(crate) fn virtual_servers(&self) -> String {
        self.read("ipvs.txt")
    }

    /// Returns the answers at the health-check ports.
    pub(crate) fn health_checks(&self) -> String {
        self.read("healthcheck.txt")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }
}

/// Returns these objects without the Services that have changed.
fn without_changed_services(objects: &str, before: &str) -> String {
    let before = documents(before);
    let id = |object: &Value| {
        ["namespace", "name"].map(|part| object["metadata"][part].as_str().map(ToOwned::to_owned))
    };
    let is_service = |object: &&Value| object["kind"] == "Service";
    let known: BTreeSet<_> = before.iter().filter(is_service).map(id).collect();
    let is_changed = |object: &&Value| {
        is_service(object) && known.contains(&id(object)) && !before.contains(object)
    };
    let kept = documents(objects);
    kept.iter()
        .filter(|object| !is_changed(object))
        .map(|object| format!("{object}\n---\n"))
        .collect()
}

fn documents(objects: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(objects).unwrap()
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn a_changed_service_is_left_out_before_it_is_made_again() {
    let service = |name: &str, port: u16| {
        format!("{{kind: Service, metadata: {{namespace: a, name: {name}}}, spec: {port}}}\n---\n")
    };
    let slice = |port| service("changed", port).replace("Service", "EndpointSlice");
    let before = service("same", 1) + &service("changed", 1) + &service("gone", 1) + &slice(1);
    let after = service("same", 1) + &service("changed", 2) + &service("new", 1) + &slice(2);
    let left = service("same", 1) + &service("new", 1) + &slice(2);
    assert_eq!(documents(&without_changed_services(&after, &before)), documents(&left));
}
