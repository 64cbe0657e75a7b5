//! Tests the metrics server's paths other than `/metrics`.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ipvs_proxy::cli;
use ipvs_proxy::config::{Environment, Flags, Pod, RawConfig, flags};
use ipvs_proxy::events::Sink;
use ipvs_proxy::lasting::Lasting;
use ipvs_proxy::metrics::{Build, Metrics};
use ipvs_proxy::serve::{
    ConfigurationNote, Inspect, OnBindFailure, Process, RETRY, Server, ServerKind,
};
use ipvs_proxy::traffic::{Limits, Traffic};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::probes::{parts, recorded};
use super::{Client, free_port, listens, v4};

struct Inspected {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Inspected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the recorded process, as far as it is known.
fn process(profiling: bool) -> Process {
    let (_, configz) = recorded("metrics-port-configz");
    let configz: Value = serde_json::from_str(&configz).unwrap();
    let flags = cli::flagz(["kube-proxy", "--config=/tmp/conf", "--v=2"]);
    let settings = configz["kubeproxy.config.k8s.io"].clone();
    Process {
        settings,
        flags,
        kube_proxy: "v1.36.2",
        profiling,
        flagz: true,
        statusz: true,
        ..Process::default()
    }
}

impl Inspected {
    async fn start(process: Process) -> Self {
        Self::with(process, None).await
    }

    async fn with(process: Process, traffic: Option<Traffic>) -> Self {
        let port = free_port();
        let metrics = Arc::new(Metrics::new(&Build::default()).unwrap());
        let server = Server {
            which: ServerKind::Metrics,
            address: v4(port),
            without_port: OnBindFailure::TryAgain(RETRY),
            node: "node1".into(),
            events: Sink::log(),
            lasting: Lasting::default(),
        };
        let inspect = Inspect::new(process, metrics, traffic);
        let task = tokio::spawn(async move { drop(inspect.serve(server).await) });
        listens(port).await;
        Self { port, task }
    }

    async fn ask(&self, method: &str, path: &str, accept: Option<&str>) -> (Vec<String>, String) {
        let mut client = Client::connect(v4(self.port)).await.unwrap();
        let accept = accept.map_or_else(String::new, |accept| format!("Accept: {accept}\r\n"));
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{accept}\r\n");
        parts(&client.ask(&request).await.unwrap())
    }

    async fn get(&self, path: &str) -> (Vec<String>, String) {
        self.ask("GET", path, None).await
    }

