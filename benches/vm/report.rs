//! Writes the results as a table for people and as JSON.
//!
//! Takes numbers by name. Returns text. Does not judge the results.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::floor::ms;
use super::proxy::{Rounds, Usage};
use super::scenario::Origin;
use super::world::Shape;

/// One measurement.
pub(crate) struct Row {
    what: String,
    shape: Shape,
    origin: Origin,
    found: Map<String, Value>,
}

/// The columns of the table: name, key, width.
const COLUMNS: [(&str, &str, usize); 9] = [
    ("virtual ms", "virtual_ms", 11),
    ("of it kernel", "kernel_ms", 12),
    ("CPU ms", "cpu_ms", 10),
    ("programs ms", "programs_ms", 11),
    ("operations", "operations", 10),
    ("calls", "calls", 7),
    ("wakes", "wakes", 6),
    ("peak MiB", "peak_mib", 8),
    ("steady MiB", "steady_mib", 10),
];

/// The columns that need a floor.
const FLOOR: [(&str, &str, usize); 3] = [
    ("floor ms", "floor_ms", 0),
    ("kernel / floor", "kernel_by_floor", 0),
    ("all / floor", "all_by_floor", 0),
];

impl Row {
    pub(crate) fn new(what: &str, shape: Shape, origin: Origin) -> Self {
        Self { what: what.to_owned(), shape, origin, found: Map::new() }
    }

    pub(crate) fn number(&mut self, name: &str, value: f64) {
        self.note(name, json!((value * 1000.0).round() / 1000.0));
    }

    pub(crate) fn note(&mut self, name: &str, value: Value) {
        self.found.insert(name.to_owned(), value);
    }

    /// Adds the results of rounds, and the resources that they have used.
    pub(crate) fn rounds(&mut self, began: Instant, rounds: Rounds, usage: Usage) {
        self.number("virtual_ms", ms(rounds.at - began));
        self.number("operations", rounds.changed);
        self.number("kernel_ms", rounds.kernel_ms);
        self.usage(usage);
    }

    pub(crate) fn usage(&mut self, usage: Usage) {
        self.number("cpu_ms", ms(usage.cpu));
        self.number("programs_ms", ms(usage.children));
        self.number("calls", usage.calls as f64);
        self.number("wakes", usage.wakes as f64);
    }

    pub(crate) fn line(&self) -> String {
        let mut line =
            format!("{:<29} {:>10} {:<9}", self.what, self.shape.to_string(), self.origin());
        for (_, key, width) in COLUMNS {
            let text = self.found.get(key).and_then(Value::as_f64).map_or(String::new(), number);
            write!(line, " {text:>width$}").unwrap();
        }
        line
    }

    fn origin(&self) -> &'static str {
        match self.origin {
            Origin::Api => "API",
            Origin::Manifests => "manifests",
        }
    }

    pub(crate) fn json(&self) -> Value {
        let mut value = json!({
            "what": self.what,
            "services": self.shape.services,
            "endpoints": self.shape.endpoints,
            "source": self.origin(),
        });
        value.as_object_mut().unwrap().extend(self.found.clone());
        value
    }
}

pub(crate) fn head() -> String {
    let mut head = format!("{:<29} {:>10} {:<9}", "", "Services x", "source");
    for (name, _, width) in COLUMNS {
        write!(head, " {name:>width$}").unwrap();
    }
    head
}

/// Returns the JSON of a floor, in the form of a row.
pub(crate) fn floor(shape: Shape, found: &Value) -> Value {
    json!([{
        "what": "floor",
        "services": shape.services,
        "endpoints": shape.endpoints,
        "source": "floor",
        "parts": found,
    }])
}

/// Reads the results of all machines, adds the floor to each row, and writes `bench.json`,
/// `bench.txt` and `bench.svg` into the folder.
pub(crate) fn report(folder: &Path) {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().flatten().map(|file| file.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".found.json"));
    files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    let read = |path| serde_json::from_slice::<Vec<Value>>(&fs::read(path).unwrap()).unwrap();
    let all: Vec<Value> = files.into_iter().flat_map(read).collect();
    let shape = |row: &Value| (row["services"].clone(), row["endpoints"].clone());
    let (floors, mut rows): (Vec<Value>, Vec<Value>) =
        all.into_iter().partition(|row| row["what"] == "floor");
    for row in &mut rows {
        let parts =
            floors.iter().find(|floor| shape(floor) == shape(row)).map(|floor| &floor["parts"]);
        let key = match row["what"].as_str().unwrap() {
            "first sync" => "first_sync_ms",
            "one endpoint" => "one_endpoint_ms",
            "burst of 1,000 endpoints" => "burst_ms",
            _ => continue,
        };
        if let Some(floor) = parts.and_then(|parts| parts[key].as_f64()) {
            let ratio =
                |value: &Value| json!((value.as_f64().unwrap() / floor * 100.0).round() / 100.0);
            row["kernel_by_floor"] = ratio(&row["kernel_ms"]);
            row["all_by_floor"] = ratio(&row["virtual_ms"]);
            row["floor_ms"] = floor.into();
        }
    }
    let table = table(&rows);
    print!("{table}");
    fs::write(folder.join("bench.txt"), table).unwrap();
    fs::write(folder.join("bench.svg"), super::plot::svg(&rows)).unwrap();
    let found = json!({"rows": rows, "floors": floors});
    fs::write(folder.join("bench.json"), serde_json::to_string_pretty(&found).unwrap()).unwrap();
}

/// Returns the table in Markdown.
fn table(rows: &[Value]) -> String {
    let columns = COLUMNS.iter().chain(&FLOOR);
    let mut text = String::from("| | Services x endpoints | source |");
    let mut rule = String::from("| --- | --- | --- |");
    for (name, ..) in columns.clone() {
        write!(text, " {name} |").unwrap();
        rule += " ---: |";
    }
    text = format!("{text}\n{rule}\n");
    for row in rows {
        let name = |key: &str| row[key].as_str().unwrap_or_default();
        let shape = format!("{} x {}", row["services"], row["endpoints"]);
        write!(text, "| {} | {shape} | {} |", name("what"), name("source")).unwrap();
        for (_, key, _) in columns.clone() {
            let value = row[*key].as_f64().map_or(String::new(), number);
            write!(text, " {value} |").unwrap();
        }
        text += "\n";
    }
    text
}

fn number(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 || value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}
