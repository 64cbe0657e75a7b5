//! Warnings about flags that were given but do not count.
//!
//! Takes the names of the flags that were given. Returns one warning per kind: deprecated flags, flags that the
//! configuration file overrides, and flags without effect. Does not refuse them: kube-proxy accepts them too.
//!
//! Source: spec 12.4.

use serde_json::Value as Json;

use super::Flags;
use super::settings::without_file;
use crate::config::document::{Entry, ExtensionConfig, Mark, entries};

/// Flags that a configuration file overrides although they set nothing by themselves.
const OF_FILE: &[&str] = &["healthz-port", "metrics-port"];

/// Flags that set nothing, and have no effect in this proxy.
const WITHOUT_EFFECT: &[&str] = &["boot-id-file", "machine-id-file"];

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
        let settings = settings();
        let of_setting = |name: &str| settings.iter().find(|(flag, _)| flag == name);
        let is_of_file = |name: &str| {
            of_setting(name).map_or(OF_FILE.contains(&name), |(_, of)| !of.setting.is(Mark::Wins))
        };
        let is_idle = |name: &str| {
            of_setting(name).map_or(WITHOUT_EFFECT.contains(&name), |(_, of)| of.is_idle)
        };
        let passed_over = |name: &str| self.process.config.is_some() && is_of_file(name);
        let (ignored, counted): (Vec<_>, Vec<_>) =
            self.given.iter().map(String::as_str).partition(|name| passed_over(name));
        if let (Some(file), false) = (&self.process.config, ignored.is_empty()) {
            warnings.push(format!(
                "the configuration file {} counts and these flags do not: {}",
                file.display(),
                spelled(&ignored)
            ));
        }
        let idle: Vec<_> = counted.into_iter().filter(|name| is_idle(name)).collect();
        if !idle.is_empty() {
            warnings.push(format!("flags without effect here: {}", spelled(&idle)));
        }
        warnings
    }
}

/// The settings that have a flag, with the flag's name and the default without a file.
fn settings() -> Vec<(String, Entry)> {
    let entries = entries(&without_file()).into_iter().chain(entries(&ExtensionConfig::default()));
    let named = entries.map(|entry| (flag_name(entry.setting.flag), entry));
    named.filter(|(name, _)| !name.is_empty()).collect()
}

/// The name of a flag, given the name of its field.
pub(in crate::config) fn flag_name(field: &str) -> String {
    if field == "verbosity" { "v".to_owned() } else { field.replace('_', "-") }
}

/// Returns the flags that set a setting, and their defaults as kube-proxy prints them.
pub fn defaults() -> impl Iterator<Item = (String, String)> {
    settings().into_iter().map(|(name, Entry { setting, value, .. })| {
        let text = match value {
            Json::String(text) => text,
            Json::Null => "[]".to_owned(),
            Json::Array(_) | Json::Object(_) if setting.is(Mark::Omit) => String::new(),
            other => other.to_string(),
        };
        (name, text)
    })
}

fn spelled(names: &[&str]) -> String {
    names.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ")
}
