//! Lists every flag with its value for `/flagz`.
//!
//! Takes the arguments of the process. Returns names and values as kube-proxy prints them. A flag that was not given
//! has its default, even if a configuration file sets another value. Hides the password that the URL of `--master` may
//! have.
//!
//! Source: spec 10.3, 12.4.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, ArgMatches};

use super::{hyphenated, plain_help, run_command};
use crate::config::flags::{boolean, list};
use crate::config::{GoDuration, with_password_hidden};

/// kube-proxy's flags and their defaults, in its own spelling.
const DEFAULTS: &[(&str, &str)] = &[
    ("bind-address", "0.0.0.0"),
    ("bind-address-hard-fail", "false"),
    ("boot-id-file", "/proc/sys/kernel/random/boot_id"),
    ("cleanup", "false"),
    ("cluster-cidr", ""),
    ("config", ""),
    ("config-sync-period", "15m0s"),
    ("conntrack-max-per-core", "32768"),
    ("conntrack-min", "131072"),
    ("conntrack-tcp-be-liberal", "false"),
    ("conntrack-tcp-timeout-close-wait", "1h0m0s"),
    ("conntrack-tcp-timeout-established", "24h0m0s"),
    ("conntrack-udp-timeout", "0s"),
    ("conntrack-udp-timeout-stream", "0s"),
    ("detect-local-mode", ""),
    ("feature-gates", ""),
    ("healthz-bind-address", "0.0.0.0:10256"),
    ("healthz-port", "10256"),
    ("help", "false"),
    ("hostname-override", ""),
    ("init-only", "false"),
    ("iptables-localhost-nodeports", "true"),
    ("iptables-masquerade-bit", "14"),
    ("iptables-min-sync-period", "1s"),
    ("iptables-sync-period", "30s"),
    ("ipvs-exclude-cidrs", "[]"),
    ("ipvs-min-sync-period", "1s"),
    ("ipvs-scheduler", ""),
    ("ipvs-strict-arp", "false"),
    ("ipvs-sync-period", "30s"),
    ("ipvs-tcp-timeout", "0s"),
    ("ipvs-tcpfin-timeout", "0s"),
    ("ipvs-udp-timeout", "0s"),
    ("kube-api-burst", "10"),
    ("kube-api-content-type", "application/vnd.kubernetes.protobuf"),
    ("kube-api-qps", "5"),
    ("kubeconfig", ""),
    ("log-flush-frequency", "5s"),
    ("log-json-info-buffer-size", "0"),
    ("log-json-split-stream", "false"),
    ("log-text-info-buffer-size", "0"),
    ("log-text-split-stream", "false"),
    ("logging-format", "text"),
    ("machine-id-file", "/etc/machine-id,/var/lib/dbus/machine-id"),
    ("masquerade-all", "false"),
    ("master", ""),
    ("metrics-bind-address", "127.0.0.1:10249"),
    ("metrics-port", "10249"),
    ("nodeport-addresses", "[]"),
    ("oom-score-adj", "-999"),
    ("pod-bridge-interface", ""),
    ("pod-interface-name-prefix", ""),
    ("profiling", "false"),
    ("proxy-mode", ""),
    ("show-hidden-metrics-for-version", ""),
    ("v", "0"),
    ("version", "false"),
    ("vmodule", ""),
    ("write-config-to", ""),
];

/// Returns every flag of the proxy with its value. Invalid arguments give the defaults; such a process does not run.
pub fn flagz<I, T>(arguments: I) -> BTreeMap<String, String>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let own = |(name, default): &(&str, &str)| ((*name).to_owned(), (*default).to_owned());
    let mut flags: BTreeMap<String, String> = DEFAULTS.iter().map(own).collect();
    let command = run_command();
    let named: Vec<(String, String)> = command.get_arguments().filter_map(names).collect();
    let arguments = plain_help(hyphenated(arguments)).unwrap_or_default();
    let matches = command.try_get_matches_from(arguments).unwrap_or_default();
    for (id, name) in named {
        let default = flags.entry(name.clone()).or_default();
        if let Some(given) = given(&matches, &id) {
            *default = spelled(&name, &given, default);
        }
    }
    flags
}

fn names(argument: &Arg) -> Option<(String, String)> {
    Some((argument.get_id().to_string(), argument.get_long()?.to_owned()))
}

fn given(matches: &ArgMatches, id: &str) -> Option<Vec<String>> {
    let values = matches.try_get_raw(id).ok()??;
    Some(values.map(|value| value.to_string_lossy().into_owned()).collect())
}

/// Writes given values in the form that the default has.
fn spelled(name: &str, given: &[String], default: &str) -> String {
    if default == "[]" {
        let words: Vec<_> = given.iter().filter_map(|text| list(text).ok()).flatten().collect();
        return format!("[{}]", words.join(","));
    }
    let text = given.join(",");
    if name == "master" {
        return with_password_hidden(&text);
    }
    if let (Ok(_), Ok(value)) = (boolean(default), boolean(&text)) {
        return value.to_string();
    }
    match (default.parse::<GoDuration>(), text.parse::<GoDuration>()) {
        (Ok(_), Ok(time)) => time.to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_are_spelled_as_go_prints_them() {
        let flags = flagz([
            "ipvs-proxy",
            "--ipvs_sync_period=90s",
            "--profiling",
            "--nodeport-addresses=10.0.0.0/8,::/0",
            "-v",
            "4",
            "--master=https://me:secret@10.0.0.1:6443",
        ]);
        let flag = |name: &str| flags[name].as_str();
        assert_eq!(flag("ipvs-sync-period"), "1m30s");
        assert_eq!(flag("profiling"), "true");
        assert_eq!(flag("nodeport-addresses"), "[10.0.0.0/8,::/0]");
        assert_eq!(flag("v"), "4");
        assert_eq!(flag("master"), "https://xxxxx@10.0.0.1:6443");
        assert_eq!(flag("conntrack-min"), "131072");
        assert_eq!(flag("manifests"), "");
    }
}
