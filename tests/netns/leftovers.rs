//! Tests that the running binary removes what kube-proxy's other modes have left, and replaces sets
//! that are too small.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::node::{Family, Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};

/// Returns the rules of one Service in iptables mode, and some that are not kube-proxy's.
fn iptables_mode(family: Family) -> String {
    let (service, pod, icmp) = match family {
        Family::V4 => ("10.96.0.80", "10.244.1.2:8080", "icmp-port-unreachable"),
        Family::V6 => ("fd00:10:96::80", "[fd00:10:244:1::2]:8080", "icmp6-port-unreachable"),
    };
    format!(
        "*mangle
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
:MINE - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-NODEPORTS -p tcp -m tcp --dport 31000 -j ACCEPT
-A KUBE-SERVICES -d {service} -p udp -m comment --comment \"test/none has no endpoints\" -j REJECT --reject-with {icmp}
-A MINE -j KUBE-NODEPORTS
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-BBBBBBBBBBBBBBBB - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-SERVICES -d {service} -p tcp -m tcp --dport 80 -j KUBE-SVC-BBBBBBBBBBBBBBBB
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-BBBBBBBBBBBBBBBB -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination {pod}
COMMIT
"
    )
}

#[test]
fn a_node_that_was_in_another_mode_keeps_nothing_of_it() {
    let node = Node::conformance("leftovers");
    node.feed("iptables-restore", &iptables_mode(Family::V4));
    node.feed("ip6tables-restore", &iptables_mode(Family::V6));
    node.feed(
        "nft -f -",
        "add table ip kube-proxy\nadd table ip6 kube-proxy\nadd table ip others\n",
    );
    let source = Source::manifests();
    source.replace_all(&service("web", 1));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_says("synced");

    for save in ["iptables-save", "ip6tables-save"] {
        let saved = node.run(save);
        let is_of_another_mode = |line: &&str| {
            [
                "KUBE-SVC-",
                "KUBE-SEP-",
                "KUBE-EXTERNAL-SERVICES",
                "KUBE-PROXY-CANARY",
                "has no endpoints",
            ]
            .iter()
            .any(|word| line.contains(word))
                || line.contains("--ctstate NEW") && line.contains("-j KUBE-PROXY-FIREWALL")
        };
        let left: Vec<_> = saved.lines().filter(is_of_another_mode).collect();
        assert_eq!(left, [""; 0], "{save}");
        // Chains of kubelet, those of other programs, and the chain that other programs use.
        for kept in [
            "KUBE-IPTABLES-HINT",
            "KUBE-KUBELET-CANARY",
            ":KUBE-FIREWALL",
            "-A INPUT -j KUBE-FIREWALL",
        ] {
            assert!(saved.contains(kept), "{save}: {kept}");
        }
        assert!(saved.contains("-A MINE -j KUBE-NODEPORTS") && saved.contains(":KUBE-NODEPORTS"));
        assert!(saved.contains("-A INPUT -m comment --comment \"kube-proxy firewall rules\""));
    }
    assert_eq!(proxy.said("could not remove filter KUBE-NODEPORTS of iptables mode").len(), 2);
    let tables = node.run("nft list tables");
    assert!(!tables.contains("kube-proxy") && tables.contains("table ip others"), "{tables}");
}

#[test]
fn entries_that_no_service_asks_for_go_whatever_they_are() {
    let node = Node::conformance("entries");
    node.feed(
        "ipset restore",
        "create KUBE-CLUSTER-IP hash:ip,port
add KUBE-CLUSTER-IP 10.96.0.80,icmp:8/0
add KUBE-CLUSTER-IP 10.96.0.80,136:1000
add KUBE-CLUSTER-IP 10.96.0.80,47:0
add KUBE-CLUSTER-IP 10.96.0.80,udp:1000
create KUBE-6-LOOP-BACK hash:ip,port,ip family inet6
add KUBE-6-LOOP-BACK fd00::1,icmpv6:128/0,fd00::1
create KUBE-LOAD-BALANCER-SOURCE-CIDR hash:ip,port,net
add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.7,tcp:80,198.51.100.0/24 nomatch
add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.7,tcp:80,198.51.100.9 nomatch
add KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.7,47:0,198.51.100.0/24
",
    );
    let source = Source::manifests();
    source.replace_all(
        "apiVersion: v1
kind: Service
metadata: {name: web, namespace: test}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports: [{port: 80}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}
",
    );
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    let entries = |set: &str| node.run(&format!("ipset save {set} | sed -n 's/^add //p'"));
    assert_eq!(entries("KUBE-CLUSTER-IP"), "KUBE-CLUSTER-IP 10.96.0.80,tcp:80\n");
    assert_eq!(entries("KUBE-6-LOOP-BACK"), "");
    assert_eq!(
        entries("KUBE-LOAD-BALANCER-SOURCE-CIDR"),
        "KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.7,tcp:80,198.51.100.0/24\n"
    );
}

