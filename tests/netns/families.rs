//! Tests that the two families fail and recover independently.
//!
//! Takes a node whose programs for one family can be broken. Checks the kernel state of each
//! family, and the answer of the health server. Neither family waits for the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until, until_at};

/// Returns the status of `/healthz`, and whether each family is healthy.
fn health(node: &Namespace) -> Option<(String, Vec<bool>)> {
    let output = node.attempt("curl -s -w ' %{http_code}' http://127.0.0.1:10256/healthz");
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once(' ')?;
    let body: Value = serde_json::from_str(body).ok()?;
    let of = |family: &str| body["status"][family]["healthy"].as_bool();
    Some((status.into(), ["IPv4", "IPv6"].iter().filter_map(|family| of(family)).collect()))
}

fn becomes_healthy(node: &Namespace, status: &str, families: &[bool]) {
    let seen =
        until(PATIENCE, || health(node).filter(|(seen, each)| seen == status && each == families));
    assert!(seen.is_some(), "{:?}", health(node));
}

/// Waits until there are virtual servers at exactly these addresses, each bound.
fn serves_at(node: &Namespace, addresses: &[&str]) {
    let found = until_at(node, PATIENCE, || {
        let servers = node.run("ipvsadm -Sn | grep ^-A; true");
        let bound = node.run("ip -oneline address show dev kube-ipvs0 2>/dev/null; true");
        let is_there = |address: &&str| {
            servers.contains(&format!("{address}:80 "))
                || servers.contains(&format!("[{address}]:80 "))
        };
        let is_bound = |address: &&str| bound.contains(&format!(" {address}/"));
        (servers.lines().count() == addresses.len()
            && addresses.iter().all(|address| is_there(address) && is_bound(address)))
        .then_some(())
    });
    assert!(found.is_some(), "{}", node.run("ipvsadm -Sn; ip address show dev kube-ipvs0"));
}

/// A program that fails like one that cannot get the lock, until it is mended. It prints its
/// version all the same.
struct Breakable {
    folder: TempDir,
}

impl Breakable {
    fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (broken, file) = (folder.path().join("broken"), folder.path().join(program));
        fs::write(&broken, "").unwrap();
        let path = std::env::var("PATH").unwrap();
        let script = format!(
            "#!/bin/sh\n[ -e {} ] && [ \"$1\" != --version ] && {{ echo locked >&2; exit 4; }}\n\
             PATH={path}; exec {program} \"$@\"\n",
            broken.display()
        );
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// Returns the setting of `PATH` with which it is found.
    fn path(&self) -> String {
        format!("PATH={}:{}", self.folder.path().display(), std::env::var("PATH").unwrap())
    }

    fn mend(&self) {
        fs::remove_file(self.folder.path().join("broken")).unwrap();
    }
}

const DUAL_STACK: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  \
    clusterIPs: [10.96.0.1, \"fd00:10:96::1\"]\n  clusterIP: 10.96.0.1\n  ipFamilies: [IPv4, IPv6]\n  \
    ports: [{port: 80, protocol: TCP}]\n";

const SINGLE_STACK: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  \
    clusterIPs: [10.96.0.1]\n  clusterIP: 10.96.0.1\n  ipFamilies: [IPv4]\n  \
    ports: [{port: 80, protocol: TCP}]\n";

/// Returns a configuration with which work is overdue after two seconds.
fn quick() -> Value {
    config(json!({
        "healthzBindAddress": "127.0.0.1:10256",
        "ipvs": {"syncPeriod": "1s", "minSyncPeriod": "0s"},
    }))
}

#[test]
fn a_family_that_fails_at_the_start_is_not_healthy_while_it_is_wanted_and_comes_up_later() {
    let node = Node::conformance("late");
    let breakable = Breakable::new("ip6tables");
    let source = Source::manifests();
    source.replace_all(SINGLE_STACK);
    let proxy = Proxy::start_as(&["env", &breakable.path()], &node, &source, &quick());
    serves_at(&node, &["10.96.0.1"]);
    proxy.wait_until_says("IPv6 cannot be programmed yet");
    // No object of IPv6 is planned.
    until(Duration::from_secs(5), || None::<()>);
    becomes_healthy(&node, "200", &[true, true]);

    source.replace_all(DUAL_STACK);
    becomes_healthy(&node, "503", &[true, false]);
    serves_at(&node, &["10.96.0.1"]);

    breakable.mend();
    serves_at(&node, &["10.96.0.1", "fd00:10:96::1"]);
    assert!(node.run("ip6tables-save -t nat").contains("KUBE-6-CLUSTER-IP"));
    becomes_healthy(&node, "200", &[true, true]);
}

#[test]
fn a_family_whose_rules_cannot_be_listed_leaves_the_other_served_and_healthy() {
    let node = Node::conformance("families");
    let breakable = Breakable::new("ip6tables-save");
    let source = Source::manifests();
    source.replace_all(DUAL_STACK);
    let proxy = Proxy::start_as(&["env", &breakable.path()], &node, &source, &quick());
    serves_at(&node, &["10.96.0.1"]);
    assert!(node.run("iptables-save -t nat").contains("KUBE-CLUSTER-IP"));
    assert!(!node.run("ip6tables-save -t nat").contains("KUBE"));
    assert!(!node.run("ip address show dev kube-ipvs0").contains("fd00:10:96::1"));
    becomes_healthy(&node, "503", &[true, false]);
    assert_eq!(proxy.said("read rules IPv6").len(), 1, "{}", proxy.log());

    breakable.mend();
    serves_at(&node, &["10.96.0.1", "fd00:10:96::1"]);
    assert!(node.run("ip6tables-save -t nat").contains("KUBE-6-CLUSTER-IP"));
    becomes_healthy(&node, "200", &[true, true]);
}
