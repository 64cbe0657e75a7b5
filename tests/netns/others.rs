//! Tests other programs that change the kernel: what is corrected at once, what is logged, and what
//! is left alone.
//!
//! Runs the binary and the node's own tools. Reads back with `ipvsadm`, `ip` and the proxy's log.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};

/// A Service with a node port and a load-balancer address, both in 192.0.2.0/24, the node's own
/// network.
const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.80, ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.200}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 8080}]
endpoints: [{addresses: [10.244.1.3]}]
";

/// Virtual servers of a control plane's own load balancer: one at an address of the node, and one
/// at the Service's address.
const OTHERS: &str = "\
-A -t 192.0.2.11:6443 -s rr
-a -t 192.0.2.11:6443 -r 192.0.2.12:6443 -g -w 1
-A -t 192.0.2.200:6443 -s rr
";

/// A Service without virtual servers.
const HEADLESS: &str = "
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, ports: [{port: 80}]}
";

fn servers(node: &Namespace) -> Vec<String> {
    let listed = node.run("ipvsadm -Sn");
    let mut servers: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("-A -t "))
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    servers.sort_unstable();
    servers
}

fn becomes(node: &Namespace, wanted: &[&str]) {
    let found = until(PATIENCE, || (servers(node) == wanted).then_some(()));
    assert!(found.is_some(), "{:?}, not {wanted:?}", servers(node));
}

#[test]
fn in_an_excluded_network_ours_go_with_their_service_and_others_stay() {
    let node = Node::conformance("excluded");
    let source = Source::manifests();
    source.replace_all(WEB);
    let config = config(
        json!({"ipvs": {"excludeCIDRs": ["192.0.2.0/24"]}, "nodePortAddresses": ["192.0.2.0/24"]}),
    );
    node.feed("ipvsadm -R", OTHERS);
    let others = ["192.0.2.11:6443", "192.0.2.200:6443"];
    let all = ["10.96.0.80:80", "192.0.2.11:30080", others[0], others[1], "192.0.2.200:80"];

    let mut proxy = Proxy::start(&node, &source, &config);
    becomes(&node, &all);
    let told = proxy.said("ipvs.excludeCIDRs has addresses of this node: 192.0.2.11");
    assert_eq!(told.len(), 1, "{}", proxy.log());
    source.replace_all(HEADLESS);
    becomes(&node, &others);

    source.replace_all(WEB);
    becomes(&node, &all);
    proxy.signal(Signal::TERM);
    proxy.wait(PATIENCE);
    source.replace_all(HEADLESS);
    // A process that was killed during the removal leaves this.
    node.run("ipvsadm -A -t 192.0.2.200:90 -s rr -b flag-3");
    let proxy = Proxy::start(&node, &source, &config);
    becomes(&node, &others);
    assert_eq!(proxy.said("removing virtual servers"), [""; 0], "{}", proxy.log());
    assert!(node.run("ipvsadm -Sn").contains("-a -t 192.0.2.11:6443 -r 192.0.2.12:6443 -g"));
}

#[test]
fn a_device_of_another_kind_is_used_with_a_warning_and_a_cleanup_leaves_it() {
    let node = Node::conformance("foreign-device");
    node.run("ip link add kube-ipvs0 type veth peer name kube-other");
    let source = Source::manifests();
    source.replace_all(WEB);
    let settings = config(json!({"nodePortAddresses": ["192.0.2.0/24"]}));
    let mut proxy = Proxy::start(&node, &source, &settings);
    becomes(&node, &["10.96.0.80:80", "192.0.2.11:30080", "192.0.2.200:80"]);
    proxy.wait_until_says("synced");
    let told = proxy.said("kube-ipvs0 is no dummy device but a veth: it is used all the same");
    assert_eq!(told.len(), 1, "{}", proxy.log());
    let link = || node.run("ip -d link show dev kube-ipvs0; ip -o address show dev kube-ipvs0");
    let before = link();
    assert!(before.contains("veth") && before.contains("10.96.0.80/32"), "{before}");
    proxy.signal(Signal::TERM);
    proxy.wait(PATIENCE);
    let cleaned = node.attempt("exec ipvs-proxy cleanup");
    assert_eq!(cleaned.status.code(), Some(1));
    let told = String::from_utf8_lossy(&cleaned.stderr).into_owned();
    assert!(told.contains("the device of this name is no dummy device but a veth"), "{told}");
    assert_eq!(link(), before);
}

#[test]
fn the_dummy_device_and_its_addresses_come_back_without_a_comparison() {
    let node = Node::conformance("device-removed");
    let source = Source::manifests();
    source.replace_all(WEB);
    // The next comparison of everything is an hour away.
    let settings = json!({
        "ipvs": {"syncPeriod": "1h", "minSyncPeriod": "100ms"},
        "nodePortAddresses": ["192.0.2.0/24"],
    });
    let proxy = Proxy::start(&node, &source, &config(settings));
    becomes(&node, &["10.96.0.80:80", "192.0.2.11:30080", "192.0.2.200:80"]);
    let addresses = || node.run("ip -o -4 address show dev kube-ipvs0 2>/dev/null || true");
    let both = || {
        let found = addresses();
        (found.contains("10.96.0.80/32") && found.contains("192.0.2.200/32")).then_some(())
    };
    until(PATIENCE, both).expect("both addresses stand");

    for tampering in [
        "ip address del 10.96.0.80/32 dev kube-ipvs0",
        "ip link del kube-ipvs0",
        "ip address flush dev kube-ipvs0",
        "ip link set kube-ipvs0 name elsewhere && ip link del elsewhere",
    ] {
        let told = proxy.said("others have changed the kernel").len();
        node.run(tampering);
        assert!(until(PATIENCE, both).is_some(), "{tampering}: {}", addresses());
        // A few a minute are logged.
        let is_told =
            || (told > 0 || !proxy.said("others have changed the kernel").is_empty()).then_some(());
        assert!(until(PATIENCE, is_told).is_some(), "{tampering}: {}", proxy.log());
    }

    // The proxy's own changes are not reported as those of others.
    let told = proxy.said("others have changed the kernel").len();
    for _ in 0..5 {
        source.replace_all(HEADLESS);
        becomes(&node, &[]);
        source.replace_all(WEB);
        until(PATIENCE, both).expect("both addresses stand");
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(proxy.said("others have changed the kernel").len(), told, "{}", proxy.log());
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

#[test]
fn what_a_comparison_finds_changed_is_one_line_with_numbers_and_names() {
    let node = Node::conformance("told");
    let source = Source::manifests();
    source.replace_all(WEB);
    let settings = json!({"ipvs": {"syncPeriod": "2s"}, "nodePortAddresses": ["192.0.2.0/24"]});
    let proxy = Proxy::start(&node, &source, &config(settings));
    let all = ["10.96.0.80:80", "192.0.2.11:30080", "192.0.2.200:80"];
    becomes(&node, &all);
    proxy.wait_until_says("synced");
    node.run("ipvsadm -D -t 10.96.0.80:80; ipvsadm -A -t 192.0.2.11:6443 -s rr");
    proxy.wait_until_says("others have changed the kernel");
    becomes(&node, &all);
    let lines = proxy.said("others have changed the kernel");
    let one = lines.iter().find(|line| line.contains("add virtual server 10.96.0.80:80/tcp"));
    assert!(one.is_some_and(|line| line.contains("virtual_server")), "{lines:?}");
    let others =
        "no set of this proxy names: 192.0.2.11:6443/tcp; name their networks in ipvs.excludeCIDRs";
    assert_eq!(proxy.said(others).len(), 1, "{}", proxy.log());
}
