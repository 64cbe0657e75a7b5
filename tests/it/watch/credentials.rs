//! Tests the credentials of a pod and of a kubeconfig, and their renewal while the proxy runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ipvs_proxy::watch::{Api, ApiError, ApiSettings, ServiceAccount};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Log, Watching, node, service, small_cluster};
use crate::apiserver::ApiServer;

/// Makes the files that a pod has.
fn pod(server: &ApiServer) -> (TempDir, ApiSettings) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), server.authority()).unwrap();
    fs::write(folder.path().join("token"), server.token()).unwrap();
    let settings = settings_of(folder.path(), server);
    (folder, settings)
}

fn settings_of(folder: &Path, server: &ApiServer) -> ApiSettings {
    let (host, port) = (server.address().ip().to_string(), server.address().port().to_string());
    let pod = ServiceAccount { host, port, folder: folder.to_owned() };
    ApiSettings { pod: Some(pod), ..ApiSettings::default() }
}

#[tokio::test]
async fn a_pods_token_is_rotated_without_anybody_noticing() {
    let server = small_cluster();
    let (folder, settings) = pod(&server);
    let mut watching = Watching::by(settings).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    for turn in 0..3 {
        let token = format!("token-{turn}");
        server.admit_too(&token);
        // Editors add white space at the end.
        fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
        let before = server.requests().len();
        server.disconnect();
        server.put(&service("web", 100 + turn));
        watching.agrees_with(&server).await;
        // Every watch has come back with the new one.
        super::asked_times(&server, before + 3).await;
        server.admit(&token);
    }
    assert_eq!(log.lines_with("401"), [""; 0]);
    assert!(server.requests().iter().all(|seen| seen.status != 401));
}

#[tokio::test]
async fn a_token_that_has_expired_is_told_with_its_file_and_its_successor_is_taken_at_once() {
    let server = small_cluster();
    let (folder, settings) = pod(&server);
    let mut watching = Watching::by(settings).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    server.admit("new");
    server.disconnect();
    let file = folder.path().join("token");
    log.has("HTTP 401").await;
    let lines = log.lines_with("HTTP 401");
    assert!(
        lines[0].contains(&format!("credentials of {}, invalid or expired", file.display())),
        "{lines:?}"
    );
    server.put(&service("web", 81));
    fs::write(&file, "new").unwrap();
    watching.agrees_with(&server).await;
    log.has("over after ").await;
    assert_eq!(log.lines_with("WARN ipvs_proxy::lasting: ").len(), 1);
    assert_eq!(log.lines_with("the-token-of-the-tests"), [""; 0]);
}

#[tokio::test]
async fn a_token_file_that_goes_away_leaves_the_last_token_in_force() {
    let server = small_cluster();
    let (folder, settings) = pod(&server);
    let mut watching = Watching::by(settings).await;
    watching.agrees_with(&server).await;
    let (log, file) = (Log::begin(), folder.path().join("token"));
    fs::remove_file(&file).unwrap();
    for port in 81..83 {
        server.disconnect();
        server.put(&service("web", port));
        watching.agrees_with(&server).await;
    }
    let name = format!("token file {}: ", file.display());
    let lines = log.lines_with(&name);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("; the last token that was in it is used"), "{lines:?}");
    fs::write(&file, server.token()).unwrap();
    server.disconnect();
    log.has(&format!(" s: {name}")).await;
    assert_eq!(log.lines_with(&name).len(), 2);
}

#[tokio::test]
async fn a_kubeconfig_is_read_again_when_its_token_is_refused() {
    let server = small_cluster();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), server.kubeconfig()).unwrap();
    let settings = ApiSettings { kubeconfig: Some(file.path().to_owned()), ..Default::default() };
    let mut watching = Watching::by(settings).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    server.admit("new");
    server.disconnect();
    server.put(&service("web", 81));
    log.has(&format!("credentials of {}", file.path().display())).await;
    fs::write(file.path(), server.kubeconfig_with_token("new")).unwrap();
    watching.agrees_with(&server).await;
    log.has("over after ").await;
}

