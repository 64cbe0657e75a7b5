//! Names the settings in which two configurations differ.
//!
//! Takes two configurations and the settings they were made of. Returns the names of the fields that would change the
//! proxy's behaviour after a restart. Ignores spelling, and fields that have no effect in IPVS mode.

use std::time::Duration;

use serde_json::Value;

use super::decode::below;
use super::extension::ExtensionConfig;
use super::gates::{self, Gates};
use super::{Config, Pace, RawConfig, Source};

/// Fields of kube-proxy's document that have no effect in this proxy, each with all fields below it.
const IDLE: &[&str] = &[
    "clientConnection.acceptContentTypes",
    "clientConnection.burst",
    "clientConnection.contentType",
    "clientConnection.qps",
    "configSyncPeriod",
    "iptables.localhostNodePorts",
    "iptables.minSyncPeriod",
    "iptables.syncPeriod",
    "logging.flushFrequency",
    "logging.options",
    "nftables",
    "portRange",
    "showHiddenMetricsForVersion",
    "windowsRunAsService",
    "winkernel",
];

/// The gates that change a running proxy. The gates of the log only permit other settings.
const GATES: &[&str] = &[gates::EXTERNAL_IPS, gates::FLAGZ, gates::STATUSZ];

impl Config {
    /// True if a restart with the other configuration would change nothing.
    pub fn has_the_effect_of(&self, other: &Self) -> bool {
        self.with_effect() == other.with_effect()
    }

    /// A copy in which fields without effect have fixed values.
    fn with_effect(&self) -> Self {
        let mut config = self.clone();
        config.config_sync_period = Duration::ZERO;
        config.logging.flush_frequency = Duration::ZERO;
        config.serving.show_hidden_metrics = false;
        // This field only decides how loudly a failure to set the score is reported.
        config.oom_score_adj_is_given = false;
        config.gates = Gates::of(None);
        match &mut config.source {
            Source::InCluster(pace) | Source::ApiServer { pace, .. } => {
                *pace = Pace { qps: 0.0, burst: 0 };
            }
            Source::Manifests(_) => {}
        }
        config
    }
}

/// The names of the fields that would change the proxy's behaviour after a restart with the new configuration.
pub(super) fn fields(old: (&RawConfig, &Config), new: (&RawConfig, &Config)) -> Vec<String> {
    let gates = GATES.iter().filter(|gate| old.1.gates.is_on(gate) != new.1.gates.is_on(gate));
    let gates: Vec<_> = gates.map(|gate| format!("featureGates.{gate}")).collect();
    if old.1.has_the_effect_of(new.1) {
        return gates;
    }
    let mut fields = Vec::new();
    differing(&old.0.effective(), &new.0.effective(), "", &mut fields);
    fields.retain(|field| !is_below(field, "featureGates"));
    fields.retain(|field| !IDLE.iter().any(|idle| is_below(field, idle)));
    let own = |given: &RawConfig| {
        let own = ExtensionConfig { api_version: None, kind: None, ..given.own().clone() };
        serde_json::to_value(own).unwrap_or_default()
    };
    differing(&own(old.0), &own(new.0), "", &mut fields);
    fields.extend(gates);
    fields
}

fn is_below(field: &str, above: &str) -> bool {
    field.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The paths at which two documents differ.
fn differing(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let only_new = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(only_new) {
                let of =
                    |object: &serde_json::Map<_, _>| object.get(key).cloned().unwrap_or_default();
                differing(&of(old), &of(new), &below(path, key), found);
            }
        }
        (old, new) if old == new => {}
        (_, _) => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::{Command, parse};
    use crate::config::Environment;

    const HEAD: &str =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    const OWN: &str = "---\napiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\n";

    fn read(fields: &str) -> (RawConfig, Config) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = match fields.strip_prefix("own ") {
            Some(fields) => format!("{HEAD}{OWN}{fields}\n"),
            None => format!("{HEAD}{fields}\n"),
        };
        fs::write(file.path(), text).unwrap();
        let config = format!("--config={}", file.path().display());
        let Ok(Command::Run(run)) = parse(["ipvs-proxy", &config, "--master=http://m"]) else {
            panic!("it runs")
        };
        let mut given = RawConfig::read(&run.flags).unwrap();
        let config = given.check(None, &Environment::look()).unwrap();
        (given, config)
    }

    fn changed(old: &str, new: &str) -> Vec<String> {
        let ((old_given, old), (new_given, new)) = (read(old), read(new));
        fields((&old_given, &old), (&new_given, &new))
    }

    #[test]
    fn what_has_no_effect_in_ipvs_mode_is_no_difference() {
        for fields in [
            "# a comment",
            "mode: ipvs",
            "iptables: {syncPeriod: 7s, minSyncPeriod: 5s, localhostNodePorts: false}",
            "nftables: {masqueradeBit: 3, masqueradeAll: true}",
            "winkernel: {networkName: x}",
            "portRange: 1-2",
            "configSyncPeriod: 3s",
            "clientConnection: {qps: 70, burst: 80, contentType: application/json}",
            "logging: {flushFrequency: 9s}",
            "featureGates: {SomethingElse: true, AllAlpha: false}",
            "oomScoreAdj: -999",
            "hostnameOverride: ''",
            "own strictTrafficPolicies: false\nserviceMetricsLimit: 7",
        ] {
            assert_eq!(changed("", fields), [""; 0], "{fields}");
        }
    }

    #[test]
    fn every_field_that_makes_a_difference_is_named() {
        for (fields, wanted) in [
            ("ipvs: {scheduler: lc}", "ipvs.scheduler"),
            (
                "ipvs: {excludeCIDRs: [10.0.0.0/8], syncPeriod: 9s}",
                "ipvs.excludeCIDRs ipvs.syncPeriod",
            ),
            ("iptables: {masqueradeBit: 3, syncPeriod: 7s}", "iptables.masqueradeBit"),
            ("clientConnection: {kubeconfig: /k, qps: 9}", "clientConnection.kubeconfig"),
            ("logging: {verbosity: 4, flushFrequency: 9s}", "logging.verbosity"),
            (
                "featureGates: {AllowServiceExternalIPs: false}",
                "featureGates.AllowServiceExternalIPs",
            ),
            (
                "featureGates: {AllBeta: false}",
                "featureGates.ComponentFlagz featureGates.ComponentStatusz",
            ),
            ("conntrack: {min: 7}", "conntrack.min"),
            ("oomScoreAdj: 5", "oomScoreAdj"),
            ("own strictTrafficPolicies: true", "strictTrafficPolicies"),
            ("own exitOnConfigChange: true", "exitOnConfigChange"),
            ("own localSocket: ''\nserviceMetrics: true", "localSocket serviceMetrics"),
        ] {
            assert_eq!(changed("", fields).join(" "), wanted, "{fields}");
            assert_eq!(changed(fields, "").join(" "), wanted, "{fields}, taken back");
        }
    }

    /// Detects an idle field whose name is not, or no longer, in kube-proxy's document.
    #[test]
    fn every_idle_field_is_one_of_the_document() {
        let effective = read("windowsRunAsService: true").0.effective();
        for field in IDLE {
            let place = format!("/{}", field.replace('.', "/"));
            assert!(effective.pointer(&place).is_some(), "{field}");
        }
    }
}
