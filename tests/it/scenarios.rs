//! The scenarios of `tests/scenarios`: what the proxy does to the kernel when something changes, and in which order.
//!
//! Each file has the objects as they are at first and then changes, step by step. This replays them on the fake kernel
//! and compares what comes of it with the rest of the file. `UPDATE=1` writes that part anew instead.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use ipvs_proxy::folder;
use proxier::Proxier;
use proxier::apply::Part;
use proxier::apply::fake::FakeKernel;
use proxier::diff::{Change, Flow, Observed, RulesChange};
use proxier::model::{Event, Family, InterfaceAddress, PerFamily, Protocol};
use proxier::plan::{LocalDetection, Rules, Settings, VirtualServerKey};
use proxier::testing::now;
use serde::Deserialize;
use serde_json::{Value, json};

/// The line after which a file is written by the test.
const RESULT: &str = "result: |\n";
/// The most lines a file may have: a scenario is read at once.
const LONGEST: usize = 80;

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    objects: Vec<Value>,
    steps: Vec<Step>,
    #[serde(rename = "result")]
    _result: String,
}

/// Something that changes, and after which there is a round.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    what: String,
    /// Objects that are new.
    #[serde(default)]
    add: Vec<Value>,
    /// What is otherwise in an object, by its `KIND NAMESPACE/NAME`; `null` takes a field away.
    #[serde(default)]
    patch: BTreeMap<String, Value>,
    /// Objects that go, as `KIND NAMESPACE/NAME`.
    #[serde(default)]
    remove: Vec<String>,
    /// How many connections destinations have from now on, by `ADDRESS:PORT/PROTOCOL -> ADDRESS:PORT`.
    connections: Option<BTreeMap<String, u32>>,
    /// The tracked flows, as `CLIENT -> ADDRESS:PORT/PROTOCOL -> SERVER`.
    flows: Option<Vec<String>>,
    /// Whether it is another process of the proxy from now on, which knows nothing.
    #[serde(default)]
    restart: bool,
    /// Whether there are rules of kube-proxy's other modes from now on.
    #[serde(default)]
    legacy_rules: bool,
}

#[test]
fn every_scenario_comes_out_as_it_is_written() {
    let mut differences = String::new();
    let files = files();
    assert!(files.len() >= 9, "only {} scenarios", files.len());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let (input, _) = text.split_once(RESULT).expect("a result");
        let actual = format!("{input}{RESULT}{}", indented(&replay(&text)));
        if env::var_os("UPDATE").is_some() {
            fs::write(file, &actual).unwrap();
        } else if actual != text {
            let diff = similar::TextDiff::from_lines(&text, &actual);
            let name = file.display().to_string();
            let diff = diff.unified_diff().header(&name, "what comes of it").to_string();
            differences += &diff;
        }
    }
    assert!(differences.is_empty(), "{differences}\nUPDATE=1 writes them anew.");
}

#[test]
fn every_scenario_says_what_it_shows_and_is_read_at_once() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(text.starts_with("# "), "{} begins with no comment", file.display());
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|name| name == "yaml")).collect();
    files.sort();
    files
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect()
}

/// What comes of a scenario, step by step.
fn replay(text: &str) -> String {
    let scenario: Value = serde_saphyr::from_str(text).expect("a scenario is YAML");
    let scenario: Scenario = serde_path_to_error::deserialize(scenario).expect("a scenario");
    let mut objects = scenario.objects;
    let (mut proxier, mut kernel) = (proxier(), FakeKernel::default());
    round(&mut proxier, &mut kernel, &objects);
    let mut result = format!("= at first\n{}", state(&kernel.state));
    let first = kernel.state.clone();
    for step in scenario.steps {
        step.change(&mut objects, &mut kernel);
        if step.restart {
            proxier = self::proxier();
        }
        if step.connections.is_some() {
            proxier.look_at_draining();
        }
        let before = kernel.state.clone();
        kernel.log.clear();
        kernel.parts.clear();
        round(&mut proxier, &mut kernel, &objects);
        let _ = write!(result, "= {}\n{}", step.what, changes(&kernel, &before));
        result += &match kernel.state == first {
            true => "then all is as at first\n".to_owned(),
            false => format!("then there is:\n{}", state(&kernel.state)),
        };
    }
    result
}

impl Step {
    /// Does what the step says, but for the proxy's part in it.
    fn change(&self, objects: &mut Vec<Value>, kernel: &mut FakeKernel) {
        for gone in &self.remove {
            objects.remove(place(objects, gone));
        }
        for (changed, patch) in &self.patch {
            let place = place(objects, changed);
            merge(&mut objects[place], patch);
        }
        objects.extend(self.add.iter().cloned());
        if let Some(connections) = &self.connections {
            kernel.connections = connections
                .iter()
                .map(|(between, count)| {
                    let (key, destination) = between.split_once(" -> ").expect("two ends");
                    ((virtual_server(key), address(destination)), *count)
                })
                .collect();
        }
        if let Some(flows) = &self.flows {
            kernel.flows = flows.iter().map(|text| flow(text)).collect();
        }
        if self.legacy_rules {
            kernel.state.legacy_rules = PerFamily { v4: true, v6: true };
        }
    }
}

