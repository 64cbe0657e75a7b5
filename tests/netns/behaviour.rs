//! Tests the running proxy in abnormal situations.
//!
//! Takes an API server that is away, invalid objects and files, missing rights, an early death, and
//! a kernel that another program changes. Checks the kernel state afterwards, the log, and how the
//! process ends. Does not check how the proxy gets there.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::apiserver::ApiServer;
use crate::canonical::{Dumps, Kernel, virtual_servers};
use crate::case::Case;
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, replace, until, until_at};

#[test]
fn without_an_api_server_nothing_changes_until_there_is_one() {
    let node = Node::conformance("unreachable");
    let kernel = Kernel::of(&node);
    let untouched = kernel.dumps();
    let case = Case::named("dualstack");
    let step = &case.steps()[0];
    let server = node.enter(ApiServer::start);
    server.replace_all(&step.objects());
    server.stop();
    let source = Source::ApiServer(server);
    let proxy = Proxy::start(&node, &source, &config(json!({})));

    proxy.wait_until_says("trying again until it works");
    thread::sleep(Duration::from_secs(5));
    kernel.is(&untouched);
    assert_eq!(proxy.said("trying again until it works").len(), 1);

    let Source::ApiServer(server) = &source else { unreachable!() };
    node.enter(|| server.restart());
    kernel.becomes(&Dumps::recorded(step));
    assert_eq!(proxy.said("over after ").len(), 1);
}

#[test]
fn an_api_server_that_vanishes_without_a_word_is_noticed_within_45_s_over_http1_too() {
    let node = Node::conformance("vanished");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    server.behave(|behaviour| behaviour.http2 = false);
    server.put(&(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    let _proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);

    let port = server.address().port();
    let open = || node.run(&format!("ss -Htn state established dport = :{port}")).lines().count();
    assert!(open() >= 3, "a connection for each watch");
    node.run(&format!("iptables -I INPUT -p tcp --dport {port} -j DROP"));
    node.run(&format!("iptables -I INPUT -p tcp --sport {port} -j DROP"));
    let begun = Instant::now();
    // The time of the emulated machine's clock, with a reserve for its programs.
    let limit = Duration::from_secs(60);
    until_at(&node, limit, || (open() == 0).then_some(())).expect("all are given up");
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}: by a reset", begun.elapsed());

    node.run(&format!("iptables -D INPUT -p tcp --dport {port} -j DROP"));
    node.run(&format!("iptables -D INPUT -p tcp --sport {port} -j DROP"));
    server.put(&slice("a", "10.244.1.2"));
    serves(&node, &[("10.96.0.1", "10.244.1.2")]);
}

