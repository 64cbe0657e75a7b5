//! Tests the answers of the real binary's servers, and that they follow what happens.
//!
//! Takes a proxy that follows an API server, clients of a Service, and ports that are taken.
//! Returns answers over real sockets, in the namespace of the node. Does not use the proxy's
//! internals.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::node::{Family, Lab, Namespace};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};
use crate::traffic::{self, Protocol, Server};

const HEALTH: &str = "127.0.0.1:10256";
const METRICS: &str = "127.0.0.1:10249";

/// Returns the status and the body, if there is an answer.
fn get(node: &Namespace, address: &str, path: &str) -> Option<(u16, String)> {
    let address: SocketAddr = address.parse().unwrap();
    let answer = node.enter(|| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}

fn samples(node: &Namespace) -> BTreeMap<String, f64> {
    let (status, text) = get(node, METRICS, "/metrics").expect("a scrape");
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(sample).collect()
}

/// Waits until a sample fulfils the condition.
fn wait(node: &Namespace, sample: &str, is_good: impl Fn(f64) -> bool) {
    let found = until(PATIENCE, || samples(node).get(sample).copied().filter(|v| is_good(*v)));
    assert!(found.is_some(), "{sample} is {:?}", samples(node).get(sample));
}

fn objects(endpoint: &str, taint: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: node1}}, spec: {{taints: [{taint}]}}, \
         status: {{addresses: [{{type: InternalIP, address: 192.0.2.11}}]}}}}\n---\n\
         {{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: shop}}, spec: \
         {{clusterIP: 10.96.0.80, ports: [{{port: 80, protocol: TCP, name: http}}]}}}}\n---\n\
         {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: web-a, \
         namespace: shop, labels: {{kubernetes.io/service-name: web}}}}, addressType: IPv4, \
         ports: [{{name: http, port: 8080, protocol: TCP}}], endpoints: [{{addresses: [{endpoint}], \
         nodeName: node1}}]}}\n"
    )
}

#[test]
fn every_path_is_answered_and_metrics_move() {
    let lab = Lab::new("answers");
    let (node, pod, caller) = (&lab.node1, lab.node1.pod(2), lab.node1.pod(3));
    let _server =
        Server::start(&pod, Protocol::Tcp, SocketAddr::new(pod.address(Family::V4), 8080), "web");
    let source = Source::api_server(node);
    source.replace_all(&objects("10.244.1.2", ""));
    let settings = config(json!({"enableProfiling": true}));
    let proxy = Proxy::start_with(&["--ipvs-service-metrics", "-v=2"], node, &source, &settings);
    proxy.wait_until_says("synced");

    let healthy =
        until(PATIENCE, || get(node, HEALTH, "/healthz").filter(|(status, _)| *status == 200));
    let (_, body) = healthy.expect("it becomes healthy");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(true), &json!(true)));
    assert!(body["status"]["IPv4"]["healthy"] == true && body["status"]["IPv6"]["healthy"] == true);
    assert_eq!(get(node, "[::1]:10256", "/livez").unwrap().0, 200);
    assert_eq!(get(node, HEALTH, "/metrics").unwrap().0, 404);

    assert_eq!(get(node, METRICS, "/proxyMode"), Some((200, "ipvs".to_owned())));
    assert_eq!(get(node, METRICS, "/healthz"), Some((200, "ok".to_owned())));
    assert_pages(node);
    let (_, configz) = get(node, METRICS, "/configz").unwrap();
    let configz: Value = serde_json::from_str(&configz).unwrap();
    let configz = &configz["kubeproxy.config.k8s.io"];
    assert_eq!((&configz["mode"], &configz["hostnameOverride"]), (&json!("ipvs"), &json!("node1")));
    assert!(!configz.to_string().contains("token"), "{configz}");

    let before = samples(node);
    assert_eq!(before["ipvs_proxy_kernel_objects{kind=\"virtual_server\"}"], 1.0);
    assert_eq!(before["ipvs_proxy_ipset_entries{set=\"KUBE-CLUSTER-IP\"}"], 1.0);
    let is_list = |name: &&String| {
        name.starts_with("rest_client_requests_total{code=\"200\"") && name.contains("\"GET\"")
    };
    assert!(before.keys().any(|name| is_list(&name)), "{before:?}");
    assert!(before["process_resident_memory_bytes"] > 1e6);

    let service: SocketAddr = "10.96.0.80:80".parse().unwrap();
    for _ in 0..3 {
        traffic::ask(&caller, Protocol::Tcp, service).unwrap();
    }
    // A reading is used for ten seconds.
    let labels = "{namespace=\"shop\",service=\"web\"}";
    wait(node, &format!("ipvs_proxy_service_connections_total{labels}"), |count| count >= 3.0);
    let carried = samples(node);
    assert!(carried[&format!("ipvs_proxy_service_bytes_in_total{labels}")] > 100.0);
    assert!(carried[&format!("ipvs_proxy_service_packets_out_total{labels}")] > 5.0);

    let count = "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}";
    let changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
    source.replace_all(&objects("10.244.1.3", "{key: ToBeDeletedByClusterAutoscaler}"));
    wait(node, count, |rounds| rounds > before[count]);
    wait(node, changes, |total| total > before[changes]);
    let leaving =
        until(PATIENCE, || get(node, HEALTH, "/healthz").filter(|(status, _)| *status == 503));
    assert!(leaving.is_some_and(|(_, body)| body.contains("\"nodeEligible\":false")));
    assert_eq!(get(node, HEALTH, "/livez").unwrap().0, 200);

    node.run("ipvsadm -D -t 10.96.0.80:80");
    wait(node, "ipvs_proxy_audit_differences_total{kind=\"virtual_server\"}", |found| found == 1.0);
}