/// Where the object of this `KIND NAMESPACE/NAME` is.
fn place(objects: &[Value], id: &str) -> usize {
    let found = objects.iter().position(|object| self::id(object) == id);
    found.unwrap_or_else(|| panic!("there is no {id}"))
}

/// Changes an object as `kubectl patch --type=merge` does.
fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        object.clone_from(patch);
        return;
    };
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut object[name.as_str()], value);
        }
    }
}

/// Of an object, `KIND NAMESPACE/NAME`.
fn id(object: &Value) -> String {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    format!("{} {namespace}/{name}", text(&object["kind"]))
}

fn virtual_server(text: &str) -> VirtualServerKey {
    let (at, protocol) = text.split_once('/').expect("a protocol");
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => panic!("{other} is no protocol"),
    };
    let at = address(at);
    VirtualServerKey { protocol, address: at.ip(), port: at.port() }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address with a port"))
}

fn flow(text: &str) -> Flow {
    let [client, frontend, server] = text.split(" -> ").collect::<Vec<_>>()[..] else {
        panic!("{text} is no flow");
    };
    let key = virtual_server(frontend);
    let frontend = SocketAddr::new(key.address, key.port);
    let (client, server) = (address(client), address(server));
    Flow { protocol: key.protocol, client, frontend, server, answered: client, id: 1, zone: 0 }
}

/// A proxy that has just started, on `node1`.
fn proxier() -> Proxier {
    let net = |text: &str| text.parse().ok();
    let pods = PerFamily { v4: net("10.244.0.0/16"), v6: net("fd00:10:244::/56") };
    let mut proxier = Proxier::new(Settings {
        node_name: "node1".into(),
        local_detection: LocalDetection::ClusterCidr(pods),
        ..Settings::default()
    });
    let address = "192.0.2.11/24".parse().unwrap();
    let interface = InterfaceAddress { device: "eth0".into(), address };
    proxier.fold(Event::Addresses([interface].into_iter().collect()));
    proxier
}

fn round(proxier: &mut Proxier, kernel: &mut FakeKernel, objects: &[Value]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    fs::write(file.path(), list.to_string()).unwrap();
    let (events, problems) = folder::load(file.path(), "node1").unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    events.into_iter().for_each(|event| proxier.fold(event));
    let outcome = proxier.round(kernel, now());
    assert!(outcome.is_success(), "{:?}", outcome.failed);
}

/// The changes in the order in which they were made, below the stage of each; below rules, what is written otherwise.
fn changes(kernel: &FakeKernel, before: &Observed) -> String {
    let mut text = String::new();
    let mut rules = before.rules.clone();
    let ends = kernel.parts.iter().skip(1).map(|(begin, _)| *begin).chain([kernel.log.len()]);
    let mut last = None;
    for ((begin, part), end) in kernel.parts.iter().zip(ends) {
        let made = kernel.log.get(*begin..end).unwrap_or_default();
        if !made.is_empty() && last != Some(part) {
            let _ = writeln!(text, "{}:", heading(*part));
            last = Some(part);
        }
        for (change, _) in made {
            let _ = writeln!(text, "  {change}");
            if let Change::Rules(RulesChange::Write(step)) = change {
                text += &rewritten(rules.of(step.family), &step.rules);
                rules.of_mut(step.family).clone_from(&step.rules);
            }
        }
    }
    if text.is_empty() { "(nothing changes)\n".to_owned() } else { text }
}

fn heading(part: Part) -> String {
    part.name().replace('_', " ")
}

/// The rules that come and those that go.
fn rewritten(before: &Rules, after: &Rules) -> String {
    let lines = |rules: &Rules| -> String {
        let chains = rules.chains.iter();
        chains
            .flat_map(|(chain, rules)| rules.iter().map(move |rule| format!("{chain} {rule}\n")))
            .collect()
    };
    let (before, after) = (lines(before), lines(after));
    let diff = similar::TextDiff::from_lines(&before, &after);
    let changed = diff.iter_all_changes().filter(|line| line.tag() != similar::ChangeTag::Equal);
    changed.map(|line| format!("    {} {}", line.tag(), uncommented(line.value()))).collect()
}

/// A rule without its comment, which says no more than the name of its set.
pub(crate) fn uncommented(rule: &str) -> String {
    match rule.split_once("-m comment --comment \"") {
        Some((head, rest)) => format!("{head}{}", rest.split_once("\" ").map_or(rest, |r| r.1)),
        None => rule.to_owned(),
    }
}

/// Virtual servers with their destinations, addresses, and sets that have entries.
fn state(state: &Observed) -> String {
    let mut text = String::new();
    for (key, server) in &state.servers {
        let of = server.destinations.iter();
        let of: Vec<_> = of.map(|(at, found)| format!("{at} weight {}", found.weight)).collect();
        let _ = writeln!(text, "  {key} {} -> {}", server.settings, of.join(", "));
    }
    let addresses: Vec<_> = state.addresses.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "  kube-ipvs0: {}", addresses.join(" "));
    for (set, entries) in state.sets.iter().filter(|(_, entries)| !entries.is_empty()) {
        let entries: Vec<_> = entries.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  {set}: {}", entries.join(" "));
    }
    for family in Family::BOTH {
        if *state.legacy_rules.of(family) {
            let _ = writeln!(text, "  rules of other modes, {family}");
        }
    }
    text
}
