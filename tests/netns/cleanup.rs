//! Tests `cleanup` on a real kernel: this proxy's objects go, others stay, and a second run finds
//! nothing.
//!
//! Takes the state that the running binary left; `switching.rs` cleans that of every recorded case.
//! Compares the kernel's own dumps before and after. Does not use an API server, which may be gone
//! when a node is cleaned.

use std::process::Output;

use rustix::process::Signal;

use crate::canonical::{Dumps, Kernel};
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};

use serde_json::json;

fn cleanup(node: &Namespace, arguments: &str) -> Output {
    node.attempt(&format!("exec ipvs-proxy cleanup {arguments}"))
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Checks that the command has succeeded without a warning. Returns its output.
fn succeeds(output: &Output) -> String {
    let (printed, said) = text(output);
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{printed}");
    printed
}

/// Adds chains, rules, sets and addresses of other programs, of both families.
fn occupy(node: &Namespace) {
    for iptables in ["iptables", "ip6tables"] {
        node.run(&format!(
            "{iptables} -t nat -N CNI-X; {iptables} -t nat -A PREROUTING -j CNI-X
             {iptables} -N KUBE-FIREWALL; {iptables} -A INPUT -j KUBE-FIREWALL
             {iptables} -A INPUT -p tcp --dport 22 -j ACCEPT"
        ));
    }
    node.run(
        "ipset create mine hash:ip; ipset add mine 192.0.2.99; ipset create KUBE-MINE hash:ip
         ip link add d9 type dummy; ip addr add 192.0.2.200/32 dev d9
         ip addr add 172.31.0.5/32 dev d9",
    );
}

/// Virtual servers of other programs: at an address of the node, at an unused address, at a
/// firewall mark, and at a port that is a node port of another protocol.
const OTHERS: &str = "\
-A -t 172.31.0.5:80 -s rr
-a -t 172.31.0.5:80 -r 10.244.1.9:80 -m -w 1
-A -u 10.97.7.7:53 -s rr
-A -f 7 -s wlc
-A -u 192.0.2.11:30080 -s rr
";

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: test}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, 'fd00:10:96::80']
  ipFamilies: [IPv4, IPv6]
  externalIPs: [192.0.2.11, 203.0.113.7]
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: sctp, port: 90, protocol: SCTP, nodePort: 30090}
  loadBalancerSourceRanges: [192.0.2.0/24]
status: {loadBalancer: {ingress: [{ip: 203.0.113.80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: test, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: sctp, port: 9090, protocol: SCTP}]
endpoints: [{addresses: [10.244.1.2], nodeName: node1}, {addresses: [10.244.2.2]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: test, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['fd00:10:244:1::2'], nodeName: node1}]
";

#[test]
fn what_our_proxy_made_goes_and_what_is_others_stays() {
    let node = Node::conformance("cleanup-ours");
    occupy(&node);
    let kernel = Kernel::of(&node);
    node.feed("ipvsadm -R", OTHERS);
    let before = tables(&kernel.dumps());
    node.run("ipvsadm -C");
    program(&node);
    node.feed("ipvsadm -R", OTHERS);

    let standing = tables(&kernel.dumps());
    let planned = succeeds(&cleanup(&node, "--dry-run"));
    assert_eq!(tables(&kernel.dumps()), standing, "a dry run changes nothing");
    for expected in [
        "would remove address 10.96.0.80 of kube-ipvs0\n",
        "would remove address fd00:10:96::80 of kube-ipvs0\n",
        "would remove device kube-ipvs0\n",
        "would remove virtual server 192.0.2.11:30080/tcp\n",
        "would remove virtual server 192.0.2.11:80/tcp\n",
        "would remove virtual server [2001:db8:1::11]:30080/tcp\n",
        "would remove virtual server 198.51.100.11:30090/sctp\n",
        "would remove set KUBE-6-LOAD-BALANCER-SOURCE-CID\n",
        "kept virtual server 172.31.0.5:80/tcp: not ours\n",
    ] {
        assert!(planned.contains(expected), "{expected}: {planned}");
    }
    let done = succeeds(&cleanup(&node, ""));
    assert_eq!(done, planned.replace("would remove", "removed"));
    assert_eq!(tables(&kernel.dumps()), before);
    assert!(!node.run("ip link").contains("kube-ipvs0"));

    let again = succeeds(&cleanup(&node, ""));
    let is_quiet = |line: &str| line.starts_with("kept ") || line == "nothing to remove";
    assert!(again.lines().all(is_quiet), "{again}");
    assert_eq!(tables(&kernel.dumps()), before);
}

#[test]
fn a_cleanup_by_kube_proxys_flag_spares_others_in_what_its_file_excludes() {
    let node = Node::conformance("cleanup-flag");
    program(&node);
    // No set has its port, and its address is on the dummy device.
    node.feed("ipvsadm -R", "-A -t 10.96.0.80:7000 -s rr\n");
    let settings = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                    mode: iptables\nipvs: {excludeCIDRs: [10.96.0.80/32]}\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let path = file.path().display();
    let done = succeeds(&node.attempt(&format!("exec ipvs-proxy --cleanup --config {path}")));
    assert!(done.contains("kept virtual server 10.96.0.80:7000/tcp: not ours"), "{done}");
    assert!(done.contains("removed virtual server 10.96.0.80:80/tcp"), "{done}");
    assert_eq!(node.run("ipvsadm -Sn"), "-A -t 10.96.0.80:7000 -s rr\n");
}

#[test]
fn each_step_that_fails_is_one_line_and_the_others_go_on() {
    let node = Node::conformance("cleanup-fails");
    program(&node);
    node.run("iptables -N MINE; iptables -A MINE -m set --match-set KUBE-CLUSTER-IP dst -j DROP");
    node.run("iptables -t nat -N MINE; iptables -t nat -A MINE -j KUBE-MARK-MASQ");
    let output = cleanup(&node, "");
    let (_, said) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].contains("rules of others lead to nat KUBE-MARK-MASQ"), "{said:#?}");
    assert!(said[1].contains("set KUBE-CLUSTER-IP: rules or sets of others refer to it"));
    assert!(said[2].contains("2 of its steps failed"), "{said:#?}");
    assert_eq!(node.run("ipset list -n"), "KUBE-CLUSTER-IP\n");
    assert_eq!(node.run("ipvsadm -Sn"), "");

    node.run("iptables -F MINE; iptables -t nat -F MINE");
    let done = succeeds(&cleanup(&node, ""));
    assert_eq!(done.lines().count(), 2, "{done}");
    assert_eq!(node.run("ipset list -n"), "");
}

#[test]
fn a_removal_that_was_interrupted_is_taken_up_again() {
    let node = Node::conformance("cleanup-again");
    program(&node);
    node.run("ip link del kube-ipvs0");
    succeeds(&cleanup(&node, ""));
    assert_eq!(node.run("ipvsadm -Sn"), "");
}

/// Makes the running binary program the node, and stops it.
fn program(node: &Namespace) {
    let source = Source::manifests();
    source.replace_all(OBJECTS);
    let mut proxy = Proxy::start(node, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    assert!(until(PATIENCE, || node.run("ipvsadm -Sn").contains(":30090").then_some(())).is_some());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

/// Returns the dumps that a cleanup changes. Sysctls and timeouts stay as they were set.
fn tables(dumps: &Dumps) -> String {
    let files = ["ipvs.txt", "ipset.txt", "iptables.txt", "ip6tables.txt"];
    files.map(|file| dumps.text(file)).concat()
}
