//! Runs the scenarios that are measured.
//!
//! Takes a shape and a source of objects. Returns a [`Row`] for each measurement. Each shape has a
//! new network namespace of its own. Does not run two proxies at once.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use tempfile::TempDir;

use super::api::{self, Api, Kind, event};
use super::floor::{BURST, ms, victim};
use super::proxy::{Proxy, Usage};
use super::report::Row;
use super::world::{self, NODE, Shape};

/// The source of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Api,
    Manifests,
}

/// The log level at which each round has a line. The next constant holds the texts of such lines.
const LOG: &str = "info,ipvs_proxy::sync=debug";
const ROUND: [&str; 2] = [" synced ", "nothing to change"];
/// The number of times that a single change is measured; the median counts.
const TIMES: u32 = 9;
const IDLE: Duration = Duration::from_secs(300);
const AUDITED: Duration = Duration::from_secs(10);

/// The rows that were printed.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn tell(&mut self, row: Row) {
        println!("{}", row.line());
        self.0.push(row);
    }
}

/// Measures all scenarios of one shape and source. Leaves the rules of a proxy that follows the API
/// server in `out`, for the floor.
pub(crate) fn measure(shape: Shape, origin: Origin, out: &Path) -> Vec<Row> {
    warm_up();
    let out = out.to_owned();
    match origin {
        Origin::Api => {
            let mut rows = vec![start_up(shape)];
            rows.extend(apart(move || from_the_api_server(shape, &out)));
            rows
        }
        Origin::Manifests => apart(move || from_manifests(shape)),
    }
}

/// Starts and ends a proxy, so that the kernel's modules are loaded.
fn warm_up() {
    apart(|| {
        let folder = TempDir::new().unwrap();
        let api = Api::start(Shape { services: 1, endpoints: 1 });
        let mut arguments = vec![config(folder.path(), "1h")];
        arguments.extend(api::arguments(&api));
        Proxy::start(LOG, &arguments).hear(&[" synced "]);
    });
}

/// Runs work in a new network namespace with a node's address.
pub(crate) fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let within = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let setup = "ip link set lo up && ip link add eth0 type dummy && ip link set eth0 up \
            && ip address add 192.0.2.11/24 dev eth0 && ip route add default via 192.0.2.1";
        run("sh", &["-c", setup]);
        work()
    };
    thread::spawn(within).join().unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn config(folder: &Path, sync_period: &str) -> String {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": NODE,
        "clusterCIDR": "10.128.0.0/9",
        "conntrack": {"maxPerCore": 0},
        "ipvs": {"minSyncPeriod": "0s", "syncPeriod": sync_period},
    });
    let path = folder.join(format!("{sync_period}.yaml"));
    fs::write(&path, config.to_string()).unwrap();
    format!("--config={}", path.display())
}

fn from_the_api_server(shape: Shape, out: &Path) -> Vec<Row> {
    let folder = TempDir::new().unwrap();
    let api = Api::start(shape);
    let arguments = |period: &str| {
        let mut arguments = vec![config(folder.path(), period)];
        arguments.extend(api::arguments(&api));
        arguments
    };
    let row = |what: &str| Row::new(what, shape, Origin::Api);
    let mut rows = Rows::default();
    let proxy = Proxy::start(LOG, &arguments("1h"));
    rows.tell(first_round(row("first sync"), &proxy));
    for (save, file) in [("iptables-save", "v4"), ("ip6tables-save", "v6")] {
        fs::write(out.join(file), run(save, &[])).unwrap();
    }
    let mut generations = Generations::default();
    rows.tell(one_endpoint(row("one endpoint"), &proxy, |_| {
        generations.replace(shape, 1, &api);
    }));
    rows.tell(one_service(row("one Service comes"), shape, &proxy, &api, "ADDED"));
    rows.tell(one_service(row("one Service goes"), shape, &proxy, &api, "DELETED"));
    rows.tell(burst(row("burst of 1,000 endpoints"), shape, &proxy, &api, &mut generations));
    rows.tell(idle(row("idle for 5 minutes"), &proxy));
    drop(proxy);

    generations.held(shape, &api);
    let proxy = Proxy::start(LOG, &arguments("10s"));
    rows.tell(restart(row("restart, nothing changed"), &proxy));
    rows.tell(audit(row("audit"), &proxy));
    rows.tell(change_within_audit(row("one endpoint during an audit"), &proxy, || {
        generations.replace(shape, 1, &api);
    }));
    rows.0
}

