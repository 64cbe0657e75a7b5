//! Names the settings in which two configurations differ.
//!
//! Takes two configurations and the settings they were made of. Returns the names of the fields that would change the
//! proxy's behaviour after a restart. Ignores spelling, and fields that have no effect in IPVS mode.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decode::Part;
use super::document::entries;
use super::gates::{self, Gates};
use super::{Config, Pace, RawConfig, Source};

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
        config.gates = Gates::of(&BTreeMap::new());
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
    let mut fields = differing(&old.0.settings, &new.0.settings);
    // Gates are compared one by one, and there are no metrics that only an earlier version shows.
    let others = ["featureGates", "showHiddenMetricsForVersion"];
    fields.retain(|field| !others.contains(&field.as_str()));
    fields.extend(differing(&old.0.own, &new.0.own));
    fields.extend(gates);
    fields
}

/// The names of the settings with an effect that differ, sorted.
fn differing(old: &dyn Part, new: &dyn Part) -> Vec<String> {
    let pairs = entries(old).into_iter().zip(entries(new));
    let pairs = pairs.filter(|(old, new)| !old.is_idle && old.value != new.value);
    let mut names: Vec<_> = pairs.map(|(old, _)| old.path).collect();
    names.sort();
    names
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
}
