//! Uses the API's own types as a strict schema.
//!
//! Takes an object. Returns the paths of fields that its type does not have, or why it cannot be
//! read. Does not accept kinds that are not listed here.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns the errors of the object.
pub(crate) fn oddities(object: &Value) -> Vec<String> {
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("apps/v1"), Some("DaemonSet")) => unknown::<DaemonSet>(object),
        (Some("apps/v1"), Some("Deployment")) => unknown::<Deployment>(object),
        (Some("v1"), Some("Namespace")) => unknown::<Namespace>(object),
        (Some("v1"), Some("Pod")) => unknown::<Pod>(object),
        (Some("v1"), Some("Service")) => unknown::<Service>(object),
        (Some("v1"), Some("ConfigMap")) => unknown::<ConfigMap>(object),
        (Some("v1"), Some("ServiceAccount")) => unknown::<ServiceAccount>(object),
        (Some("rbac.authorization.k8s.io/v1"), Some("ClusterRole")) => {
            unknown::<ClusterRole>(object)
        }
        (Some("rbac.authorization.k8s.io/v1"), Some("ClusterRoleBinding")) => {
            unknown::<ClusterRoleBinding>(object)
        }
        kind => vec![format!("no object of this kind is expected: {kind:?}")],
    }
}

/// Returns unknown fields. The types skip them, so they are missing when the object is written
/// again.
fn unknown<T: DeserializeOwned + Serialize>(object: &Value) -> Vec<String> {
    let read: Result<T, _> = serde_path_to_error::deserialize(object);
    match read {
        Ok(read) => {
            let mut found = Vec::new();
            lost(object, &serde_json::to_value(read).unwrap(), "", &mut found);
            found
        }
        Err(error) => vec![error.to_string()],
    }
}

fn lost(written: &Value, kept: &Value, path: &str, found: &mut Vec<String>) {
    match (written, kept) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match kept.get(name) {
                    Some(kept) => lost(value, kept, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            for (at, (item, other)) in items.iter().zip(others).enumerate() {
                lost(item, other, &format!("{path}[{at}]"), found);
            }
        }
        _ if written == kept => {}
        _ => found.push(path.to_owned()),
    }
}
