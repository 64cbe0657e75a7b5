//! Tests two instances in one network namespace: a second proxy and a cleanup find the first one
//! and stop.
//!
//! Takes a running binary, and others beside it, in its namespaces and in those of another
//! container. Checks the exit code and the one line of the others, and that the kernel state stays.
//! The lock does not outlive its process.

use std::process::Output;

use rustix::process::Signal;
use serde_json::json;

use crate::behaviour::{serves, service, slice};
use crate::canonical::Kernel;
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config};

/// A command prefix that runs a program as in another container of the same pod or host: with
/// processes and mounts of its own.
const ELSEWHERE: &str = "unshare --mount --pid --fork --mount-proc";

fn objects() -> String {
    service("a", "10.96.0.1") + &slice("a", "10.244.1.1")
}

/// Returns a node that a running proxy serves.
fn served() -> (Namespace, Source, Proxy) {
    let node = Node::conformance("lock");
    let source = Source::manifests();
    source.replace_all(&objects());
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    proxy.wait_until_says("synced");
    (node, source, proxy)
}

/// Returns the one line of a command that has to fail.
fn refused(node: &Namespace, command: &str) -> String {
    let output: Output = node.attempt(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command}: {said}");
    let mut errors = said.lines().filter(|line| line.contains("in this network namespace already"));
    let error = errors.next().unwrap_or_else(|| panic!("{command}: {said}")).to_owned();
    assert_eq!(errors.next(), None, "{said}");
    error
}

#[test]
fn a_second_proxy_and_a_cleanup_leave_a_running_one_alone() {
    let (node, source, mut proxy) = served();
    let Source::Manifests(folder) = &source else { unreachable!() };
    let kernel = Kernel::of(&node);
    let standing = kernel.dumps();
    let folder = folder.path().display();
    let run = format!("ipvs-proxy --hostname-override=node1 --manifests {folder}");
    let first = format!("process {} runs ipvs-proxy", proxy.id());
    for command in [run.as_str(), "ipvs-proxy cleanup", "ipvs-proxy --cleanup"] {
        let said = refused(&node, &format!("exec {command}"));
        assert!(said.contains(&first), "{command}: {said}");
        let said = refused(&node, &format!("exec {ELSEWHERE} {command}"));
        assert!(said.contains("a process in another container"), "{command}: {said}");
    }
    assert!(refused(&node, "exec ipvs-proxy cleanup").contains("cleanup --force"));
    let output = node.attempt("exec ipvs-proxy cleanup --dry-run");
    assert_eq!(output.status.code(), Some(0), "it changes nothing");
    kernel.is(&standing);
    assert_eq!(proxy.said("ERROR"), [""; 0]);

    // Another network namespace has a kernel state of its own.
    let other = Node::conformance("lock-other");
    let beside = Proxy::start(&other, &source, &config(json!({})));
    serves(&other, &[("10.96.0.1", "10.244.1.1")]);
    drop(beside);

    // A process that is killed leaves no lock.
    proxy.signal(Signal::KILL);
    proxy.wait(PATIENCE);
    let mut again = Proxy::start(&node, &source, &config(json!({})));
    again.wait_until_says("nothing to change");
    kernel.is(&standing);

    let output = node.attempt("exec ipvs-proxy cleanup --force");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("removed virtual server 10.96.0.1"));
    again.signal(Signal::TERM);
    assert_eq!(again.wait(PATIENCE).code(), Some(0));
}

/// Any user can take a name. One who cannot program the kernel must not prevent a proxy from
/// starting.
#[test]
fn a_name_that_another_user_has_taken_keeps_no_proxy_from_its_work() {
    let node = Node::conformance("lock-misused");
    let squatter = node.spawn(
        "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all -- \
         socat ABSTRACT-LISTEN:ipvs-proxy.io/lock,fork,unix-tightsocklen=1 SYSTEM:cat",
    );
    let listens = || node.run("ss -xl").contains("@ipvs-proxy.io/lock").then_some(());
    assert!(crate::proxy::until(PATIENCE, listens).is_some(), "{}", squatter.output());
    let source = Source::manifests();
    source.replace_all(&objects());
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    proxy.wait_until_says("of user 65534 has taken the name of the lock and is no proxy");
    proxy.wait_until_says("synced");
    let kernel = Kernel::of(&node);
    let standing = kernel.dumps();
    let said = refused(&node, "exec ipvs-proxy cleanup");
    assert!(said.contains("another process runs ipvs-proxy"), "{said}");
    // A container that does not share the file of the lock.
    let apart = "unshare --mount sh -c 'mount -t tmpfs tmpfs /run && exec ipvs-proxy cleanup'";
    let output = node.attempt(&format!("exec {apart}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("whether a proxy runs is not known"), "{said}");
    kernel.is(&standing);
}