#[test]
fn a_file_that_does_not_parse_keeps_its_last_state_and_hides_no_other_file() {
    let node = Node::conformance("unparsable");
    let source = Source::manifests();
    let Source::Manifests(folder) = &source else { unreachable!() };
    let (a, b) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
    replace(&a, &(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    replace(&b, &(service("b", "10.96.0.2") + &slice("b", "10.244.1.2")));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.1.1"), ("10.96.0.2", "10.244.1.2")]);

    let broken = service("a", "10.96.0.1") + "metadata: [\n";
    replace(&a, &broken);
    proxy.wait_until_says(&format!("{}: line {}", a.display(), broken.lines().count()));
    replace(&b, &(service("b", "10.96.0.2") + &slice("b", "10.244.1.3")));
    serves(&node, &[("10.96.0.1", "10.244.1.1"), ("10.96.0.2", "10.244.1.3")]);

    replace(&a, &(service("a", "10.96.0.1") + &slice("a", "10.244.1.4")));
    serves(&node, &[("10.96.0.1", "10.244.1.4"), ("10.96.0.2", "10.244.1.3")]);
}

#[test]
fn invalid_objects_are_reported_once_and_hinder_no_others() {
    let node = Node::conformance("invalid");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    let replaced = |text: String, old: &str, new: &str| {
        assert!(text.contains(old), "{text}");
        text.replace(old, new)
    };
    server.put(&(service("good", "10.96.0.1") + &slice("good", "10.244.1.1")));
    server.put(&replaced(service("port", "10.96.0.2"), "\"port\": 80", "\"port\": 0"));
    server.put(&replaced(service("address", "10.96.0.3"), "10.96.0.3", "10.96.0.300"));
    server.put(&replaced(service("protocol", "10.96.0.4"), "TCP", "QUIC"));
    server.put(&replaced(service("family", "10.96.0.5"), "IPv4", "IPv6"));
    server.put(
        &replaced(slice("good", "10.244.1.2"), "good-1", "good-2").replace("10.244.1.2", "::1"),
    );
    server.put(&replaced(slice("good", "10.244.1.3"), "good-1", "good-3").replace("8080", "70000"));
    server.put(
        "{apiVersion: v1, kind: Service, metadata: {name: nulls, namespace: shop}, \
         spec: {clusterIP: 10.96.0.6, clusterIPs: null, ports: null, externalIPs: null}}",
    );
    server.put(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: \
         nulls, namespace: shop, labels: {kubernetes.io/service-name: good}}, endpoints: null, ports: null}",
    );
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    server.put(&slice("good", "10.244.1.9"));
    server.end_watches();
    serves(&node, &[("10.96.0.1", "10.244.1.9")]);

    for (object, field) in [
        ("Service shop/port", "spec.ports[0].port"),
        ("Service shop/address", "spec.clusterIP"),
        ("Service shop/protocol", "spec.ports[0].protocol"),
        ("Service shop/family", "spec.clusterIP"),
        ("EndpointSlice shop/good-2", "endpoints[0].addresses[0]"),
        ("EndpointSlice shop/good-3", "ports[0].port"),
    ] {
        let said = proxy.said(&format!("{object}: "));
        assert_eq!(said.len(), 1, "{object}: {said:?}");
        assert!(said[0].contains(field), "{said:?}");
    }
    assert_eq!(proxy.said("shop/nulls"), [""; 0]);
}

