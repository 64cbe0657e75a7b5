//! Compares `dump` with the kernel's own tools: virtual servers, connections, sets and addresses.
//!
//! Takes a node that the running binary programs. Compares the JSON form with the output of
//! `ipvsadm`, `ipset`, `iptables-save` and `ip`. The dump does not change anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, 'fd00:10:96::80']
  ipFamilies: [IPv4, IPv6]
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, nodePort: 30053}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
endpoints: [{addresses: [10.244.2.2]}, {addresses: [10.244.2.3]}]
";

fn dump(node: &Namespace, arguments: &str) -> (Value, String) {
    let output = node.attempt(&format!("exec ipvs-proxy dump -o json {arguments}"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

fn list<'a>(dump: &'a Value, field: &str) -> &'a Vec<Value> {
    dump[field].as_array().unwrap()
}

fn place(of: &Value) -> String {
    let address: std::net::IpAddr = of["address"].as_str().unwrap().parse().unwrap();
    let port = u16::try_from(of["port"].as_u64().unwrap()).unwrap();
    std::net::SocketAddr::new(address, port).to_string()
}

/// Returns lines with the columns of `ipvsadm -Ln`.
fn as_ipvsadm(dump: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for frontend in list(dump, "frontends") {
        let protocol = frontend["protocol"].as_str().unwrap();
        let mut head =
            format!("{protocol} {} {}", place(frontend), frontend["scheduler"].as_str().unwrap());
        if let Some(seconds) = frontend["affinity"]["timeoutSeconds"].as_u64() {
            head += &format!(" persistent {seconds}");
        }
        for found in list(frontend, "destinations") {
            let numbers = ["weight", "activeConnections", "inactiveConnections"];
            let numbers = numbers.map(|field| found[field].to_string()).join(" ");
            lines.insert(format!("{head} -> {} Masq {numbers}", place(found)));
        }
        lines.insert(head);
    }
    lines
}

fn of_ipvsadm(printed: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mut head = String::new();
    for line in printed.lines().skip(3) {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.starts_with("->") {
            lines.insert(format!("{head} {line}"));
        } else {
            lines.insert(line.clone());
            head = line;
        }
    }
    lines
}

#[test]
fn a_dump_is_what_the_kernels_own_tools_print_with_names() {
    let node = Node::conformance("dump");
    let source = Source::manifests();
    source.replace_all(OBJECTS);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("here.sock");
    let proxy =
        Proxy::start_with_own(&json!({"localSocket": socket}), &node, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    node.run("ipvsadm -A -t 172.31.0.5:80 -s wlc");
    // Nothing answers. One connection stays; another one keeps its destination draining.
    node.attempt("socat -T1 - TCP:10.96.0.80:80,connect-timeout=1 </dev/null");
    node.attempt("socat -T1 - TCP:192.0.2.11:30080,connect-timeout=1 </dev/null");
    source.replace_all(
        &OBJECTS.replace("[{addresses: [10.244.2.2]}, {addresses: [10.244.2.3]}]", "[]"),
    );
    let drains = || node.run("ipvsadm -Ln").contains("Masq    0").then_some(());
    assert!(until(PATIENCE, drains).is_some());

    let at = format!("--socket {}", socket.display());
    let (found, said) = dump(&node, &at);
    assert_eq!(said, "");
    assert_eq!(found["namesFrom"], "agent");
    assert_eq!(as_ipvsadm(&found), of_ipvsadm(&node.run("ipvsadm -Ln")));
    let destinations: Vec<_> = list(&found, "frontends")
        .iter()
        .flat_map(|frontend| list(frontend, "destinations"))
        .collect();
    assert!(!destinations.is_empty());
    for destination in destinations {
        assert_eq!(destination["draining"], true, "{destination}");
        let count = |field: &str| destination[field].as_u64().unwrap();
        let connections = count("activeConnections") + count("inactiveConnections");
        assert_ne!(connections, 0, "{destination}");
    }
    names_are_right(&found);
    sets_rules_and_addresses_are_right(&node, &found);

    let table = node.run(&format!("ipvs-proxy dump {at}"));
    assert!(table.contains("shop/web:http") && table.contains("draining"), "{table}");

    drop(proxy);
    let Source::Manifests(manifests) = &source else { panic!() };
    let (again, said) = dump(&node, &format!("{at} --manifests {}", manifests.path().display()));
    assert_eq!(again["namesFrom"], "manifests");
    assert!(
        said.contains(&format!("no names from a running proxy: {}", socket.display())),
        "{said}"
    );
    assert_eq!(again["frontends"], found["frontends"]);
    let (nameless, said) = dump(&node, &at);
    assert_eq!(nameless["namesFrom"], "nobody");
    assert!(said.contains("frontends are without names"), "{said}");
    assert!(list(&nameless, "frontends").iter().all(|frontend| frontend["service"].is_null()));
}

const NOBODY: &str =
    "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --";

/// This holds even if the modes of the socket and its folder allow another user in.
#[test]
fn another_user_is_told_nothing_and_not_believed() {
    let node = Node::conformance("dump-others");
    let source = Source::manifests();
    source.replace_all(OBJECTS);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("here.sock");
    let proxy =
        Proxy::start_with_own(&json!({"localSocket": socket}), &node, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    node.run(&format!("chmod 777 {} {}", socket.display(), folder.path().display()));
    let ask = format!("printf names | socat -T30 - UNIX-CONNECT:{}", socket.display());
    assert!(node.run(&ask).contains("\"shop\""));
    let told = node.run(&format!("{NOBODY} sh -c '{ask} 2>/dev/null; true'"));
    assert_eq!(told, "");

    let other = folder.path().join("other.sock");
    let liar = node
        .spawn(&format!("{NOBODY} socat UNIX-LISTEN:{},fork SYSTEM:'echo {{}}'", other.display()));
    assert!(until(PATIENCE, || other.exists().then_some(())).is_some(), "{}", liar.output());
    let (found, said) = dump(&node, &format!("--socket {}", other.display()));
    assert_eq!(found["namesFrom"], "nobody");
    assert!(said.contains("user 65534, who listens there, is neither root"), "{said}");
}

fn names_are_right(dump: &Value) {
    for frontend in list(dump, "frontends") {
        let port = match (place(frontend).as_str(), frontend["port"].as_u64()) {
            ("172.31.0.5:80", _) => {
                assert!(frontend["service"].is_null(), "{frontend}");
                continue;
            }
            (_, Some(80 | 30080)) => "http",
            _ => "dns",
        };
        let service = json!({"namespace": "shop", "name": "web", "port": port});
        assert_eq!(frontend["service"], service, "{frontend}");
    }
}

fn sets_rules_and_addresses_are_right(node: &Namespace, dump: &Value) {
    let mut entries = Vec::new();
    for set in list(dump, "sets") {
        let name = set["name"].as_str().unwrap();
        assert_eq!(set["used"], list(set, "entries").len());
        assert_eq!(set["limit"], 65_536);
        entries.extend(
            list(set, "entries")
                .iter()
                .map(|entry| format!("add {name} {}", entry.as_str().unwrap())),
        );
    }
    entries.sort();
    let saved = node.run("ipset save");
    let mut wanted: Vec<_> = saved.lines().filter(|line| line.starts_with("add ")).collect();
    wanted.sort_unstable();
    assert_eq!(entries, wanted);
    assert_eq!(list(dump, "sets").len(), saved.lines().count() - wanted.len());

    for (save, family) in [("iptables-save", "IPv4"), ("ip6tables-save", "IPv6")] {
        let saved = node.run(save);
        let rules = list(dump, "chains").iter().filter(|chain| chain["family"] == family);
        let rules: usize = rules.map(|chain| list(chain, "rules").len()).sum();
        assert_eq!(rules, saved.lines().filter(|line| line.starts_with("-A KUBE-")).count());
        let jumps = list(dump, "jumps").iter().filter(|jump| jump["family"] == family).count();
        assert_eq!(
            jumps,
            saved
                .lines()
                .filter(|line| line.starts_with("-A ") && !line.starts_with("-A KUBE-"))
                .count()
        );
    }
    let shown = node.run("ip -o address show dev kube-ipvs0");
    let shown: Vec<_> = shown.lines().map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    for address in list(&dump["device"], "addresses") {
        let address = address.as_str().unwrap();
        assert!(shown.iter().any(|shown| shown.split('/').next() == Some(address)), "{address}");
    }
    assert_eq!(list(&dump["device"], "addresses").len(), shown.len());
}
