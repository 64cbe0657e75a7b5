//! Tests `/healthz` and `/livez` in states of the proxy and the node.

use std::sync::Arc;

use ipvs_proxy::events::Sink;
use ipvs_proxy::lasting::Lasting;
use ipvs_proxy::metrics::{Build, Metrics};
use ipvs_proxy::serve::{Moment, OnBindFailure, Probes, ProxyHealth, RETRY, Server, ServerKind};
use proxier::model::{Family, Node, PerFamily};
use tokio::task::JoinHandle;

use super::{Client, PERIOD, fall_behind, free_port, listens, v4, v6};

/// A health server at the wildcard address of IPv4, which is the default.
pub(super) struct Probed {
    pub(super) health: Arc<ProxyHealth>,
    pub(super) metrics: Arc<Metrics>,
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the head of a recorded answer without what changes each time, and its body.
pub(super) fn parts(answer: &str) -> (Vec<String>, String) {
    let answer = answer.replace("\r\n", "\n");
    let (head, body) = answer.split_once("\n\n").unwrap();
    let is_momentary = |line: &&str| {
        ["Date: ", "Content-Length: ", "Transfer-Encoding: "].iter().any(|of| line.starts_with(of))
    };
    let mut head: Vec<_> =
        head.lines().filter(|line| !is_momentary(line)).map(str::to_owned).collect();
    head.sort();
    (head, body.to_owned())
}

pub(super) fn recorded(name: &str) -> (Vec<String>, String) {
    let path = format!("tests/it/serve/recorded/{name}.txt");
    parts(&std::fs::read_to_string(path).unwrap())
}

impl Probed {
    async fn start() -> Self {
        let health = Arc::new(ProxyHealth::new(&PerFamily { v4: true, v6: true }, PERIOD));
        let metrics = Arc::new(Metrics::new(&Build::default()).unwrap());
        let port = free_port();
        let probes = Probes::new(Arc::clone(&health), Arc::clone(&metrics));
        let server = Server {
            which: ServerKind::Health,
            address: ([0, 0, 0, 0], port).into(),
            without_port: OnBindFailure::TryAgain(RETRY),
            node: "node1".into(),
            events: Sink::log(),
            lasting: Lasting::default(),
        };
        let task = tokio::spawn(async move { drop(probes.serve(server).await) });
        listens(port).await;
        Self { health, metrics, port, task }
    }

    async fn get(&self, path: &str) -> (Vec<String>, String) {
        let mut client = Client::connect(v4(self.port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        parts(&client.ask(&request).await.unwrap())
    }

    async fn status(&self, path: &str) -> u16 {
        let (head, _) = self.get(path).await;
        let line = head.iter().find(|line| line.starts_with("HTTP/1.1 ")).unwrap();
        line[9..12].parse().unwrap()
    }

    fn sees_node(&self, is_leaving: bool) {
        let (addresses, pod_nets) = (vec![], vec![]);
        let node = Node { name: "node1".into(), zone: None, addresses, pod_nets, is_leaving };
        self.health.saw_node(&node);
    }
}

/// Replaces each time by a `T`.
fn timeless(body: &str) -> String {
    let parts = body.split('"').map(|part| {
        let is_time = part.ends_with('Z') && part.starts_with(|c: char| c.is_ascii_digit());
        if is_time { "T" } else { part }
    });
    parts.collect::<Vec<_>>().join("\"")
}

#[tokio::test]
async fn answers_have_the_recorded_form() {
    let probed = Probed::start().await;
    probed.health.started();
    probed.health.synced();
    probed.sees_node(false);
    for (path, name) in [("/healthz", "health-port-healthz"), ("/livez", "health-port-livez")] {
        let ((head, body), (wanted_head, wanted)) = (probed.get(path).await, recorded(name));
        assert_eq!((head, timeless(&body)), (wanted_head, timeless(wanted.trim_end())), "{path}");
    }
    for (path, name) in [("/", "root"), ("/metrics", "metrics"), ("/statusz", "statusz")] {
        let recorded = recorded(&format!("health-port-{name}"));
        assert_eq!(probed.get(path).await, recorded, "{path}");
    }
}

#[tokio::test]
async fn the_wildcard_of_one_family_answers_both() {
    let probed = Probed::start().await;
    assert!(Client::connect(v6(probed.port)).await.is_ok());
}

#[tokio::test]
async fn a_node_that_was_not_seen_or_is_leaving_takes_no_traffic_but_lives() {
    let probed = Probed::start().await;
    probed.health.synced();
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (503, 200));
    probed.sees_node(false);
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (200, 200));
    probed.sees_node(true);
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (503, 200));
    let (_, body) = probed.get("/healthz").await;
    assert!(body.contains("\"nodeEligible\":false,\"healthy\":true"), "{body}");
}

#[tokio::test]
async fn before_the_first_sync_no_traffic_is_taken() {
    let probed = Probed::start().await;
    probed.health.started();
    probed.sees_node(false);
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (503, 200));
    let (_, body) = probed.get("/healthz").await;
    assert!(body.contains("\"nodeEligible\":true,\"healthy\":false"), "{body}");
    probed.health.synced();
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (200, 200));
}

#[tokio::test]
async fn a_proxy_that_lags_takes_no_traffic_and_is_alive_if_its_rounds_end() {
    let probed = Probed::start().await;
    probed.health.synced();
    probed.sees_node(false);
    fall_behind(&probed.health);
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (503, 503));
    let (_, body) = probed.get("/livez").await;
    assert!(body.contains("\"healthy\":false,\"status\":{\"IPv4\":"), "{body}");
    // A round in which IPv6 failed.
    probed.health.updated(Family::V4, Moment::now());
    probed.health.round_ended();
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (503, 200));
    let (_, body) = probed.get("/livez").await;
    assert!(body.contains("\"healthy\":true,\"status\":{\"IPv4\":"), "{body}");
    assert!(body.ends_with("\"healthy\":false}}}"), "IPv6: {body}");
    probed.health.updated(Family::V6, Moment::now());
    assert_eq!((probed.status("/healthz").await, probed.status("/livez").await), (200, 200));
}

#[tokio::test]
async fn answers_are_counted_by_their_status() {
    let probed = Probed::start().await;
    probed.status("/healthz").await;
    probed.health.synced();
    probed.sees_node(false);
    probed.status("/healthz").await;
    probed.status("/healthz").await;
    probed.status("/livez").await;
    let text = probed.metrics.scrape(Vec::new());
    for line in [
        "kubeproxy_proxy_healthz_total{code=\"200\"} 2\n",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 1\n",
        "kubeproxy_proxy_livez_total{code=\"200\"} 1\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
