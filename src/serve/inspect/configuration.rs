//! Answers `/configz` with the settings in force.
//!
//! Takes a `KubeProxyConfiguration` in which every default is filled in. Returns it as JSON, with fields in
//! kube-proxy's order. Shows no secrets: the configuration only names the files that hold them.
//!
//! Source: spec 10.3.

use serde_json::Value;

use crate::config::ordered;

/// Returns the body of the answer.
pub(super) fn body(settings: &Value) -> String {
    format!("{{\"kubeproxy.config.k8s.io\":{}}}", ordered(settings))
}
