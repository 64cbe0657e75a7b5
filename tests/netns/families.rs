//! Two families that fail and are well by themselves.
//!
//! In: a node one of whose families has an `iptables-save` that can be broken. Out: what the kernel has of each, and
//! what the health server says. Never: a family that waits for the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until, until_at};

/// The status of `/healthz`, and whether each family is said to be healthy.
fn health(node: &Namespace) -> Option<(String, Vec<bool>)> {
    let output = node.attempt("curl -s -w ' %{http_code}' http://127.0.0.1:10256/healthz");
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once(' ')?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let of = |family: &str| body["status"][family]["healthy"].as_bool();
    Some((status.into(), ["IPv4", "IPv6"].iter().filter_map(|family| of(family)).collect()))
}

#[test]
fn a_family_whose_rules_cannot_be_listed_leaves_the_other_served_and_healthy() {
    let node = Node::conformance("families");
    let folder = tempfile::tempdir().unwrap();
    let (broken, program) = (folder.path().join("broken"), folder.path().join("ip6tables-save"));
    fs::write(&broken, "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let script = format!(
        "#!/bin/sh\n[ -e {} ] && {{ echo locked >&2; exit 4; }}\nPATH={path}; exec ip6tables-save \"$@\"\n",
        broken.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let source = Source::manifests();
    source.replace_all(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIPs: [10.96.0.1, \"fd00:10:96::1\"]\n  \
         clusterIP: 10.96.0.1\n  ipFamilies: [IPv4, IPv6]\n  ports: [{port: 80, protocol: TCP}]\n",
    );
    let config = config(json!({
        "healthzBindAddress": "127.0.0.1:10256",
        "ipvs": {"syncPeriod": "1s", "minSyncPeriod": "0s"},
    }));
    let with_path = format!("PATH={}:{path}", folder.path().display());
    let proxy = Proxy::start_as(&["env", &with_path], &node, &source, &config);
    let servers = |count: usize| {
        let found = until_at(&node, PATIENCE, || {
            (node.run("ipvsadm -Sn | grep -c ^-A; true").trim() == count.to_string()).then_some(())
        });
        assert!(found.is_some(), "{}", node.run("ipvsadm -Sn"));
    };
    servers(1);
    assert!(node.run("ipvsadm -Sn").contains("10.96.0.1:80"));
    assert!(node.run("iptables-save -t nat").contains("KUBE-CLUSTER-IP"));
    assert!(!node.run("ip6tables-save -t nat").contains("KUBE"));
    assert!(!node.run("ip address show dev kube-ipvs0").contains("fd00:10:96::1"));
    let seen = until(PATIENCE, || {
        health(&node).filter(|(status, families)| status == "503" && *families == [true, false])
    });
    assert!(seen.is_some(), "{:?}", health(&node));
    assert_eq!(proxy.said("read rules IPv6").len(), 1, "{}", proxy.log());

    fs::remove_file(&broken).unwrap();
    servers(2);
    assert!(node.run("ip6tables-save -t nat").contains("KUBE-6-CLUSTER-IP"));
    let seen = until(PATIENCE, || {
        health(&node).filter(|(status, families)| status == "200" && *families == [true, true])
    });
    assert!(seen.is_some(), "{:?}", health(&node));
}