#[test]
fn a_set_grows_beyond_its_limit_and_every_entry_is_there() {
    const LIMIT: usize = 300;
    let node = Node::conformance("grow");
    // A set as an earlier proxy may have left it, with room for few entries.
    node.run(&format!("ipset create KUBE-CLUSTER-IP hash:ip,port family inet maxelem {LIMIT}"));
    let source = Source::manifests();
    source.replace_all(&service("few", 200));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    assert_eq!(header(&node, "KUBE-CLUSTER-IP"), "maxelem 300");

    source.replace_all(&service("many", 1000));
    let count = "ipset list KUBE-CLUSTER-IP | grep -c tcp:";
    let entries = || node.run(count).trim().parse::<usize>().unwrap();
    assert!(until(PATIENCE, || (entries() == 1000).then_some(())).is_some(), "{}", entries());
    assert_eq!(header(&node, "KUBE-CLUSTER-IP"), "maxelem 1024");
    assert!(!node.run("ipset list -n").contains("GROWING"));
    // The rules still refer to the set by its name.
    let rules = node.run("iptables-save -t nat");
    assert!(rules.contains("--match-set KUBE-CLUSTER-IP dst,dst"), "{rules}");
    node.run("ipset test KUBE-CLUSTER-IP 10.96.0.80,tcp:1999");
}

#[test]
fn more_entries_than_a_set_holds_by_default_are_all_there() {
    const SERVICES: u16 = 6;
    const PORTS: u16 = 100;
    const PODS: u16 = 110;
    let node = Node::conformance("many");
    let source = Source::manifests();
    let objects: Vec<Value> =
        (0..SERVICES).flat_map(|number| local_service(number, PORTS, PODS)).collect();
    source.replace_all(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    let patience = 4 * PATIENCE;
    assert!(until(patience, || proxy.log().contains("synced").then_some(())).is_some());

    let count = |command: &str| node.run(command).trim().parse::<u16>().unwrap();
    let entries = node.run("ipset list KUBE-LOOP-BACK | grep -c tcp:");
    assert_eq!(entries.trim(), (u32::from(SERVICES * PORTS) * u32::from(PODS)).to_string());
    assert_eq!(header(&node, "KUBE-LOOP-BACK"), "maxelem 131072");
    let last = format!("10.96.1.{}:{}", SERVICES - 1, PORTS - 1 + 1000);
    assert_eq!(count(&format!("ipvsadm -Ln -t {last} | grep -c Masq")), PODS);
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

/// Returns a Service with this many ports and endpoints on this node, and its EndpointSlices.
fn local_service(number: u16, ports: u16, pods: u16) -> Vec<Value> {
    let name = format!("s{number}");
    let ports = |first: u16| {
        let port = move |at| json!({"name": format!("p{at}"), "port": first + at});
        (0..ports).map(port).collect::<Vec<_>>()
    };
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "test"},
        "spec": {"clusterIP": format!("10.96.1.{number}"), "ports": ports(1000)},
    });
    let endpoint =
        |pod: u16| json!({"addresses": [format!("10.244.1.{}", pod + 2)], "nodeName": "node1"});
    let pods: Vec<Value> = (0..pods).map(endpoint).collect();
    let slice = |(at, pods): (usize, &[Value])| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-{at}"),
                "namespace": "test",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": pods,
            "ports": ports(2000 + 1000 * number),
        })
    };
    let slices: Vec<Value> = pods.chunks(100).enumerate().map(slice).collect();
    [vec![service], slices].concat()
}

fn header(node: &Namespace, set: &str) -> String {
    node.run(&format!("ipset list -t {set} | grep -o 'maxelem [0-9]*'")).trim().to_owned()
}

/// Returns a Service with this many ports from 1000 on, without endpoints.
fn service(name: &str, ports: usize) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: test}}\n\
         spec:\n  clusterIP: 10.96.0.80\n  ports:\n"
    );
    for port in 1000..1000 + ports {
        writeln!(text, "  - {{name: p{port}, port: {port}}}").unwrap();
    }
    text
}
