//! Tests the page about the configuration: its tables are those of the lists of settings.

use std::fmt::Write as _;
use std::{env, fs};

use super::*;
use crate::config::flags::flag_name;
use crate::config::go_yaml;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

/// The names of the generated parts of the page.
const DOCUMENT: &str = "the proxy's own document";
const OWN: &str = "the proxy's own settings";
const KUBE_PROXY: &str = "kube-proxy's settings";

fn document() -> String {
    let own = ExtensionConfig::default().json();
    let lines = entries(&ExtensionConfig::default()).into_iter().map(|entry| {
        let value = own.get(&entry.path).filter(|value| !value.is_null()).cloned();
        let one = Json::Object(
            [(entry.path, value.unwrap_or(Json::Array(Vec::new())))].into_iter().collect(),
        );
        go_yaml::document(&one)
    });
    let (mut lines, head): (Vec<_>, Vec<_>) =
        lines.partition(|line| !line.starts_with("kind:") && !line.starts_with("apiVersion:"));
    lines.splice(..0, head.into_iter().rev());
    format!("```yaml\n{}```\n", lines.concat())
}

/// Returns the rows of a document's settings. Its type is not a setting.
fn rows(document: &dyn Part) -> impl Iterator<Item = (Entry, String)> {
    let rows = entries(document).into_iter().map(|entry| {
        let flag = match flag_name(entry.setting.flag) {
            name if name.is_empty() => String::new(),
            name if name.len() == 1 => format!("`-{name}`"),
            name => format!("`--{name}`"),
        };
        let default = match &entry.value {
            Json::String(text) if text.is_empty() => "empty".to_owned(),
            Json::String(text) => format!("`{text}`"),
            Json::Null | Json::Array(_) | Json::Object(_) => "none".to_owned(),
            other => format!("`{other}`"),
        };
        let row = format!("| `{}` | {flag} | {default} |", entry.path).replace("|  |", "| |");
        (entry, row)
    });
    rows.filter(|(entry, _)| !["kind", "apiVersion"].contains(&entry.path.as_str()))
}

fn own_settings() -> String {
    let mut text = "| field | flag | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for (entry, row) in rows(&ExtensionConfig::default()) {
        assert!(!entry.setting.about.is_empty(), "{} has no meaning", entry.path);
        writeln!(text, "{row} {} |", entry.setting.about.trim()).unwrap();
    }
    text
}

fn settings_of_kube_proxy() -> String {
    let mut text = "| field | flag | default | |\n| --- | --- | --- | --- |\n".to_owned();
    for (entry, row) in rows(&KubeProxyConfiguration::default()) {
        let effect = if entry.is_idle { " no effect here |" } else { " |" };
        writeln!(text, "{row}{effect}").unwrap();
    }
    text
}

/// Replaces one generated part of the page.
fn with(page: &str, name: &str, text: &str) -> String {
    let begin = format!("<!-- begin: {name} -->\n");
    let end = format!("<!-- end: {name} -->\n");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}\n{text}\n{end}{after}")
}

/// `UPDATE=1` writes the tables anew instead.
#[test]
fn the_page_has_the_settings_of_the_lists() {
    let page = fs::read_to_string(PAGE).unwrap();
    let parts =
        [(DOCUMENT, document()), (OWN, own_settings()), (KUBE_PROXY, settings_of_kube_proxy())];
    let wanted = parts.iter().fold(page.clone(), |page, (name, text)| with(&page, name, text));
    if env::var_os("UPDATE").is_some() {
        fs::write(PAGE, wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/configuration.md is not what the lists say: UPDATE=1 writes it anew"
    );
}
