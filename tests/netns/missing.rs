//! Tests nodes that lack something that rules need.
//!
//! Takes a folder of iptables' extensions without some of them (`XTABLES_LIBDIR`), as in a stripped
//! image; the kernel has them all. Checks which Services are served, the rules, and the log.
//! Kernels without the modules are tested by hand, since all tests share one kernel.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::behaviour::{serves, service, slice};
use crate::node::{Family, Lab, Namespace, Node};
use crate::odd_input::with;
use crate::proxy::{PATIENCE, Proxy, Source, config, until_at};
use crate::traffic::{Protocol, Server, ask};

/// A folder of links to all extensions except some.
struct Extensions(TempDir);

impl Extensions {
    fn without(missing: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(system()).unwrap() {
            let name = entry.unwrap().file_name();
            if !missing.iter().any(|missing| *missing == name) {
                symlink(system().join(&name), folder.path().join(&name)).unwrap();
            }
        }
        Self(folder)
    }

    fn install(&self, name: &str) {
        symlink(system().join(name), self.0.path().join(name)).unwrap();
    }

    fn start(&self, node: &Namespace, source: &Source) -> Proxy {
        let config = config(json!({"ipvs": {"syncPeriod": "2s", "minSyncPeriod": "0s"}}));
        let variable = format!("XTABLES_LIBDIR={}", self.0.path().display());
        Proxy::start_as(&["env", &variable], node, source, &config)
    }
}

fn system() -> PathBuf {
    let found = fs::read_dir("/usr/lib").unwrap();
    let folders = found.map(|entry| entry.unwrap().path().join("xtables"));
    let folder = folders.into_iter().find(|folder| Path::exists(folder));
    folder.expect("iptables has a folder of extensions")
}

/// Returns a Service with a cluster IP, an external IP and a load balancer's IP, and one whose load
/// balancer admits no client here.
fn objects(endpoint: &str) -> String {
    let ingress = |ip: &str| json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    let open = with(&service("open", "10.96.0.1"), "spec.externalIPs", json!(["203.0.113.1"]));
    let open = with(&open, "status", ingress("203.0.113.2"));
    let guarded = with(&service("guarded", "10.96.0.2"), "status", ingress("203.0.113.3"));
    let guarded = with(&guarded, "spec.type", json!("LoadBalancer"));
    let guarded = with(&guarded, "spec.loadBalancerSourceRanges", json!(["198.51.100.0/24"]));
    open + &slice("open", endpoint) + &guarded + &slice("guarded", endpoint)
}

#[test]
fn all_is_served_that_needs_no_guard_and_what_comes_later_is_used() {
    let endpoint = "10.244.1.9";
    let open = ["10.96.0.1", "10.96.0.2", "203.0.113.1", "203.0.113.2"];
    let everything = ["10.96.0.1", "10.96.0.2", "203.0.113.1", "203.0.113.2", "203.0.113.3"];
    for (library, feature, word, served) in [
        ("libxt_physdev.so", "-m physdev", "--physdev-is-in", &everything[..]),
        ("libxt_comment.so", "-m comment", "--comment", &everything[..]),
        ("libxt_conntrack.so", "-m conntrack", "--ctstate", &everything[..]),
        ("libipt_REJECT.so", "-j REJECT", "-j REJECT", &everything[..]),
        ("libxt_set.so", "-m set", "--match-set", &open[..]),
    ] {
        let node = Node::conformance("missing");
        let extensions = Extensions::without(&[library]);
        let source = Source::manifests();
        source.replace_all(&objects(endpoint));
        let proxy = extensions.start(&node, &source);
        let served: Vec<_> = served.iter().map(|address| (*address, endpoint)).collect();
        serves_with_empty(&node, &served);
        let rules = || node.run("iptables-save");
        assert!(rules().contains("-j KUBE-SERVICES") && !rules().contains(word), "{}", rules());
        let said = proxy.said(&format!("IPv4: the node has no `{feature}`"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("install the package iptables"), "{said:?}");

        extensions.install(library);
        let is_back = until_at(&node, PATIENCE, || rules().contains(word).then_some(()));
        assert!(is_back.is_some(), "{feature}: {}", proxy.log());
        proxy.wait_until_says(&format!("IPv4: `{feature}` is there now"));
        serves(&node, &everything.map(|address| (address, endpoint)));
        assert!(!rules().contains("PROBE") && !node.run("ipset list -n").contains("PROBE"));
    }
}

/// Waits until exactly these virtual servers have a destination.
fn serves_with_empty(node: &Namespace, wanted: &[(&str, &str)]) {
    let found = || node.run("ipvsadm -Sn");
    let is_so = || {
        let found = found();
        let destination =
            |(address, endpoint): &(&str, &str)| format!("-a -t {address}:80 -r {endpoint}:8080 ");
        (found.matches("-a -t ").count() == wanted.len()
            && wanted.iter().all(|pair| found.contains(&destination(pair))))
        .then_some(())
    };
    assert!(until_at(node, PATIENCE, is_so).is_some(), "{}", found());
}

#[test]
fn without_the_match_of_sets_pods_reach_services_and_nobody_a_guarded_load_balancer() {
    let lab = Lab::new("no-sets");
    let (pod, inside) = (lab.node1.pod(2), lab.node1.pod(3));
    let address = pod.address(Family::V4);
    let _server = Server::start(&pod, Protocol::Tcp, SocketAddr::new(address, 8080), "pod");
    let source = Source::manifests();
    source.replace_all(&objects(&address.to_string()));
    let extensions = Extensions::without(&["libxt_set.so"]);
    let proxy = extensions.start(&lab.node1, &source);
    let endpoint = address.to_string();
    let open = ["10.96.0.1", "10.96.0.2", "203.0.113.1", "203.0.113.2"];
    serves_with_empty(&lab.node1, &open.map(|address| (address, endpoint.as_str())));
    let to = |text: &str| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 80);
    for address in open {
        assert_eq!(ask(&inside, Protocol::Tcp, to(address)).unwrap().server, "pod", "{address}");
    }
    // The endpoint is on this node, so that its answers pass here.
    assert_eq!(ask(&lab.client, Protocol::Tcp, to("203.0.113.1")).unwrap().server, "pod");
    assert!(ask(&lab.client, Protocol::Tcp, to("203.0.113.3")).is_err(), "{}", proxy.log());
    assert!(ask(&inside, Protocol::Tcp, to("203.0.113.3")).is_err());
}
