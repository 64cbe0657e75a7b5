//! Tests the metrics of a sync thread that works on a kernel in memory.
//!
//! Takes events, faults, and changes of the kernel by another program. Returns the content of a
//! scrape. Does not use a real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ipvs_proxy::events::Sink;
use ipvs_proxy::metrics::{Build, Metrics, Probe};
use ipvs_proxy::serve::{HealthTable, Moment, ProxyHealth};
use ipvs_proxy::sync;
use ipvs_proxy::sync::pace::Periods;
use ipvs_proxy::sync::publish::Publish;
use ipvs_proxy::traffic::{Counters, Limits, Reading, Traffic};
use ipvs_proxy::watch::{self, Api, ApiSettings, NodesWatched};
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::apply::{Answered, Cause, Connections, Kernel, KernelReading, Ready, RulesReading};
use proxier::diff::{Change, Flow, ObservedServer, RulesChange, ServerChange, SetChange};
use proxier::model::{
    Batch, Event, Family, InterfaceAddress, LastChange, Node, PerFamily, Protocol, Service,
    ServiceName, Slice, TrafficPolicy, Update,
};
use proxier::plan::{Settings, VirtualServerDestination, VirtualServerKey};
use proxier::testing::{ready, service, service_port, settings, slice};
use tokio::sync::{mpsc, watch as latest};

use crate::apiserver::ApiServer;

const LIMIT: Duration = Duration::from_secs(20);

/// A kernel that the test can read and change.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<FakeKernel>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, FakeKernel> {
        self.0.lock().unwrap()
    }
}

impl Kernel for Shared {
    fn prepare(&mut self) -> Result<Ready, Cause> {
        self.lock().prepare()
    }

    fn look_again(&mut self) -> Ready {
        self.lock().look_again()
    }

    fn observe(&mut self) -> Result<KernelReading, Cause> {
        self.lock().observe()
    }

    fn read_server(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
        self.lock().read_server(key)
    }

    fn read_rules(&mut self, family: Family) -> Result<RulesReading, Cause> {
        self.lock().read_rules(family)
    }

    fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        self.lock().count_connections(of)
    }

    fn flows(
        &mut self,
        of: (Family, Protocol),
        is_wanted: &dyn Fn(&Flow) -> bool,
        at_most: usize,
    ) -> Result<Vec<Flow>, Cause> {
        self.lock().flows(of, is_wanted, at_most)
    }

    fn carry_out(&mut self, changes: Vec<Change>) -> Vec<Answered<Change>> {
        self.lock().carry_out(changes)
    }
}

/// A proxy that runs until this is dropped.
struct Running {
    metrics: Arc<Metrics>,
    health: Arc<ProxyHealth>,
    kernel: Shared,
    events: mpsc::Sender<Batch>,
    traffic: Traffic,
    _table: latest::Receiver<HealthTable>,
}

const DUAL: PerFamily<bool> = PerFamily { v4: true, v6: true };

impl Running {
    /// Starts a proxy that knows its node and no Services or EndpointSlices. `audit` is the time
    /// between two comparisons of everything.
    fn start(audit: Duration) -> Self {
        Self::with(Shared::default(), DUAL, audit)
    }

    /// Starts a proxy for these families on this kernel, which may hold objects.
    fn with(kernel: Shared, families: PerFamily<bool>, audit: Duration) -> Self {
        let metrics = Arc::new(
            Metrics::new(&Build {
                kube_proxy: "v1.36.2",
                own: "v0.1.0",
                features: vec![("AllowServiceExternalIPs", "", true)],
            })
            .unwrap(),
        );
        metrics.rounds.begin(&families);
        let health = Arc::new(ProxyHealth::new(&families, audit));
        let (checks, table) = latest::channel(HealthTable::default());
        let limits = Limits { services: 100, interval: Duration::ZERO };
        let traffic = Traffic::start(limits, |servers| Ok(counted(servers))).unwrap();
        let publish = Publish::new(Arc::clone(&health), Arc::clone(&metrics), checks, Sink::log())
            .with_traffic(Some(traffic.clone()));
        let (events, queue) = mpsc::channel(100);
        let (works, reads) = (kernel.clone(), kernel.clone());
        let periods = Periods { min: Duration::ZERO, max: audit };
        thread::spawn(move || {
            let planning = Settings { node_name: "node1".into(), families, ..settings() };
            let read = move || reads.lock().observe();
            sync::run(Proxier::new(planning), works, read, queue, periods, publish)
        });
        let running = Self { metrics, health, kernel, events, traffic, _table: table };
        running.tell(Event::Node(Some(Node {
            name: "node1".into(),
            zone: None,
            addresses: vec!["192.0.2.11".parse().unwrap()],
            pod_nets: vec![],
            is_leaving: false,
        })));
        let address = "192.0.2.11/24".parse().unwrap();
        running.tell(Event::Addresses(vec![InterfaceAddress { device: "eth0".into(), address }]));
        running
    }

