//! Tests the statements of `docs/rights.md`: which capabilities the binary needs for what.
//!
//! Takes the binary without all but some capabilities. Checks the state of a recorded case, or the
//! one line that says what is missing. The capabilities stay removed even though the program's
//! owner is root.

use std::fs;

use serde_json::json;

use crate::canonical::Kernel;
use crate::case::Case;
use crate::node::{Namespace, Node};
use crate::proxy::{Proxy, Source, config};

/// Command prefixes that remove all capabilities except the named ones.
const BOTH: &str = "setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all --";
const NET_ADMIN: &str = "setpriv --bounding-set=-all,+net_admin --inh-caps=-all --";
const NOTHING: &str = "setpriv --bounding-set=-all --inh-caps=-all --";
/// A command prefix that runs as a user other than root, with two capabilities.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+net_admin,+net_raw \
                      --ambient-caps=-all,+net_admin,+net_raw --bounding-set=-all,+net_admin,+net_raw --";
/// A command prefix that makes /proc/sys read-only, as in a container that is not privileged.
const READ_ONLY: &str = "unshare --mount sh -c 'mount -o bind /proc/sys /proc/sys && \
                         mount -o remount,bind,ro /proc/sys && exec \"$@\"' --";

fn words(by: &[&str]) -> Vec<String> {
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {}", by.join(" "))])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(Into::into).collect()
}

/// Programs a node by a binary that is started like this, and compares with the recording.
fn programs(node: &Namespace, by: &[&str]) {
    programs_from(&Kernel::of(node), node, by);
}

/// Does the same on a node whose state before is known.
fn programs_from(kernel: &Kernel<'_>, node: &Namespace, by: &[&str]) {
    let case = Case::of_test("nodeport_dualstack");
    let source = Source::manifests();
    let steps = case.steps();
    let last = steps.last().unwrap();
    source.replace_all(&last.objects());
    let words = words(by);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let proxy = Proxy::start_as(&words, node, &source, case.config());
    kernel.becomes(&last.dumps());
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

/// The modules are loaded: the lab's machine does that, as an init container would.
#[test]
fn two_capabilities_are_enough_where_modules_are_loaded() {
    programs(&Node::conformance("rights-two"), &[BOTH]);
}

/// The set match of `iptables` opens a raw socket to write and to list rules, in the nft flavour
/// too.
#[test]
fn without_net_raw_no_service_is_served_unprotected() {
    let node = Node::conformance("rights-admin");
    // A proxy that may not write rules has still set sysctls.
    let kernel = Kernel::of(&node);
    let case = Case::of_test("clusterip_tcp");
    let source = Source::manifests();
    source.replace_all(&case.steps().last().unwrap().objects());
    let words = words(&[NET_ADMIN]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let proxy = Proxy::start_as(&words, &node, &source, case.config());
    proxy.wait_until_says("CAP_NET_RAW is needed");
    // Virtual servers stay empty until their protection is programmed.
    let servers = node.run("ipvsadm -Sn");
    assert!(servers.lines().all(|line| line.starts_with("-A ")), "{servers}");
    assert_eq!(node.run("ip address show dev kube-ipvs0 | grep -c inet; true"), "0\n");
    drop(proxy);
    programs_from(&kernel, &node, &[BOTH]);
    for command in ["cleanup", "dump"] {
        let output = node.attempt(&format!("exec {NET_ADMIN} ipvs-proxy {command}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("CAP_NET_RAW is needed"), "{command}: {said}");
    }
}

#[test]
fn root_is_not_needed() {
    programs(&Node::conformance("rights-nobody"), &[NOBODY]);
}

#[test]
fn proc_sys_need_not_be_writable_once_it_is_as_it_should_be() {
    let node = Node::conformance("rights-again");
    let source = Source::manifests();
    source.replace_all("");
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_either_says(&["synced", "nothing to change"]);
    drop(proxy);
    let proxy = Proxy::start_as(
        &words(&[READ_ONLY, BOTH]).iter().map(String::as_str).collect::<Vec<_>>(),
        &node,
        &source,
        &config(json!({})),
    );
    proxy.wait_until_says("nothing to change failed=0");
    assert_eq!(proxy.changes(), [""; 0]);
    // A setting that a start could not make must not end a process, since it could not start again.
    proxy.reconfigure(&config(json!({"ipvs": {"strictARP": true}})));
    proxy.wait_until_says("the settings in force stay");
    let said = proxy.said("the settings in force stay");
    assert!(said.len() == 1 && said[0].contains("ipvs.strictARP"), "{said:?}");
    proxy.reconfigure(&config(json!({})));
    proxy.wait_until_says("the configuration is again what is in force");
}

/// Forwarding does not need a timeout that another program has changed.
#[test]
fn a_timeout_that_cannot_be_set_is_a_warning_and_services_are_served() {
    let node = Node::conformance("rights-tuned");
    let source = Source::manifests();
    source.replace_all("");
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    proxy.wait_until_either_says(&["synced", "nothing to change"]);
    drop(proxy);
    node.sysctl("net.netfilter.nf_conntrack_tcp_timeout_established", "4321");
    let case = Case::of_test("clusterip_tcp");
    source.replace_all(&case.steps().last().unwrap().objects());
    let wanted =
        json!({"maxPerCore": 0, "tcpEstablishedTimeout": "1h", "tcpCloseWaitTimeout": "0s"});
    let words = words(&[READ_ONLY, BOTH]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let settings = config(json!({"conntrack": wanted}));
    let proxy = Proxy::start_as(&words, &node, &source, &settings);
    proxy.wait_until_says("synced");
    let said = proxy.said("conntrack.tcpEstablishedTimeout: cannot set net/netfilter");
    assert_eq!(said.len(), 1, "{}", proxy.log());
    assert!(said[0].contains("the node's own value stays"), "{said:?}");
    assert_eq!(proxy.said("ERROR"), [""; 0]);
    assert!(node.run("ipvsadm -Sn").contains("-A -t"));
    let now = "cat /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";
    assert_eq!(node.run(now).trim(), "4321");
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let node = Node::conformance("rights-missing");
    let settings = tempfile::NamedTempFile::new().unwrap();
    fs::write(settings.path(), config(json!({})).to_string()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "ipvs-proxy --config {} --manifests {}",
        settings.path().display(),
        folder.path().display()
    );
    for (by, expected) in [
        (vec![NOTHING], "run as root or with CAP_NET_ADMIN"),
        (vec![READ_ONLY, BOTH], "net/ipv4/vs/conntrack"),
    ] {
        let output = node.attempt(&format!("exec {} {run}", by.join(" ")));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.contains(expected), "{by:?}: {said}");
    }
    for command in ["cleanup", "dump"] {
        let output = node.attempt(&format!("exec {NOTHING} ipvs-proxy {command}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("run as root or with CAP_NET_ADMIN"), "{command}: {said}");
    }
}
