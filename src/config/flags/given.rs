//! Warnings about flags that were given but do not count.
//!
//! Takes the names of the flags that were given. Returns one warning per kind: deprecated flags, flags that the
//! configuration file overrides, and flags without effect. Does not refuse them: kube-proxy accepts them too.
//!
//! Source: spec 12.4.

use super::Flags;

/// Flags whose values a configuration file gives; they are ignored beside one.
const OF_FILE: &[&str] = &[
    "bind-address",
    "bind-address-hard-fail",
    "cluster-cidr",
    "config-sync-period",
    "conntrack-max-per-core",
    "conntrack-min",
    "conntrack-tcp-be-liberal",
    "conntrack-tcp-timeout-close-wait",
    "conntrack-tcp-timeout-established",
    "conntrack-udp-timeout",
    "conntrack-udp-timeout-stream",
    "detect-local-mode",
    "feature-gates",
    "healthz-bind-address",
    "healthz-port",
    "iptables-localhost-nodeports",
    "iptables-masquerade-bit",
    "iptables-min-sync-period",
    "iptables-sync-period",
    "ipvs-exclude-cidrs",
    "ipvs-min-sync-period",
    "ipvs-scheduler",
    "ipvs-strict-arp",
    "ipvs-sync-period",
    "ipvs-tcp-timeout",
    "ipvs-tcpfin-timeout",
    "ipvs-udp-timeout",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "kubeconfig",
    "masquerade-all",
    "metrics-bind-address",
    "metrics-port",
    "nodeport-addresses",
    "oom-score-adj",
    "pod-bridge-interface",
    "pod-interface-name-prefix",
    "profiling",
    "proxy-mode",
    "show-hidden-metrics-for-version",
];

/// Flags that are accepted but have no effect in this proxy.
const WITHOUT_EFFECT: &[&str] = &[
    "boot-id-file",
    "config-sync-period",
    "iptables-localhost-nodeports",
    "iptables-min-sync-period",
    "iptables-sync-period",
    "kube-api-burst",
    "kube-api-content-type",
    "kube-api-qps",
    "log-flush-frequency",
    "log-json-info-buffer-size",
    "log-json-split-stream",
    "log-text-info-buffer-size",
    "log-text-split-stream",
    "machine-id-file",
];

/// Deprecated flags, and the flags that replace them.
const DEPRECATED: &[(&str, &str)] =
    &[("healthz-port", "healthz-bind-address"), ("metrics-port", "metrics-bind-address")];

impl Flags {
    /// Returns one warning per kind of flag that was given but does not count as it seems to.
    pub fn warnings(&self) -> Vec<String> {
        let is_given = |name: &str| self.given.iter().any(|given| given == name);
        let deprecated = DEPRECATED.iter().filter(|(old, _)| is_given(old));
        let mut warnings: Vec<_> = deprecated
            .map(|(old, new)| {
                format!(
                    "flag --{old} is deprecated and will go in a future release: use --{new} instead"
                )
            })
            .collect();
        let passed_over = |name: &str| self.process.config.is_some() && OF_FILE.contains(&name);
        let (ignored, counted): (Vec<_>, Vec<_>) =
            self.given.iter().map(String::as_str).partition(|name| passed_over(name));
        if let (Some(file), false) = (&self.process.config, ignored.is_empty()) {
            warnings.push(format!(
                "the configuration file {} counts and these flags do not: {}",
                file.display(),
                spelled(&ignored)
            ));
        }
        let idle: Vec<_> =
            counted.into_iter().filter(|name| WITHOUT_EFFECT.contains(name)).collect();
        if !idle.is_empty() {
            warnings.push(format!("flags without effect here: {}", spelled(&idle)));
        }
        warnings
    }
}

fn spelled(names: &[&str]) -> String {
    names.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ")
}