#[tokio::test]
async fn credentials_that_are_refused_are_read_again_once_a_second_at_most() {
    let server = small_cluster();
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "refused"},
    });
    let script = format!("date +%s%N >>{}; echo '{credential}'", runs.display());
    let user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", script],
        "interactiveMode": "Never",
    }});
    let mut whole: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    whole["users"][0]["user"] = user;
    let _watching = Watching::with(&whole.to_string()).await;
    let read = || fs::read_to_string(&runs).unwrap_or_default();
    super::until(|| read().lines().count() >= 4).await;
    let times: Vec<u64> = read().lines().map(|line| line.parse().unwrap()).collect();
    // The program may start a little later than it was requested.
    let took = Duration::from_nanos(times[3] - times[0]);
    assert!(took > Duration::from_millis(2500), "{took:?}");
    assert!(server.requests().iter().filter(|seen| seen.status == 401).count() > 8);
}

#[tokio::test]
async fn an_authority_that_does_not_fit_is_named_and_its_successor_is_taken() {
    let (server, other) = (small_cluster(), ApiServer::start());
    let (folder, settings) = pod(&server);
    let authority = folder.path().join("ca.crt");
    fs::write(&authority, other.authority()).unwrap();
    let log = Log::begin();
    let mut watching = Watching::by(settings).await;
    log.has("invalid peer certificate").await;
    log.has(&format!("certificates are trusted as {} says", authority.display())).await;
    fs::write(&authority, server.authority()).unwrap();
    watching.agrees_with(&server).await;
    log.has("over after ").await;
}

#[tokio::test]
async fn what_a_pod_lacks_is_named() {
    let server = ApiServer::start();
    let (folder, settings) = pod(&server);
    let error = async |settings: &ApiSettings| match Api::new(settings).await {
        Ok(_) => panic!("usable"),
        Err(error) => error.to_string(),
    };
    for (file, text, told) in [
        ("ca.crt", "nonsense", "there is no certificate in it"),
        ("ca.crt", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", ""),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
        let error = error(&settings).await;
        let start = format!("service account {}: {told}", folder.path().join(file).display());
        assert!(error.starts_with(&start), "{error}");
    }
    for file in ["ca.crt", "token"] {
        fs::remove_file(folder.path().join(file)).unwrap();
        let error = error(&settings).await;
        assert!(error.contains(&folder.path().join(file).display().to_string()), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
    let mut settings = settings;
    settings.pod.as_mut().unwrap().port = "x".to_owned();
    fs::write(folder.path().join("token"), "t").unwrap();
    fs::write(folder.path().join("ca.crt"), server.authority()).unwrap();
    assert!(error(&settings).await.contains("KUBERNETES_SERVICE_PORT"));
}

#[tokio::test]
async fn a_kubeconfigs_secret_in_the_wrong_place_is_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for text in [
        "users: [{name: u, user: s3cr3t-token}]\n",
        "users: s3cr3t-token\n",
        "users: [{name: u, user: {token: {s3cr3t-token: 1}}}]\n",
        "users: [{name: u, user: {token: [s3cr3t-token]}}]\n",
    ] {
        fs::write(file.path(), text).unwrap();
        let kubeconfig = Some(file.path().to_owned());
        let settings = ApiSettings { kubeconfig, ..ApiSettings::default() };
        let Err(error @ ApiError::Kubeconfig { .. }) = Api::new(&settings).await else {
            panic!("usable: {text}")
        };
        let said = error.to_string();
        assert!(said.starts_with(&format!("kubeconfig {}: ", file.path().display())), "{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

/// A Node that has no address yet.
const BARE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node1}}\n";

#[tokio::test]
async fn a_node_without_an_address_is_waited_for_where_that_matters() {
    let server = small_cluster();
    server.delete("Node", "", "node1");
    let (_folder, settings) = pod(&server);
    let patient = ApiSettings { wait_for_node: Duration::from_secs(60), ..settings };
    let mut watching = Watching::by(patient).await;
    for _ in 0..2 {
        watching.event().await;
    }
    server.put(BARE);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!watching.store.is_complete());
    assert!(watching.events.try_recv().is_err());
    server.put(&node("node1", "192.0.2.11"));
    watching.agrees_with(&server).await;
    assert!(watching.store.is_complete());
}

#[tokio::test]
async fn a_node_that_gets_no_address_is_not_waited_for_without_end() {
    let server = small_cluster();
    server.delete("Node", "", "node1");
    server.put(BARE);
    let (_folder, settings) = pod(&server);
    let log = Log::begin();
    let hasty = ApiSettings { wait_for_node: Duration::from_millis(200), ..settings };
    let mut watching = Watching::by(hasty).await;
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("waiting for one for 200ms").len(), 1);
    assert_eq!(log.lines_with("going on without").len(), 1);
}

#[tokio::test]
async fn what_changes_of_the_nodes_identity_is_told_and_acted_upon() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    server.put(
        "{apiVersion: v1, kind: Node, metadata: {name: node1, labels: {topology.kubernetes.io/zone: \
         z1}}, spec: {podCIDRs: [10.244.7.0/24]}, status: {addresses: [{type: InternalIP, address: \
         192.0.2.99}, {type: ExternalIP, address: '2001:db8::9'}]}}\n",
    );
    watching.agrees_with(&server).await;
    for told in [
        "Node node1: its addresses are 192.0.2.99, 2001:db8::9 now",
        "Node node1: its pod networks are 10.244.7.0/24 now",
        "Node node1: its zone is z1 now",
    ] {
        assert_eq!(log.lines_with(told).len(), 1, "{told}");
    }
    server.delete("Node", "", "node1");
    log.has("Node node1: deleted; what was last known of it stays in force").await;
    assert!(watching.events.try_recv().is_err());
}