/// Checks the pages for people, each by words that only it has.
fn assert_pages(node: &Namespace) {
    for (path, words) in [
        ("/statusz", "kube-proxy statusz"),
        ("/flagz", "\nv:2\n"),
        ("/metrics/slis", "process_start_time_seconds"),
        ("/debug/pprof/", "/debug/pprof/"),
    ] {
        let (status, body) = get(node, METRICS, path).unwrap();
        assert!(status == 200 && body.contains(words), "{path}: {status} {body}");
    }
}

#[test]
fn a_port_that_is_taken_keeps_nothing_from_being_served() {
    let lab = Lab::new("taken");
    let node = &lab.node1;
    let taken = node.enter(|| TcpListener::bind(METRICS).unwrap());
    let source = Source::api_server(node);
    source.replace_all(&objects("10.244.1.2", ""));
    let proxy = Proxy::start(node, &source, &config(json!({})));
    proxy.wait_until_says("the metrics server (metricsBindAddress) cannot listen on");
    proxy.wait_until_says("synced");
    assert!(node.run("ipvsadm -Ln").contains("10.96.0.80:80"));
    drop(taken);
    proxy.wait_until_says("over after ");
    assert_eq!(get(node, METRICS, "/proxyMode"), Some((200, "ipvs".to_owned())));
    assert_eq!(proxy.said("cannot listen on").len(), 2, "when it begins and when it is over");
}

#[test]
fn a_port_that_must_be_had_ends_the_process() {
    let lab = Lab::new("hard-fail");
    let node = &lab.node1;
    let _taken = node.enter(|| TcpListener::bind(HEALTH).unwrap());
    let source = Source::api_server(node);
    source.replace_all(&objects("10.244.1.2", ""));
    let mut proxy = Proxy::start(
        node,
        &source,
        &config(json!({"bindAddressHardFail": true, "healthzBindAddress": HEALTH})),
    );
    assert_eq!(proxy.wait(PATIENCE).code(), Some(1));
    let said = proxy.said("bindAddressHardFail is set: Address already in use");
    assert!(!said.is_empty(), "{}", proxy.log());
}