    async fn put(&self, path: &str, body: &str) -> (Vec<String>, String) {
        let mut client = Client::connect(v4(self.port)).await.unwrap();
        let length = body.len();
        let request =
            format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
        parts(&client.ask(&request).await.unwrap())
    }
}

fn status(head: &[String]) -> &str {
    head.iter().find_map(|line| line.strip_prefix("HTTP/1.1 ")).unwrap()
}

#[tokio::test]
async fn plain_answers_are_those_recorded() {
    let inspected = Inspected::start(process(true)).await;
    for (path, name) in [
        ("/", "root"),
        ("/proxyMode", "proxyMode"),
        ("/healthz", "healthz"),
        ("/configz", "configz"),
    ] {
        let (head, body) = inspected.get(path).await;
        let (wanted_head, wanted) = recorded(&format!("metrics-port-{name}"));
        assert_eq!((head, body.trim_end()), (wanted_head, wanted.trim_end()), "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics/", "/proxyMode/", "/nothing"] {
        assert_eq!(status(&inspected.get(path).await.0), "404 Not Found", "{path}");
    }
}

/// The configuration file of the recorded process.
const FILE: &str = "{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, \
                    mode: ipvs, hostnameOverride: node1, clusterCIDR: 10.32.0.0/11, \
                    enableProfiling: true, clientConnection: {kubeconfig: /tmp/kc}, \
                    logging: {verbosity: 2}}";

#[tokio::test]
async fn the_same_configuration_is_told_byte_for_byte_as_recorded() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let path = file.path().to_owned();
    let flags = Flags {
        process: flags::Process { config: Some(path), ..flags::Process::default() },
        ..Flags::default()
    };
    let settings = RawConfig::read(&flags).unwrap().effective();
    let inspected = Inspected::start(Process { settings, ..process(false) }).await;
    let (_, wanted) = recorded("metrics-port-configz");
    assert_eq!(inspected.get("/configz").await.1, wanted.trim_end());
}

#[tokio::test]
async fn the_ping_says_more_if_asked() {
    let inspected = Inspected::start(process(false)).await;
    for (path, wanted) in [
        ("/healthz/ping", "ok"),
        ("/healthz?verbose", "[+]ping ok\nhealthz check passed\n"),
        ("/healthz?exclude=ping", "ok"),
        ("/healthz?verbose&exclude=ping", "[+]ping excluded: ok\nhealthz check passed\n"),
    ] {
        assert_eq!(inspected.get(path).await.1, wanted, "{path}");
    }
}

#[tokio::test]
async fn flagz_names_every_recorded_flag_with_its_value() {
    let inspected = Inspected::start(process(false)).await;
    let ((head, body), (wanted_head, wanted)) =
        (inspected.get("/flagz").await, recorded("metrics-port-flagz"));
    assert_eq!(head, wanted_head);
    let ours: Vec<&str> = body.lines().collect();
    for line in wanted.lines() {
        assert!(ours.contains(&line), "{line:?} is not in {body}");
    }
    assert_eq!(ours[..3], wanted.lines().take(3).collect::<Vec<_>>());
    let asked = "application/json;v=v1beta1;g=config.k8s.io;as=Flagz";
    let (_, body) = inspected.ask("GET", "/flagz", Some(asked)).await;
    let object: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(object["kind"], "Flagz");
    assert_eq!(object["metadata"]["name"], "kube-proxy");
    assert_eq!(object["flags"]["conntrack-tcp-timeout-established"], "24h0m0s");
    assert_eq!(object["flags"]["v"], "2");
}

#[tokio::test]
async fn statusz_has_the_recorded_lines_and_an_object() {
    let inspected = Inspected::start(process(false)).await;
    let names = |text: &str| {
        let known = ["Started", "Up", "Go version", "Binary version", "Emulation version", "Paths"];
        let name = |line: &str| known.iter().find(|name| line.starts_with(**name)).copied();
        text.lines().map(|line| name(line).unwrap_or(line).to_owned()).collect::<Vec<_>>()
    };
    let (head, body) = inspected.ask("GET", "/statusz", Some("text/plain")).await;
    let (wanted_head, wanted) = recorded("metrics-port-statusz");
    assert_eq!((head, names(body.trim_end())), (wanted_head, names(wanted.trim_end())));
    assert!(body.contains("/configz /flagz /healthz /metrics /proxyMode\n"), "{body}");
    assert!(body.contains(" 0 hr 00 min 0"), "{body}");

    let asked = |version: &str| format!("application/json;v={version};g=config.k8s.io;as=Statusz");
    let (head, body) = inspected.ask("GET", "/statusz", Some(&asked("v1beta1"))).await;
    assert!(!head.iter().any(|line| line.starts_with("Warning")), "{head:?}");
    let object: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(object["apiVersion"], "config.k8s.io/v1beta1");
    assert_eq!(object["binaryVersion"], "1.36.2");
    assert_eq!(object["emulationVersion"], "1.36");
    assert_eq!(object["paths"].as_array().unwrap().len(), 5);
    assert!(object["uptimeSeconds"].is_u64() && object["startTime"].is_string(), "{object}");
    let (head, _) = inspected.ask("GET", "/statusz", Some(&asked("v1alpha1"))).await;
    assert!(head.iter().any(|line| line.starts_with("Warning: 299 ")), "{head:?}");
    let yaml = asked("v1beta1").replace("json", "yaml");
    let (_, body) = inspected.ask("GET", "/statusz", Some(&yaml)).await;
    assert!(body.contains("kind: Statusz"), "{body}");
    let lines = format!("text/html\r\nAccept: text/plain;q=0.5\r\nAccept: {}", asked("v1beta1"));
    let (_, body) = inspected.ask("GET", "/statusz", Some(&lines)).await;
    assert!(body.starts_with('{'), "{body}");
    let (head, _) = inspected.ask("GET", "/statusz", Some("application/json")).await;
    assert_eq!(status(&head), "406 Not Acceptable");
}

/// The page has one line more than upstream's, if there is a note.
#[tokio::test]
async fn statusz_tells_of_a_configuration_that_waits_for_the_next_start() {
    let note = ConfigurationNote::default();
    let inspected =
        Inspected::start(Process { configuration: note.clone(), ..process(false) }).await;
    let asked = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz";
    for said in [None, Some("changed"), None] {
        note.set(said.map(str::to_owned));
        let (_, body) = inspected.get("/statusz").await;
        assert_eq!(body.contains("\nConfiguration"), said.is_some(), "{body}");
        assert_eq!(body.contains("changed\n"), said.is_some(), "{body}");
        let (_, body) = inspected.ask("GET", "/statusz", Some(asked)).await;
        let object: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(object.get("configuration").and_then(Value::as_str), said);
    }
}

#[tokio::test]
async fn a_page_whose_gate_is_shut_is_neither_served_nor_listed() {
    let inspected = Inspected::start(Process { flagz: false, ..process(false) }).await;
    assert_eq!(status(&inspected.get("/flagz").await.0), "404 Not Found");
    let (_, body) = inspected.get("/statusz").await;
    assert!(body.contains("/configz /healthz /metrics /proxyMode\n"), "{body}");
    let inspected = Inspected::start(Process { statusz: false, ..process(false) }).await;
    assert_eq!(status(&inspected.get("/statusz").await.0), "404 Not Found");
    assert_eq!(status(&inspected.get("/flagz").await.0), "200 OK");
}

#[test]
fn every_recorded_gate_has_the_recorded_stage_and_default() {
    let surroundings = Environment { host_name: "node1".to_owned(), pod: Pod::Outside };
    let mut given = RawConfig::read(&Flags::default()).unwrap();
    let config = given.check(None, &surroundings).unwrap();
    let ours: Vec<String> = config
        .gates
        .all()
        .map(|(name, stage, on)| {
            let (stage, on) = (stage.name(), u8::from(on));
            format!("kubernetes_feature_enabled{{name=\"{name}\",stage=\"{stage}\"}} {on}")
        })
        .collect();
    let (_, wanted) = recorded("metrics-port-metrics");
    let wanted = wanted.lines().filter(|line| line.starts_with("kubernetes_feature_enabled{"));
    assert_eq!(ours, wanted.collect::<Vec<_>>());
}

#[tokio::test]
async fn profiles_are_served_only_where_profiling_is_on() {
    let off = Inspected::start(process(false)).await;
    for path in ["/debug/pprof", "/debug/pprof/", "/debug/pprof/profile", "/debug/flags/v"] {
        assert_eq!(status(&off.get(path).await.0), "404 Not Found", "{path}");
    }
    let on = Inspected::start(process(true)).await;
    let (head, _) = on.get("/debug/pprof").await;
    assert_eq!(status(&head), "302 Found");
    assert!(head.contains(&"Location: /debug/pprof/".to_owned()), "{head:?}");
    let ((head, body), (wanted_head, wanted)) =
        (on.get("/debug/pprof/").await, recorded("metrics-port-debug_pprof_"));
    assert_eq!(head, wanted_head);
    for name in wanted.lines().filter_map(|line| line.split("<a href='").nth(1)) {
        let name = name.split('?').next().unwrap();
        assert!(body.contains(&format!("href='{name}?debug=1'")), "{name}");
        let (head, body) = on.get(&format!("/debug/pprof/{name}")).await;
        match name {
            "cmdline" => assert_eq!(status(&head), "200 OK"),
            _ => assert!(status(&head) == "501 Not Implemented" && !body.is_empty(), "{name}"),
        }
    }
    assert_eq!(status(&on.get("/debug/pprof/nonsense").await.0), "404 Not Found");
    let (head, body) = on.get("/debug/flags/v").await;
    assert_eq!((status(&head), body.trim_end()), ("406 Not Acceptable", "unsupported http method"));
    for (body, wanted, said) in [
        ("many", "400 Bad Request", "failed set klog.logging.verbosity many: "),
        ("99999999999", "400 Bad Request", "failed set klog.logging.verbosity 99999999999: "),
        ("4", "409 Conflict", "IPVS_PROXY_LOG says what is logged"),
    ] {
        let (head, text) = on.put("/debug/flags/v", body).await;
        assert!(status(&head) == wanted && text.starts_with(said), "{head:?} {text}");
    }
    let (head, text) = on.put("/debug/flags/v", &"4".repeat(2000)).await;
    assert_eq!(status(&head), "400 Bad Request");
    assert!(text.starts_with("error reading request body: "), "{text}");
    let (_, index) = on.get("/debug/flags").await;
    for path in ["/debug/flags/", "/debug/flags/x", "/debug/flags/v/"] {
        let (head, body) = on.get(path).await;
        assert_eq!((status(&head), &body), ("200 OK", &index), "{path}");
    }
    assert_eq!(status(&on.get("/debug/flagsx").await.0), "404 Not Found");
}

#[tokio::test]
async fn indicators_count_pings_until_they_are_reset() {
    let inspected = Inspected::start(process(false)).await;
    let pings = "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"}";
    assert!(!inspected.get("/metrics/slis").await.1.contains(pings));
    inspected.get("/healthz").await;
    inspected.get("/healthz").await;
    let (_, body) = inspected.get("/metrics/slis").await;
    assert!(body.contains(&format!("{pings} 2\n")), "{body}");
    assert!(body.contains("kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n"), "{body}");
    assert!(body.contains("# TYPE process_start_time_seconds gauge\n"), "{body}");
    inspected.ask("DELETE", "/metrics/slis", None).await;
    assert!(!inspected.get("/metrics/slis").await.1.contains(pings));
}

