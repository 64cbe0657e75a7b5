//! Metrics of the build, the feature gates and the registry.
//!
//! Takes versions and settings. Declares gauges and counters that never change. `kubernetes_build_info` has the
//! Kubernetes version whose kube-proxy this proxy stands for, since alerts compare it with the rest of the cluster. Its
//! Go version is empty, since there is none.
//!
//! Source: spec 11.2, 12.7.

use super::{Declare, Error};
use crate::version::architecture;

/// Facts that are known at the start.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The version of kube-proxy that this proxy stands for: `v1.36.2`.
    pub kube_proxy: &'static str,
    /// The version of this proxy: `v0.1.0`.
    pub own: &'static str,
    /// Feature gates: name, stage, and true if the gate is on.
    pub features: Vec<(&'static str, &'static str, bool)>,
}

impl Build {
    pub(super) fn declare(&self, declare: &Declare<'_>) -> Result<(), Error> {
        let labels = [
            "major",
            "minor",
            "git_version",
            "git_commit",
            "git_tree_state",
            "build_date",
            "go_version",
            "compiler",
            "platform",
        ];
        let info = declare.gauges(
            "kubernetes_build_info",
            "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git \
             commit, git tree state, build date, Go version, and compiler from which Kubernetes was \
             built, and platform on which it is running.",
            &labels,
        )?;
        let mut parts = self.kube_proxy.trim_start_matches('v').split('.');
        let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let platform = format!("linux/{}", architecture());
        let values = [major, minor, self.kube_proxy, "", "", "", "", "rustc", &platform];
        info.with_label_values(&values).set(1);
        let own = declare.gauges(
            "ipvs_proxy_build_info",
            "A metric with a constant '1' value labeled by the version of ipvs-proxy",
            &["version"],
        )?;
        own.with_label_values(&[self.own]).set(1);
        let features = declare.gauges(
            "kubernetes_feature_enabled",
            "[BETA] This metric records the data about the stage and enablement of a k8s feature.",
            &["name", "stage"],
        )?;
        for (name, stage, is_on) in &self.features {
            features.with_label_values(&[name, stage]).set((*is_on).into());
        }
        Ok(())
    }
}

/// Declares the registry's own metrics. No metric is hidden or disabled here.
pub(super) fn declare_counts(declare: &Declare<'_>) -> Result<(), Error> {
    for (name, help) in [
        (
            "cardinality_enforcement_unexpected_categorizations_total",
            "[ALPHA] The count of unexpected categorizations during cardinality enforcement.",
        ),
        ("disabled_metrics_total", "[BETA] The count of disabled metrics."),
        ("hidden_metrics_total", "[BETA] The count of hidden metrics."),
    ] {
        declare.counter(name, help)?;
    }
    let registered = declare.counters(
        "registered_metrics_total",
        "[BETA] The count of registered metrics broken by stability level and deprecation version.",
        &["stability_level", "deprecated_version"],
    )?;
    for (level, count) in declare.declared.borrow().iter() {
        registered.with_label_values(&[level, ""]).inc_by(*count);
    }
    Ok(())
}