#[test]
fn an_unknown_scheduler_ends_it_before_anything_is_done() {
    let node = Node::conformance("scheduler");
    let kernel = Kernel::of(&node);
    let untouched = kernel.dumps();
    let source = Source::api_server(&node);
    source.replace_all(&(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    let config = config(json!({"ipvs": {"scheduler": "nosuch"}}));
    let mut proxy = Proxy::start(&node, &source, &config);
    assert_eq!(proxy.wait(Duration::from_secs(20)).code(), Some(1));
    kernel.is(&untouched);
    assert_eq!(proxy.said("ERROR").len(), 1);
    assert_eq!(proxy.said("`modprobe ip_vs_nosuch`").len(), 1);
}

#[test]
fn without_rights_it_ends_with_one_line() {
    let node = Node::conformance("rights");
    let kernel = Kernel::of(&node);
    let untouched = kernel.dumps();
    let source = Source::manifests();
    source.replace_all(&(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    let mut proxy = Proxy::start_without_rights(&node, &source, &config(json!({})));
    assert_eq!(proxy.wait(Duration::from_secs(20)).code(), Some(1));
    kernel.is(&untouched);
    assert_eq!(proxy.said("").len(), 1);
    assert_eq!(proxy.said("CAP_NET_ADMIN").len(), 1);
}

#[test]
fn a_first_round_that_is_killed_and_killed_again_ends_like_an_undisturbed_one() {
    let mut objects = String::new();
    for number in 0..500u16 {
        let [high, low] = number.to_be_bytes();
        let name = format!("s{number}");
        objects += &service(&name, &Ipv4Addr::new(10, 96, 1 + high, low).to_string());
        objects += &slice(&name, &Ipv4Addr::new(10, 244, 1 + high, low).to_string());
    }
    let source = Source::manifests();
    source.replace_all(&objects);
    let config = config(json!({}));

    let undisturbed = Node::conformance("undisturbed");
    let wanted = {
        let kernel = Kernel::of(&undisturbed);
        let proxy = Proxy::start(&undisturbed, &source, &config);
        proxy.wait_until_says("synced");
        kernel.dumps()
    };

    let node = Node::conformance("killed");
    let kernel = Kernel::of(&node);
    for stage in ["add virtual server", "add entry", "write rules", "add address", "/tcp -> "] {
        let mut proxy = Proxy::start(&node, &source, &config);
        proxy.wait_until_says(stage);
        proxy.signal(Signal::KILL);
        proxy.wait(Duration::from_secs(5));
        println!("killed at {stage}, its round finished: {}", !proxy.said("synced").is_empty());
    }
    let _proxy = Proxy::start(&node, &source, &config);
    kernel.becomes(&wanted);
}

#[test]
fn what_another_hand_changed_is_repaired_at_the_next_comparison() {
    let case = Case::named("dualstack");
    let step = &case.steps()[0];
    let wanted = Dumps::recorded(step);
    let node = Node::conformance("tampered");
    let kernel = Kernel::of(&node);
    let source = Source::manifests();
    source.replace_all(&step.objects());
    let proxy = Proxy::start(&node, &source, &config(json!({"ipvs": {"syncPeriod": "2s"}})));
    kernel.becomes(&wanted);

    for (what, tampering) in [
        (
            "things are taken away",
            "ipvsadm -D -t 10.96.0.50:80
             ipvsadm -d -t [fd00:10:96::50]:80 -r [fd00:10:244:1::5]:8080
             ip address del 10.96.0.1/32 dev kube-ipvs0
             ipset del KUBE-CLUSTER-IP 10.96.0.1,tcp:443
             iptables -t nat -D PREROUTING -m comment --comment 'kubernetes service portals' \
                 -j KUBE-SERVICES
             ip6tables -F KUBE-FORWARD",
        ),
        (
            "things are added and altered",
            "ipvsadm -A -t 10.96.0.50:81
             ipvsadm -a -t 10.96.0.1:443 -r 10.244.1.9:80 -m
             ipvsadm -e -t 10.96.0.50:80 -r 10.244.1.5:8080 -m -w 7
             ipvsadm -E -t [fd00:10:96::60]:80 -s lc
             ip address add 10.96.9.9/32 dev kube-ipvs0
             ip address add 10.99.9.9/24 dev kube-ipvs0
             ipset add KUBE-CLUSTER-IP 10.96.9.9,tcp:80
             iptables -A KUBE-FORWARD -s 192.0.2.99 -j DROP
             ip6tables -t nat -I KUBE-SERVICES -s 2001:db8::99 -j RETURN",
        ),
        ("the device is gone", "ip link del kube-ipvs0"),
    ] {
        println!("{what}");
        let changes = proxy.changes().len();
        node.run(&format!("set -e\n{tampering}"));
        kernel.becomes(&wanted);
        assert!(proxy.changes().len() > changes);
    }
}

#[test]
fn a_change_overtakes_a_long_first_round() {
    const SERVICES: u16 = 2000;
    let node = Node::conformance("overtaken");
    let source = Source::manifests();
    let Source::Manifests(folder) = &source else { unreachable!() };
    let list = |objects: Vec<String>| {
        let json = |text: &String| -> Value {
            serde_json::from_str(text.trim_end_matches("---\n")).expect("a document is JSON")
        };
        let items: Vec<Value> = objects.iter().map(json).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    };
    let many = (0..SERVICES).flat_map(|number| {
        let [high, low] = number.to_be_bytes();
        let name = format!("s{number}");
        [
            service(&name, &format!("10.96.{}.{low}", high + 1)),
            slice(&name, &format!("10.244.{}.{low}", high + 1)),
        ]
    });
    replace(&folder.path().join("many.json"), &list(many.collect()));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_says("add address 10.96.1.");
    let late = vec![service("late", "10.97.0.1"), slice("late", "10.244.99.1")];
    replace(&folder.path().join("late.json"), &list(late));
    proxy.wait_until_says("synced");

    let changes = proxy.changes();
    let late = changes.iter().position(|change| change.contains("10.97.0.1:80/tcp -> "));
    let last = changes.iter().rposition(|change| change.contains("/tcp -> "));
    assert!(late.expect("it is served") < last.expect("the others are too"));
    // A listing skips some virtual servers while those of other namespaces come and go.
    let count = || node.run("ipvsadm -Ln | grep -c 'rr *$' || true").trim().to_owned();
    let all_stand = || (count() == (SERVICES + 1).to_string()).then_some(());
    until(PATIENCE, all_stand).expect("every Service is served");
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

#[test]
fn a_destination_on_a_dead_node_keeps_its_connections_for_the_short_limit_only() {
    let node = Node::conformance("dead");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    let other = |ready: &str| {
        document(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "node2"},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
    };
    let on_node2 = |address: &str| {
        let mut slice: Value = serde_json::from_str(slice("a", address).trim_end_matches("---\n"))
            .expect("a document is JSON");
        slice["endpoints"][0]["nodeName"] = "node2".into();
        document(&slice)
    };
    server.put(&(service("a", "10.96.0.1") + &on_node2("10.244.2.1") + &other("True")));
    let limit = "--ipvs-unreachable-node-termination-timeout=1s";
    let proxy = Proxy::start_with(&[limit], &node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.2.1")]);

    let count = || node.run("ipvsadm -Ln | grep -c 'Masq  *0 ' || true").trim().to_owned();
    let dies: [&dyn Fn(); 2] =
        [&|| server.put(&other("Unknown")), &|| server.delete("Node", "", "node2")];
    for (turn, dies) in dies.into_iter().enumerate() {
        server.put(&other("True"));
        // Nothing answers; IPVS waits for an answer longer than this test takes.
        let client = node.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
        client.set_nonblocking(true).unwrap();
        let frontend: SocketAddr = "10.96.0.1:80".parse().unwrap();
        drop(client.connect(&frontend.into()));
        let endpoint = format!("10.244.2.{}:8080", turn + 1);
        let is_known = || node.run("ipvsadm -Lnc").contains(&endpoint).then_some(());
        until(PATIENCE, is_known).expect("the connection is known");

        server.put(&on_node2(&format!("10.244.2.{}", turn + 2)));
        until(PATIENCE, || (count() == "1").then_some(())).expect("it drains");
        thread::sleep(Duration::from_secs(4));
        assert_eq!(count(), "1", "{}", node.run("ipvsadm -Ln"));
        dies();
        until(Duration::from_secs(3), || (count() == "0").then_some(())).expect("it has gone");
    }
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

/// Waits until these virtual servers on port 80, with one destination each, are the only ones.
pub(crate) fn serves(node: &Namespace, wanted: &[(&str, &str)]) {
    let wanted: String = wanted
        .iter()
        .map(|(address, endpoint)| {
            format!("-A -t {address}:80 -s rr\n-a -t {address}:80 -r {endpoint}:8080 -m -w 1\n")
        })
        .collect();
    let wanted = virtual_servers(&wanted);
    let found = || virtual_servers(&node.run("ipvsadm -Sn"));
    if until_at(node, PATIENCE, || (found() == wanted).then_some(())).is_none() {
        assert_eq!(found(), wanted);
    }
}

/// Returns the document of a Service of one port in the namespace `shop`.
pub(crate) fn service(name: &str, address: &str) -> String {
    document(&json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "web", "protocol": "TCP", "port": 80}],
        },
    }))
}

/// Returns the document of a Service's EndpointSlice with one endpoint.
pub(crate) fn slice(service: &str, address: &str) -> String {
    document(&json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "web", "protocol": "TCP", "port": 8080}],
    }))
}

pub(crate) fn document(object: &Value) -> String {
    format!("{object:#}\n---\n")
}