#[tokio::test]
async fn a_scrape_has_the_recorded_head() {
    let inspected = Inspected::start(process(false)).await;
    let openmetrics = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    for accept in [None, Some(openmetrics)] {
        let (head, body) = inspected.ask("GET", "/metrics", accept).await;
        let (wanted, _) = recorded("metrics-port-metrics");
        let names = |head: &[String]| {
            let name = |line: &String| match line.strip_prefix("Process-Start-Time-Unix: ") {
                Some(time) => format!("start {}", time.parse::<u64>().unwrap() > 1_500_000_000),
                None => line.clone(),
            };
            head.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&head), names(&wanted));
        assert!(body.contains("# TYPE process_open_fds gauge\n"), "{body}");
    }
}

#[tokio::test]
async fn a_scrape_does_without_what_services_carry_if_that_is_not_read() {
    let (release, held) = mpsc::channel::<()>();
    let limits = Limits { services: 100, interval: Duration::ZERO };
    let traffic = Traffic::start(limits, move |_| {
        let _ = held.recv();
        Ok(Vec::new())
    });
    let inspected = Inspected::with(process(false), Some(traffic.unwrap())).await;
    let of_services = "# TYPE ipvs_proxy_service_metrics_left_out gauge\n";
    for _ in 0..2 {
        let (head, body) = inspected.get("/metrics").await;
        assert_eq!(status(&head), "200 OK");
        assert!(body.contains("# TYPE process_open_fds gauge\n"), "{body}");
        assert!(!body.contains(of_services), "{body}");
    }
    drop(release);
    assert!(inspected.get("/metrics").await.1.contains(of_services));
}