/// Measures with one file for each Service, which holds its slices too.
fn from_manifests(shape: Shape) -> Vec<Row> {
    let folder = TempDir::new().unwrap();
    let objects = folder.path().join("manifests");
    fs::create_dir(&objects).unwrap();
    fs::write(objects.join("node.json"), world::node()).unwrap();
    let mut generations = Generations::default();
    for service in 0..shape.services {
        generations.write(shape, service, &objects);
    }
    let arguments = |period: &str| {
        vec![config(folder.path(), period), format!("--manifests={}", objects.display())]
    };
    let row = |what: &str| Row::new(what, shape, Origin::Manifests);
    let proxy = Proxy::start(LOG, &arguments("1h"));
    let mut rows = Rows::default();
    rows.tell(first_round(row("first sync"), &proxy));
    rows.tell(one_endpoint(row("one endpoint"), &proxy, |_| {
        let (service, pod) = generations.next(shape);
        generations.count(pod);
        generations.write(shape, service, &objects);
    }));
    rows.tell(idle(row("idle for 5 minutes"), &proxy));
    drop(proxy);
    let proxy = Proxy::start(LOG, &arguments("1h"));
    rows.tell(restart(row("restart, nothing changed"), &proxy));
    rows.0
}

/// The number of times that each pod was replaced, and the next turn.
#[derive(Default)]
struct Generations {
    of: std::collections::BTreeMap<u32, u32>,
    turn: u32,
}

impl Generations {
    fn next(&mut self, shape: Shape) -> (u32, u32) {
        self.turn += 1;
        victim(shape, self.turn - 1)
    }

    fn count(&mut self, pod: u32) {
        *self.of.entry(pod).or_default() += 1;
    }

    fn slice(&self, shape: Shape, service: u32, part: u32) -> String {
        world::slice(shape, service, part, |pod| self.of.get(&pod).copied().unwrap_or(0))
    }

    /// Sends the events of `count` replaced endpoints at once. Returns the time of sending.
    fn replace(&mut self, shape: Shape, count: u32, api: &Api) -> Instant {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let (service, pod) = self.next(shape);
            self.count(pod);
            let part = (pod - service * shape.endpoints) / 100;
            event("MODIFIED", &self.slice(shape, service, part), &mut bytes);
        }
        let sent = Instant::now();
        api.send(Kind::Slice, &bytes);
        sent
    }

    /// Sets the present slices as those that later lists get.
    fn held(&self, shape: Shape, api: &Api) {
        let slices = (0..shape.services)
            .flat_map(|service| (0..shape.slices()).map(move |part| (service, part)));
        api.hold(Kind::Slice, slices.map(|(service, part)| self.slice(shape, service, part)));
    }

    fn write(&self, shape: Shape, service: u32, folder: &Path) {
        let mut items = vec![world::service(service)];
        items.extend((0..shape.slices()).map(|part| self.slice(shape, service, part)));
        let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
        let path = folder.join(format!("svc-{service}.json"));
        fs::write(path.with_extension("new"), list).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }
}

fn first_round(mut row: Row, proxy: &Proxy) -> Row {
    let said = proxy.hear(&[" synced "]);
    row.rounds(proxy.started, (&said).into(), proxy.usage());
    let (_, peak) = proxy.memory();
    row.number("peak_mib", peak);
    thread::sleep(Duration::from_secs(2));
    row.number("steady_mib", proxy.memory().0);
    row
}

fn one_endpoint(mut row: Row, proxy: &Proxy, mut replace: impl FnMut(u32)) -> Row {
    // The first change finds nothing in the processor's caches; it counts like the others.
    let mut seen = Vec::new();
    for time in 0..TIMES {
        let before = proxy.usage();
        let sent = Instant::now();
        replace(time);
        let said = proxy.hear_changes(3.0);
        seen.push((said.at - sent, said, proxy.usage() - before));
        thread::sleep(Duration::from_secs(1));
    }
    seen.sort_by_key(|(took, ..)| *took);
    let (took, said, usage) = seen.swap_remove(seen.len() / 2);
    row.rounds(said.at - took, said, usage);
    row
}

