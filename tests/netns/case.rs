//! Reads the recorded cases of `tests/golden`.
//!
//! Takes a case's name. Returns its configuration, its steps, and the state that kube-proxy left
//! after each. Does not select cases, and does not change what was recorded.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::canonical::Dumps;
use crate::node::Namespace;
use crate::proxy::Source;

pub(crate) use crate::recorded::{Case, Step};

impl Case {
    /// The case that a test is named after.
    pub(crate) fn of_test(name: &str) -> Self {
        Self::named(&name.replace('_', "-"))
    }

    /// Returns the name of the case's test.
    pub(crate) fn test_name(&self) -> String {
        self.name().replace('-', "_")
    }

    /// Returns the `KubeProxyConfiguration`.
    pub(crate) fn config(&self) -> &Value {
        &self.description()["config"]
    }

    /// Runs the commands on the node that were run before the proxy started.
    pub(crate) fn prepare(&self, node: &Namespace) {
        for command in self.description()["prepare"].as_array().into_iter().flatten() {
            node.run(command.as_str().unwrap());
        }
    }

    /// Changes the source from one step's objects to the next one's, as for the recording.
    pub(crate) fn advance(&self, source: &Source, from: Option<&Step>, to: &Step) {
        let wanted = to.objects();
        if let (Some(from), Some(true)) =
            (from, self.description()["recreateChangedServices"].as_bool())
        {
            source.replace_all(&without_changed_services(&wanted, &from.objects()));
        }
        source.replace_all(&wanted);
    }

    /// Returns the health-check ports that were requested after each step.
    pub(crate) fn health_check_ports(&self) -> Vec<u64> {
        let ports = self.description()["healthCheckNodePorts"].as_array().into_iter().flatten();
        ports.map(|port| port.as_u64().unwrap()).collect()
    }
}

impl Step {
    /// Returns the dumps of the kernel at the end of the step.
    pub(crate) fn dumps(&self) -> Dumps {
        Dumps::recorded(self)
    }

    /// Returns the dump of virtual servers and destinations.
    pub(crate) fn virtual_servers(&self) -> String {
        self.text("ipvs.txt").to_owned()
    }

    /// Returns the recorded answers at the health-check ports.
    pub(crate) fn health_checks(&self) -> &str {
        self.text("healthcheck.txt")
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