    fn tell(&self, event: Event) {
        self.tell_all(vec![event]);
    }

    fn tell_all(&self, batch: Batch) {
        self.events.blocking_send(batch).unwrap();
    }

    fn list(&self, services: Vec<Service>, slices: Vec<Slice>) {
        self.tell(Event::Service(Update::Listed(services)));
        self.tell(Event::Slice(Update::Listed(slices)));
    }

    fn scrape(&self) -> Scrape {
        Scrape::of(&self.metrics.scrape(Vec::new()))
    }

    /// Waits for the health of each family. It is judged as of a later time, at which pending work
    /// would be overdue.
    fn wait_health(&self, wanted: PerFamily<Option<bool>>) {
        let start = Instant::now();
        let later = Moment { steady: start + 10 * LIMIT, ..Moment::now() };
        loop {
            let found = self.health.standing(later).families;
            let found = PerFamily::from_fn(|family| found.of(family).map(|of| of.is_healthy));
            if found == wanted {
                return;
            }
            assert!(start.elapsed() < LIMIT, "{found:?}, not {wanted:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the kernel has been read this many times more. The result of all readings but
    /// the last is then known.
    fn wait_readings(&self, count: usize) {
        let (start, enough) = (Instant::now(), self.kernel.lock().reads + count);
        while self.kernel.lock().reads < enough {
            assert!(start.elapsed() < LIMIT, "the kernel is not read");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the samples fulfil the condition.
    fn until(&self, is_so: impl Fn(&Samples) -> bool) -> Samples {
        let start = Instant::now();
        loop {
            let samples = self.scrape().samples;
            if is_so(&samples) {
                return samples;
            }
            assert!(start.elapsed() < LIMIT, "{samples:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a sample has this value, and returns a later scrape. The first one may have only
    /// some of the values that are written at the same time.
    fn wait(&self, sample: &str, wanted: f64) -> Scrape {
        let start = Instant::now();
        loop {
            let scrape = self.scrape();
            if scrape.samples.get(sample) == Some(&wanted) {
                return self.scrape();
            }
            let found = scrape.samples.get(sample);
            assert!(start.elapsed() < LIMIT, "{sample} is {found:?}, not {wanted}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn counted(servers: &BTreeSet<VirtualServerKey>) -> Vec<Reading> {
    let counters = Counters { connections: 5, packets_in: 50, bytes_in: 500, ..Default::default() };
    servers
        .iter()
        .map(|server| Reading { server: *server, counters, active: 2, inactive: 1 })
        .collect()
}

fn web() -> Service {
    service("web", &["10.96.0.10"])
}

fn web_slice(endpoints: &[&str]) -> Slice {
    slice("web-a", "web", endpoints.iter().map(|address| ready(address)).collect())
}

/// The values by name and labels.
type Samples = BTreeMap<String, f64>;

/// The content of a scrape.
struct Scrape {
    types: BTreeMap<String, String>,
    samples: Samples,
}

impl Scrape {
    fn of(text: &str) -> Self {
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') && line.contains(' ') && !line.contains(": ") {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                if let Ok(value) = value.parse() {
                    samples.insert(sample.to_owned(), value);
                }
            }
        }
        Self { types, samples }
    }

    /// Returns for each sample's name the names of its labels and the bounds of its buckets.
    fn shapes(&self) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
        let mut shapes: BTreeMap<String, (BTreeSet<_>, BTreeSet<_>)> = BTreeMap::new();
        for sample in self.samples.keys() {
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            let shape = shapes.entry(name.to_owned()).or_default();
            for label in labels.trim_end_matches('}').split("\",") {
                let Some((key, value)) = label.split_once("=\"") else { continue };
                shape.0.insert(key.to_owned());
                if key == "le" {
                    shape.1.insert(value.trim_end_matches('"').to_owned());
                }
            }
        }
        shapes
    }
}

/// Metrics that only Go's client has: plugins for credentials, and a cache of its own.
const OF_GO: [&str; 2] = ["rest_client_exec_plugin_", "rest_client_transport_"];

/// Metrics that Go's client has once there is something to count (spec 11.2).
const ABSENT: [&str; 2] =
    ["rest_client_request_retries_total", "rest_client_dns_resolution_duration_seconds"];

#[test]
fn what_a_scrape_lacks_is_named_among_the_differences() {
    let running = Running::start(LIMIT);
    let scrape = running.scrape();
    let differences = std::fs::read_to_string("docs/compatibility.md").unwrap();
    for name in OF_GO.iter().chain(&ABSENT) {
        assert!(!scrape.types.keys().any(|found| found.starts_with(name)), "{name} is there");
        assert!(differences.contains(&format!("`{name}")), "{name}");
    }
}

#[test]
fn a_scrape_has_every_recorded_name_type_label_and_bucket() {
    let running = Running::start(LIMIT);
    let mut dns = service("dns", &["10.96.0.53"]);
    dns.ports = vec![service_port("http", Protocol::Udp, 53)];
    running.list(vec![web(), dns], vec![web_slice(&["10.244.1.2"])]);
    let requests = &running.metrics.requests;
    requests.answered("GET", "10.0.2.100:6443", Some(200));
    requests.took("POST", "10.0.2.100:6443", Duration::from_millis(70), 204);
    requests.received("POST", "10.0.2.100:6443", 449);
    requests.waited("POST", "10.0.2.100:6443", Duration::from_millis(1));
    let synced = "kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv4\"}";
    running.wait(synced, 1.0);
    let text = std::fs::read_to_string("tests/it/serve/recorded/metrics-port-metrics.txt").unwrap();
    let (ours, recorded) = (running.scrape(), Scrape::of(&text));
    assert!(recorded.types.len() > 30 && recorded.samples.len() > 300);
    let applies = |name: &&String| !OF_GO.iter().any(|prefix| name.starts_with(prefix));
    for (name, kind) in recorded.types.iter().filter(|(name, _)| applies(name)) {
        assert_eq!(ours.types.get(name), Some(kind), "type of {name}");
    }
    let shapes = ours.shapes();
    for (name, shape) in recorded.shapes().iter().filter(|(name, _)| applies(name)) {
        assert_eq!(shapes.get(name), Some(shape), "labels and buckets of {name}");
    }
}

/// Metrics that appear only after an event, by type and label (spec 11.1).
const TOUCHED: [(&str, &str, &str); 4] = [
    ("kubeproxy_proxy_healthz_total", "counter", "code"),
    ("kubeproxy_proxy_livez_total", "counter", "code"),
    ("kubeproxy_network_programming_duration_seconds", "histogram", "ip_family"),
    ("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", "ip_family"),
];

#[test]
fn what_was_not_recorded_is_as_specified_and_nothing_else_has_kube_proxys_prefix() {
    let running = Running::start(LIMIT);
    running.metrics.probes.answered(Probe::Healthz, 200);
    running.metrics.probes.answered(Probe::Livez, 503);
    running.metrics.rounds.restore_failed(Family::V4);
    let mut slice = web_slice(&["10.244.1.2"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    slice.last_change = LastChange(Some((now.as_nanos() + 1_000_000).try_into().unwrap()));
    running.list(vec![web()], vec![slice]);
    let programmed = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    let scrape = running.wait(programmed, 1.0);
    let shapes = scrape.shapes();
    for (name, kind, label) in TOUCHED {
        assert_eq!(scrape.types.get(name).map(String::as_str), Some(kind), "{name}");
        let sample = if kind == "histogram" { format!("{name}_sum") } else { name.to_owned() };
        assert_eq!(shapes[&sample].0, [label.to_owned()].into(), "{name}");
    }
    let buckets = &shapes["kubeproxy_network_programming_duration_seconds_bucket"].1;
    let whole = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    let wanted = ["0.25".to_owned(), "0.5".into(), "+Inf".into()].into_iter();
    assert_eq!(*buckets, wanted.chain(whole.map(|bound| bound.to_string())).collect());
    let text = std::fs::read_to_string("tests/it/serve/recorded/metrics-port-metrics.txt").unwrap();
    let recorded = Scrape::of(&text).types;
    let is_known = |name: &str| {
        name.starts_with("ipvs_proxy_")
            || recorded.contains_key(name)
            || TOUCHED.iter().any(|(touched, ..)| *touched == name)
    };
    let unknown: Vec<_> = scrape.types.keys().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn counters_and_times_move_with_changes() {
    let running = Running::start(LIMIT);
    running.list(vec![web()], vec![web_slice(&["10.244.1.2", "10.244.2.2"])]);
    let servers = "ipvs_proxy_kernel_objects{kind=\"virtual_server\"}";
    let before = running.wait(servers, 1.0);
    let count = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"}";
    let rounds = before.samples[count];
    let last = "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}";
    // Each of them is counted once in each family, as upstream does.
    assert_eq!(before.samples["kubeproxy_sync_proxy_rules_service_changes_total"], 2.0);
    assert_eq!(before.samples["kubeproxy_sync_proxy_rules_endpoint_changes_total"], 1.0);
    assert_eq!(before.samples["ipvs_proxy_kernel_objects{kind=\"destination\"}"], 2.0);
    assert_eq!(before.samples["ipvs_proxy_kernel_objects{kind=\"address\"}"], 1.0);
    assert_eq!(before.samples["ipvs_proxy_kernel_objects{kind=\"set\"}"], 34.0);
    assert_eq!(before.samples["ipvs_proxy_kernel_objects{kind=\"chain\"}"], 22.0);
    assert_eq!(before.samples["ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}"], 1.0);
    assert_eq!(before.samples["ipvs_proxy_ipset_max_entries{set=\"KUBE-CLUSTER-IP\"}"], 65536.0);
    for stage in
        ["plan", "read", "compare", "create_sets", "add_entries", "write_rules", "add_destinations"]
    {
        let sample = format!("ipvs_proxy_sync_stage_duration_seconds_count{{stage=\"{stage}\"}}");
        assert!(before.samples[&sample] >= 1.0, "{stage}");
    }

    running.tell(Event::Service(Update::Put(service("api", &["10.96.0.11"]))));
    let after = running.wait(servers, 2.0);
    assert!(after.samples[count] > rounds);
    assert!(after.samples[last] > before.samples[last]);
    let queued = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"}";
    assert!(after.samples[queued] > before.samples[queued]);
    assert_eq!(after.samples["kubeproxy_sync_proxy_rules_service_changes_pending"], 0.0);
    assert_eq!(after.samples["ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}"], 2.0);

    running.tell(Event::Service(Update::Gone(web().name)));
    let after = running.wait(servers, 1.0);
    assert_eq!(after.samples["ipvs_proxy_kernel_objects{kind=\"destination\"}"], 0.0);
}

#[test]
fn services_without_local_endpoints_are_counted_by_policy() {
    let running = Running::start(LIMIT);
    let mut web = web();
    web.external_policy = TrafficPolicy::Local;
    web.load_balancer_ips = vec!["198.51.100.1".parse().unwrap()];
    running.list(vec![web], vec![web_slice(&["10.244.2.2"])]);
    let sample = |policy: &str| {
        format!(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family=\"IPv4\",\
             traffic_policy=\"{policy}\"}}"
        )
    };
    let scrape = running.wait(&sample("external"), 1.0);
    assert_eq!(scrape.samples[&sample("internal")], 0.0);
    running.tell(Event::Slice(Update::Put(web_slice(&["10.244.1.2"]))));
    running.wait(&sample("external"), 0.0);
}

#[test]
fn what_another_hand_does_to_the_kernel_is_found_by_the_audit_and_counted() {
    let running = Running::start(Duration::from_millis(50));
    running.list(vec![web()], vec![web_slice(&["10.244.1.2", "10.244.2.2"])]);
    running.wait("ipvs_proxy_kernel_objects{kind=\"virtual_server\"}", 1.0);
    let count = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}";
    let rounds = running.scrape().samples[count];
    let found = running.until(|samples| samples[count] >= rounds + 3.0);
    let is_difference = |name: &&String| name.starts_with("ipvs_proxy_audit_differences_total{");
    let differences: Vec<_> = found.iter().filter(|(name, _)| is_difference(name)).collect();
    assert!(
        differences.len() > 5 && differences.iter().all(|(_, count)| **count == 0.0),
        "{differences:?}"
    );
    {
        let mut kernel = running.kernel.lock();
        let address = "10.96.0.10".parse().unwrap();
        assert!(kernel.state.addresses.remove(&address));
        let key = *kernel.state.servers.keys().next().unwrap();
        let server = kernel.state.servers.get_mut(&key).unwrap();
        let destination = *server.destinations.keys().next().unwrap();
        server.destinations.remove(&destination);
    }
    running.wait("ipvs_proxy_audit_differences_total{kind=\"address\"}", 1.0);
    running.wait("ipvs_proxy_audit_differences_total{kind=\"destination\"}", 1.0);
}

#[test]
fn our_own_counters_are_there_before_anything_has_happened() {
    let samples = Scrape::of(&Metrics::new(&Build::default()).unwrap().scrape(Vec::new())).samples;
    let of = |name: &str| {
        let begins = format!("{name}{{");
        samples.iter().filter(move |(sample, _)| sample.starts_with(&begins)).collect::<Vec<_>>()
    };
    let kinds: BTreeSet<_> = of("ipvs_proxy_audit_differences_total")
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_keys()
        .map(|sample| sample.split('"').nth(1).unwrap())
        .collect();
    for kind in ["virtual_server", "destination", "address", "set", "set_entry", "rule"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    let stages = of("ipvs_proxy_sync_stage_duration_seconds_count");
    for stage in
        ["plan", "create_sets", "add_destinations", "remove_flows", "drain", "flows", "audit"]
    {
        let sample = format!("ipvs_proxy_sync_stage_duration_seconds_count{{stage=\"{stage}\"}}");
        assert_eq!(samples.get(&sample), Some(&0.0), "{stage}: {stages:?}");
    }
    // Only an API server can be out of contact.
    assert!(!samples.contains_key(LAST_CONTACT));
}

const LAST_CONTACT: &str = "ipvs_proxy_source_last_contact_timestamp_seconds";

fn of_family(name: &str, family: &str) -> String {
    format!("kubeproxy_{name}{{ip_family=\"{family}\"}}")
}

#[test]
fn rules_that_cannot_be_written_are_counted_and_leave_the_time_of_the_last_sync() {
    let running = Running::start(Duration::from_millis(100));
    running.kernel.lock().refused =
        Some(|change| matches!(change, Change::Rules(RulesChange::Write(_))));
    running.list(vec![web()], vec![]);
    let count = |samples: &Samples, family: &str| {
        let name = of_family("sync_proxy_rules_iptables_restore_failures_total", family);
        samples.get(&name).copied().unwrap_or_default()
    };
    let last = |family: &str| of_family("sync_proxy_rules_last_timestamp_seconds", family);
    for family in ["IPv4", "IPv6"] {
        let samples = running.until(|samples| count(samples, family) >= 1.0);
        assert!(!samples.contains_key(&last(family)), "{family}");
    }

    running.kernel.lock().refused = Some(
        |change| matches!(change, Change::Rules(RulesChange::Write(step)) if step.family == Family::V6),
    );
    let before = running.until(|samples| samples.contains_key(&last("IPv4")));
    let after = running.until(|samples| count(samples, "IPv6") > count(&before, "IPv6"));
    assert_eq!(count(&after, "IPv4"), count(&before, "IPv4"));
    assert!(!after.contains_key(&last("IPv6")));

    running.kernel.lock().refused = None;
    running.until(|samples| samples.contains_key(&last("IPv6")));
}

#[test]
fn a_family_that_fails_holds_neither_the_time_nor_the_health_of_the_other() {
    let running = Running::start(Duration::from_millis(100));
    running.kernel.lock().unread.v6 = Some(Cause::new("no"));
    // A family is synced if a Service has an address of it.
    running.list(vec![web(), service("web6", &["fd00:10:96::10"])], vec![]);
    running.wait("ipvs_proxy_kernel_objects{kind=\"virtual_server\"}", 1.0);
    let last = |family: &str| {
        format!("kubeproxy_sync_proxy_rules_last_timestamp_seconds{{ip_family=\"{family}\"}}")
    };
    let samples = running.scrape().samples;
    assert!(samples.contains_key(&last("IPv4")) && !samples.contains_key(&last("IPv6")));
    running.wait_health(PerFamily { v4: Some(true), v6: None });
    running.kernel.lock().unread.v6 = None;
    running.until(|samples| samples.contains_key(&last("IPv6")));
    running.wait_health(PerFamily { v4: Some(true), v6: Some(true) });
    // A family that was in sync becomes late when it fails again.
    running.kernel.lock().unread.v6 = Some(Cause::new("no"));
    running.wait_readings(2);
    running.tell(Event::Service(Update::Put(service("api", &["10.96.0.11"]))));
    running.wait_health(PerFamily { v4: Some(true), v6: Some(false) });
}

fn objects(kind: &str) -> String {
    format!("ipvs_proxy_kernel_objects{{kind=\"{kind}\"}}")
}

#[test]
fn kernel_objects_are_counted_as_they_are_while_one_of_them_fails_for_ever() {
    let before = Running::start(LIMIT);
    let (slice, next) =
        (web_slice(&["10.244.1.2", "10.244.2.2"]), service("next", &["10.96.0.12"]));
    before.list(vec![web()], vec![slice.clone()]);
    let full = before.wait(&objects("virtual_server"), 1.0).samples;
    let kernel = before.kernel.clone();
    drop(before);

    kernel.lock().refused = Some(
        |change| matches!(change, Change::Server(ServerChange::Add(key, _)) if key.address.to_string() == "10.96.0.11"),
    );
    let running = Running::with(kernel, DUAL, Duration::from_millis(100));
    running.list(vec![web(), service("api", &["10.96.0.11"])], vec![slice]);
    let found = running.wait(&objects("virtual_server"), 1.0).samples;
    for kind in ["destination", "set", "chain", "rule"] {
        assert_eq!(found[&objects(kind)], full[&objects(kind)], "{kind}");
    }
    assert_eq!(found[&objects("destination")], 2.0);
    // The entry of a virtual server that could not be created waits with it.
    assert_eq!(found["ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}"], 1.0);

    running.tell(Event::Service(Update::Put(next)));
    running.wait(&objects("virtual_server"), 2.0);
    // The number of destinations that go with a virtual server is known after the next reading.
    running.tell(Event::Service(Update::Gone(web().name)));
    running.wait(&objects("virtual_server"), 1.0);
    let found = running.wait(&objects("destination"), 0.0).samples;
    assert_eq!(found[&objects("virtual_server")], 1.0);
    assert_eq!(found["ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}"], 1.0);
}

#[test]
fn a_round_that_fails_counts_from_what_the_audit_has_read() {
    let running = Running::start(Duration::from_millis(50));
    running.list(vec![web()], vec![]);
    running.wait(&objects("address"), 1.0);
    {
        let mut kernel = running.kernel.lock();
        kernel.refused = Some(|change| matches!(change, Change::Set(SetChange::AddEntry(..))));
        for foreign in ["10.96.0.98", "10.96.0.99"] {
            kernel.state.addresses.insert(foreign.parse().unwrap());
        }
        kernel.state.sets.values_mut().for_each(BTreeSet::clear);
    }
    let entries = "ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}";
    let address = objects("address");
    let found = running.until(|samples| samples[entries] != 1.0 || samples[&address] != 1.0);
    assert_eq!(found[&address], 1.0);
}

#[test]
fn what_waits_is_told_until_a_round_has_done_it() {
    let running = Running::start(LIMIT);
    running.list(vec![web()], vec![]);
    running.wait(&objects("virtual_server"), 1.0);
    let kernel = running.kernel.lock();
    // A Service that changes counts once as pending; an EndpointSlice counts each time.
    running.tell_all(vec![
        Event::Service(Update::Put(Service { created: 5, ..web() })),
        Event::Service(Update::Put(Service { created: 6, ..web() })),
        Event::Service(Update::Put(service("api", &["10.96.0.11"]))),
        Event::Slice(Update::Put(web_slice(&["10.244.1.2"]))),
        Event::Slice(Update::Put(web_slice(&["10.244.1.3"]))),
        Event::Slice(Update::Put(web_slice(&["10.244.1.4"]))),
    ]);
    let waiting = |what: &str| format!("kubeproxy_sync_proxy_rules_{what}_changes_pending");
    running.wait(&waiting("service"), 2.0);
    running.wait(&waiting("endpoint"), 3.0);
    drop(kernel);
    running.wait(&waiting("service"), 0.0);
    running.wait(&waiting("endpoint"), 0.0);
}

#[test]
fn a_flow_that_is_forgotten_is_counted_in_its_family() {
    let running = Running::start(LIMIT);
    let stale = Flow {
        protocol: Protocol::Udp,
        client: "10.244.1.9:5353".parse().unwrap(),
        frontend: "10.96.0.53:53".parse().unwrap(),
        server: "10.244.2.9:8080".parse().unwrap(),
        answered: "10.244.1.9:5353".parse().unwrap(),
        id: 1,
        zone: 0,
    };
    running.kernel.lock().flows.insert(stale);
    let mut dns = service("dns", &["10.96.0.53", "fd00:10:96::53"]);
    dns.ports = vec![service_port("http", Protocol::Udp, 53)];
    running.list(vec![dns], vec![]);
    let deleted = |family: &str| of_family("conntrack_reconciler_deleted_entries_total", family);
    let samples = running.wait(&deleted("IPv4"), 1.0).samples;
    assert_eq!(samples[&deleted("IPv6")], 0.0);
    assert!(running.kernel.lock().flows.is_empty());
}

/// Returns a slice of the Service `web` whose last change was just now.
fn timed_slice(name: &str, endpoints: &[&str]) -> Slice {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let last_change = LastChange(Some(now.as_nanos().try_into().unwrap()));
    let endpoints = endpoints.iter().map(|address| ready(address)).collect();
    Slice { last_change, ..slice(name, "web", endpoints) }
}

#[test]
fn slices_of_a_family_that_is_not_programmed_are_neither_counted_nor_a_reason_for_a_round() {
    let running = Running::with(Shared::default(), PerFamily { v4: true, v6: false }, LIMIT);
    let other = || timed_slice("web-b", &["fd00:10:244:1::2"]);
    let together = |slices: Vec<Slice>| {
        let put = |slice| Event::Slice(Update::Put(slice));
        running.tell_all(slices.into_iter().map(put).collect());
    };
    running.list(vec![web()], vec![timed_slice("web-a", &["10.244.1.2"]), other()]);
    let before = running.wait(&objects("destination"), 1.0).samples;
    let total = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
    let rounds = of_family("sync_proxy_rules_duration_seconds_count", "IPv4");
    assert_eq!(before[total], 1.0);

    let changed = timed_slice("web-b", &["fd00:10:244:1::3"]);
    running.tell(Event::Slice(Update::Put(changed.clone())));
    together(vec![other(), changed.clone()]);
    running.tell(Event::Slice(Update::Gone(changed.name)));
    // Long enough for a round, which must not take place.
    thread::sleep(Duration::from_millis(50));
    let after = running.scrape().samples;
    let queued = of_family("sync_proxy_rules_last_queued_timestamp_seconds", "IPv4");
    assert_eq!((after[&queued], after[&rounds]), (before[&queued], before[&rounds]));

    // A manifest may give a slice's name to one of the other family: the first one is gone.
    running.tell(Event::Slice(Update::Put(timed_slice("web-a", &["fd00:10:244:1::2"]))));
    let after = running.wait(&objects("destination"), 0.0).samples;
    assert_eq!((after[total], after[&rounds]), (2.0, before[&rounds] + 1.0));
    // A slice that was added within the same batch is known.
    let gone = Event::Slice(Update::Gone(slice("web-a", "web", vec![]).name));
    let put = Event::Slice(Update::Put(timed_slice("web-a", &["10.244.1.2"])));
    running.tell_all(vec![put, gone]);
    let after = running.wait(total, 4.0).samples;
    assert_eq!(after[&objects("destination")], 0.0);
    let programmed = |family| of_family("network_programming_duration_seconds_count", family);
    assert!(after.contains_key(&programmed("IPv4")), "{after:?}");
    assert!(!after.contains_key(&programmed("IPv6")), "{after:?}");
}

#[test]
fn what_a_virtual_server_carries_is_its_new_owners_when_it_is_handed_on() {
    let running = Running::start(LIMIT);
    let next = Service { name: ServiceName::new("default", "next"), created: 5, ..web() };
    running.list(vec![web()], vec![web_slice(&["10.244.1.2"])]);
    running.wait("ipvs_proxy_kernel_objects{kind=\"virtual_server\"}", 1.0);
    running.tell(Event::Service(Update::Put(next)));
    running.tell(Event::Service(Update::Gone(web().name)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let carried = "ipvs_proxy_service_connections_total{namespace=\"default\",service=\"next\"}";
    let start = Instant::now();
    loop {
        let text = running.metrics.scrape(runtime.block_on(running.traffic.read()));
        if Scrape::of(&text).samples.contains_key(carried) {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{text}");
    }
    assert_eq!(running.scrape().samples["ipvs_proxy_kernel_objects{kind=\"virtual_server\"}"], 1.0);
}

#[test]
fn what_services_carry_is_told_under_their_names_and_goes_with_them() {
    let running = Running::start(LIMIT);
    running.list(vec![web()], vec![web_slice(&["10.244.1.2"])]);
    running.wait("ipvs_proxy_kernel_objects{kind=\"virtual_server\"}", 1.0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let scrape = || Scrape::of(&running.metrics.scrape(runtime.block_on(running.traffic.read())));
    let labels = "{namespace=\"default\",service=\"web\"}";
    let start = Instant::now();
    let samples = loop {
        let samples = scrape().samples;
        if samples.contains_key(&format!("ipvs_proxy_service_connections_total{labels}")) {
            break samples;
        }
        assert!(start.elapsed() < LIMIT);
    };
    for (name, wanted) in [
        ("connections_total", 5.0),
        ("packets_in_total", 50.0),
        ("packets_out_total", 0.0),
        ("bytes_in_total", 500.0),
        ("bytes_out_total", 0.0),
        ("active_connections", 2.0),
        ("inactive_connections", 1.0),
        ("draining_destinations", 0.0),
        ("draining_oldest_seconds", 0.0),
    ] {
        assert_eq!(samples[&format!("ipvs_proxy_service_{name}{labels}")], wanted, "{name}");
    }
    let leaving = (
        VirtualServerKey {
            protocol: Protocol::Tcp,
            address: "10.96.0.10".parse().unwrap(),
            port: 80,
        },
        "10.244.1.2:8080".parse().unwrap(),
    );
    running.kernel.lock().connections.insert(leaving, 3);
    running.tell(Event::Slice(Update::Put(web_slice(&[]))));
    let drains = format!("ipvs_proxy_service_draining_destinations{labels}");
    while scrape().samples[&drains] != 1.0 {
        assert!(start.elapsed() < LIMIT * 2, "nothing drains");
    }
    thread::sleep(Duration::from_millis(20));
    let age = scrape().samples[&format!("ipvs_proxy_service_draining_oldest_seconds{labels}")];
    assert!((0.01..60.0).contains(&age), "{age}");
    running.tell(Event::Service(Update::Gone(web().name)));
    running.wait("ipvs_proxy_kernel_objects{kind=\"virtual_server\"}", 0.0);
    while scrape().samples.contains_key(&drains) {
        assert!(start.elapsed() < LIMIT * 3, "its account stays");
    }
}

#[tokio::test]
async fn requests_to_an_api_server_are_counted_by_status_and_timed_unless_they_watch() {
    let server = ApiServer::start();
    server.replace_all("{kind: Node, metadata: {name: node1}}");
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), server.kubeconfig()).unwrap();
    let metrics = Metrics::new(&Build::default()).unwrap();
    let settings = ApiSettings {
        kubeconfig: Some(kubeconfig.path().to_owned()),
        requests: Some(metrics.requests.clone()),
        ..ApiSettings::default()
    };
    let api = Api::new(&settings).await.unwrap();
    let contact = || Scrape::of(&metrics.scrape(Vec::new())).samples[LAST_CONTACT];
    assert_eq!(contact(), 0.0, "the server has said nothing yet");
    let event = serde_json::json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reportingController": "kube-proxy", "reportingInstance": "kube-proxy-node1",
        "action": "Test", "reason": "Test",
    });
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    api.create("/apis/events.k8s.io/v1/namespaces/default/events", &event).await.unwrap();
    let answered = contact();
    assert!(answered >= began, "{answered} {began}");
    let (sender, mut events) = mpsc::channel(10);
    tokio::select! {
        () = watch::run(&api, "node1", NodesWatched::This, sender) => {}
        _ = events.recv() => {}
    }
    assert!(contact() > answered, "the list and the watch count too");
    let url = server.url();
    let host = url.split("//").nth(1).unwrap();
    let samples = Scrape::of(&metrics.scrape(Vec::new())).samples;
    let sample = |name: &str| samples.get(name).copied().unwrap_or_default();
    let total = |code: u16, method: &str| {
        sample(&format!(
            "rest_client_requests_total{{code=\"{code}\",host=\"{host}\",method=\"{method}\"}}"
        ))
    };
    assert_eq!(total(201, "POST"), 1.0, "{samples:?}");
    assert!(total(200, "GET") >= 1.0, "{samples:?}");
    for name in ["request_duration_seconds", "request_size_bytes", "response_size_bytes"] {
        let count =
            |verb| sample(&format!("rest_client_{name}_count{{host=\"{host}\",verb=\"{verb}\"}}"));
        assert_eq!((count("POST"), count("GET")), (1.0, 0.0), "{name}");
    }
}