#[tokio::test]
async fn a_node_that_is_missed_is_told_about_once_and_when_it_is_there() {
    let server = small_cluster();
    server.delete("Node", "", "node1");
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    log.has("Node node1: there is none with this name").await;
    relists(&server, &log, 2).await;
    assert_eq!(log.lines_with("Node node1: there is none with this name").len(), 1);
    server.put(&node("node1", "192.0.2.11"));
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("Node node1: found").len(), 1);
    server.delete("Node", "", "node1");
    log.has("Node node1: deleted").await;
    relists(&server, &log, 4).await;
    assert_eq!(log.lines_with("Node node1: deleted").len(), 1);
    server.put(&node("node1", "192.0.2.12"));
    log.has("Node node1: its addresses are 192.0.2.12 now").await;
    assert_eq!(log.lines_with("Node node1: found").len(), 2);
}

/// Makes the lists be read again until the Node's list was empty this many times.
async fn relists(server: &ApiServer, log: &Log, times: usize) {
    while log.lines_with("Node: 0 listed").len() < times {
        server.put(&node("node2", "192.0.2.12"));
        server.compact();
        server.disconnect();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_node_without_the_pod_networks_that_are_needed_is_told_about_once() {
    let server = small_cluster();
    let (_folder, settings) = pod(&server);
    let log = Log::begin();
    let settings = ApiSettings { needs_pod_nets: true, ..settings };
    let mut watching = Watching::by(settings).await;
    watching.agrees_with(&server).await;
    server.put(&node("node1", "192.0.2.12"));
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("it has no pod networks").len(), 1);
    server.put(
        "{apiVersion: v1, kind: Node, metadata: {name: node1}, spec: {podCIDRs: [10.244.7.0/24]}, \
         status: {addresses: [{type: InternalIP, address: 192.0.2.12}]}}\n",
    );
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("its pod networks are 10.244.7.0/24 now").len(), 1);
}
