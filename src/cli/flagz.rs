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
use crate::config::flags::{boolean, defaults, list};
use crate::config::{GoDuration, with_password_hidden};

/// Defaults of flags that set no setting, in kube-proxy's spelling. Others have the empty default.
const DEFAULTS: &[(&str, &str)] = &[
    ("boot-id-file", "/proc/sys/kernel/random/boot_id"),
    ("cleanup", "false"),
    ("healthz-port", "10256"),
    ("help", "false"),
    ("init-only", "false"),
    ("machine-id-file", "/etc/machine-id,/var/lib/dbus/machine-id"),
    ("metrics-port", "10249"),
    ("version", "false"),
];

/// Returns every flag of the proxy with its value. Invalid arguments give the defaults; such a process does not run.
pub fn flagz<I, T>(arguments: I) -> BTreeMap<String, String>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let own = |(name, default): &(&str, &str)| ((*name).to_owned(), (*default).to_owned());
    let mut flags: BTreeMap<String, String> = DEFAULTS.iter().map(own).chain(defaults()).collect();
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