fn one_service(mut row: Row, shape: Shape, proxy: &Proxy, api: &Api, verb: &str) -> Row {
    let more = Shape { services: shape.services + 1, ..shape };
    let (mut slices, mut service) = (Vec::new(), Vec::new());
    for part in 0..shape.slices() {
        event(verb, &world::slice(more, shape.services, part, |_| 0), &mut slices);
    }
    event(verb, &world::service(shape.services), &mut service);
    let before = proxy.usage();
    let expected = f64::from(if verb == "ADDED" { 4 + shape.endpoints } else { 3 });
    let sent = Instant::now();
    if verb == "ADDED" {
        api.send(Kind::Slice, &slices);
        api.send(Kind::Service, &service);
    } else {
        api.send(Kind::Service, &service);
        api.send(Kind::Slice, &slices);
    }
    let said = proxy.hear_changes(expected);
    row.rounds(sent, said, proxy.usage() - before);
    thread::sleep(Duration::from_secs(1));
    row
}

fn burst(
    mut row: Row,
    shape: Shape,
    proxy: &Proxy,
    api: &Api,
    generations: &mut Generations,
) -> Row {
    let before = proxy.usage();
    let sent = generations.replace(shape, BURST, api);
    let said = proxy.hear_changes(f64::from(3 * BURST));
    row.rounds(sent, said, proxy.usage() - before);
    thread::sleep(Duration::from_secs(1));
    row
}

fn idle(mut row: Row, proxy: &Proxy) -> Row {
    let before = proxy.usage();
    thread::sleep(IDLE);
    row.usage(proxy.usage() - before);
    row
}

fn restart(mut row: Row, proxy: &Proxy) -> Row {
    let said = proxy.hear(&ROUND);
    row.rounds(proxy.started, (&said).into(), proxy.usage());
    assert!(said.line.contains("nothing to change"), "{}", said.line);
    row
}

fn audit(mut row: Row, proxy: &Proxy) -> Row {
    let before = proxy.usage();
    let said = proxy.hear(&["nothing to change"]);
    let usage: Usage = proxy.usage() - before;
    row.number("virtual_ms", said.number("took_ms"));
    row.number("operations", 0.0);
    row.usage(usage);
    row
}

/// Measures a change that comes when an audit has just begun.
fn change_within_audit(mut row: Row, proxy: &Proxy, replace: impl FnOnce()) -> Row {
    let before = proxy.hear(&["nothing to change"]);
    let begins = before.at + AUDITED;
    thread::sleep(begins.saturating_duration_since(Instant::now()) + Duration::from_millis(5));
    let sent = Instant::now();
    replace();
    let said = proxy.hear_changes(3.0);
    row.number("virtual_ms", ms(said.at - sent));
    row
}

/// Returns the time from sending an event to the log line that says that the kernel has the change.
/// It is the smallest of several.
pub(crate) fn one_change(shape: Shape) -> Duration {
    apart(move || {
        let folder = TempDir::new().unwrap();
        let api = Api::start(shape);
        let mut arguments = vec![config(folder.path(), "1h")];
        arguments.extend(api::arguments(&api));
        let proxy = Proxy::start(LOG, &arguments);
        proxy.hear(&[" synced "]);
        let mut generations = Generations::default();
        let change = |_| {
            thread::sleep(Duration::from_secs(1));
            let sent = generations.replace(shape, 1, &api);
            proxy.hear_changes(3.0).at - sent
        };
        (0..TIMES).map(change).min().unwrap()
    })
}

/// Measures the time from the start of the program to its first change of the kernel. The proxy is
/// then killed.
fn start_up(shape: Shape) -> Row {
    let row = apart(move || {
        let folder = TempDir::new().unwrap();
        let api = Api::start(shape);
        let mut arguments = vec![config(folder.path(), "1h")];
        arguments.extend(api::arguments(&api));
        let proxy = Proxy::start("info,ipvs_proxy::kernel=debug", &arguments);
        let said = proxy.hear(&["DEBUG add set"]);
        let mut row = Row::new("start to first operation", shape, Origin::Api);
        row.number("virtual_ms", ms(said.at - proxy.started));
        row
    });
    println!("{}", row.line());
    row
}
