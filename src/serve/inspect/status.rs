//! Answers `/statusz` with the process's start time and version.
//!
//! Takes versions, the time and the note about configuration files. Returns a page or an object. The separator between
//! names and values on the page changes, as upstream's does, so that programs do not parse the page. Shows no secrets.
//!
//! Source: spec 10.3.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::json;

use super::accepted::{self, Form};
use crate::serve::listener::Answer;

/// The paths that the page lists; `/flagz` only if it is served.
const PATHS: [&str; 5] = ["/configz", FLAGZ, "/healthz", "/metrics", "/proxyMode"];
const FLAGZ: &str = "/flagz";

/// The Go version on the page: this program has none.
const NO_GO: &str = "none";

/// The facts that the page shows.
#[derive(Clone, Debug)]
pub(super) struct Status {
    version: &'static str,
    emulated: &'static str,
    started: SystemTime,
    paths: Vec<&'static str>,
}

impl Status {
    /// Creates the facts of a process that began at `started`. `version` is kube-proxy's, and `flagz` is true if
    /// `/flagz` is served.
    pub(super) fn new(version: &'static str, started: SystemTime, flagz: bool) -> Self {
        let paths = PATHS.into_iter().filter(|path| flagz || *path != FLAGZ).collect();
        let version = version.trim_start_matches('v');
        let emulated = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
        Self { version, emulated, started, paths }
    }

    /// Returns the page or the object. Without a note it has no line or field about the configuration.
    pub(super) fn answer(
        &self,
        accepts: Option<&str>,
        now: SystemTime,
        configuration: Option<String>,
    ) -> Answer {
        match accepted::form(accepts, "Statusz") {
            None => accepted::refused("Statusz"),
            Some(Form::Text) => {
                accepted::page("statusz", &self.text(now, configuration.as_deref()))
            }
            Some(Form::Object(notation, version)) => {
                let mut fields = json!({
                    "startTime": self.start().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    "uptimeSeconds": self.up(now),
                    "goVersion": NO_GO,
                    "binaryVersion": self.version,
                    "emulationVersion": self.emulated,
                    "paths": self.paths,
                });
                if let (Some(fields), Some(note)) = (fields.as_object_mut(), configuration) {
                    fields.insert("configuration".to_owned(), note.into());
                }
                accepted::object("Statusz", notation, version, fields)
            }
        }
    }

    fn text(&self, now: SystemTime, configuration: Option<&str>) -> String {
        let up = self.up(now);
        let up = format!("{} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60);
        let started = self.start().strftime("%a %b %e %H:%M:%S UTC %Y").to_string();
        let paths = self.paths.join(" ");
        let lines = [
            ("Started", started.as_str()),
            ("Up", &up),
            ("Go version", NO_GO),
            ("Binary version", self.version),
            ("Emulation version", self.emulated),
            ("Paths", &paths),
        ];
        let sign = sign(now);
        let lines = lines.into_iter().chain(configuration.map(|note| ("Configuration", note)));
        let lines: String = lines.map(|(name, value)| format!("{name}{sign} {value}\n")).collect();
        format!("\n{lines}")
    }

    fn start(&self) -> Timestamp {
        Timestamp::try_from(self.started).unwrap_or_default()
    }

    fn up(&self, now: SystemTime) -> u64 {
        now.duration_since(self.started).map_or(0, |up| up.as_secs())
    }
}

fn sign(now: SystemTime) -> &'static str {
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    match nanos / 1000 % 4 {
        0 => ":",
        1 => ": ",
        2 => "=",
        _ => " ",
    }
}
