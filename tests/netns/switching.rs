//! Tests the switch from kube-proxy to this proxy on a running node, and the cleanup.
//!
//! Takes the state of every recorded case, restored from its dumps, and the same objects. Checks
//! that the binary logs no change, and that the kernel's dumps stay as recorded. No virtual server,
//! destination or address may be removed, not even briefly. `golden.rs` tests the other direction:
//! this proxy leaves the same state as kube-proxy.

use std::thread;

use rustix::process::Signal;

use crate::canonical::Kernel;
use crate::case::{Case, Step};
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source};
use crate::upstream;

/// The number of nodes that are switched at once.
const AT_ONCE: usize = 2;

#[test]
fn what_kube_proxy_left_in_every_recorded_case_is_adopted_without_a_change() {
    let cases = Case::all();
    thread::scope(|scope| {
        for at in 0..AT_ONCE {
            let share = cases.iter().skip(at).step_by(AT_ONCE);
            scope.spawn(move || share.for_each(switch));
        }
    });
}

fn switch(case: &Case) {
    let name = case.test_name();
    let node = Node::conformance("switch");
    let kernel = Kernel::of(&node);
    let steps = case.steps();
    let last = steps.last().unwrap();
    upstream::leave(last, &node);
    let source = Source::manifests();
    let mut proxy = adopt(&node, case, last, &source);
    assert_eq!(proxy.changes(), [""; 0], "{name}");
    kernel.is(&last.dumps());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
    let done = node.run("ipvs-proxy cleanup 2>&1");
    assert!(done.contains("removed device kube-ipvs0\n"), "{name}: {done}");
    nothing_of_ours_is_left(&node, &name);
    println!("{name}: adopted without a change, and cleaned");
}

/// Runs the binary on the present state until it has compared everything.
fn adopt(node: &Namespace, case: &Case, step: &Step, source: &Source) -> Proxy {
    source.replace_all(&step.objects());
    let proxy = Proxy::start(node, source, case.config());
    proxy.wait_until_either_says(&["nothing to change", "synced"]);
    proxy
}

fn nothing_of_ours_is_left(node: &Namespace, name: &str) {
    let left = node.run("ipvsadm -Sn; ipset list -n; iptables-save; ip6tables-save; ip link");
    let is_ours = |line: &&str| line.contains("KUBE-") || line.contains("kube-ipvs0");
    assert_eq!(left.lines().find(is_ours), None, "{name}: {left}");
    let others: &[&str] = match name {
        "exclude_cidrs" => {
            &["-t 10.99.0.9:443 -s sh -p 600", "-t 172.30.0.5:80 -s rr", "-f 7 -s wlc"]
        }
        "foreign_rules" => {
            &["mine\n", ":CNI-X", "-A PREROUTING -j CNI-X", "--dport 22 -j ACCEPT", "MASQ"]
        }
        _ => &[],
    };
    assert!(others.iter().all(|other| left.contains(other)), "{name}: {left}");
    let servers = left.lines().filter(|line| line.starts_with("-A -")).count();
    assert_eq!(servers, if name == "exclude_cidrs" { 3 } else { 0 }, "{name}: {left}");
}

#[test]
fn connections_outlive_the_switch() {
    let case = Case::of_test("clusterip_tcp");
    let node = Node::conformance("switch-connections");
    let steps = case.steps();
    let last = steps.last().unwrap();
    upstream::leave(last, &node);
    let servers = last.virtual_servers();
    let served = servers.lines().find_map(|line| line.strip_prefix("-a -t ")).unwrap();
    let server = served.split(' ').next().unwrap();
    // Nothing answers there, but IPVS keeps a connection of the attempt.
    node.attempt(&format!("socat -T1 - TCP:{server},connect-timeout=1 </dev/null"));
    let connections = || {
        let listed = node.run(&format!("ipvsadm -Lnc | grep {server}"));
        // Without the remaining time.
        listed
            .lines()
            .map(|line| line.split_whitespace().skip(2).collect())
            .collect::<Vec<String>>()
    };
    let before = connections();
    assert_eq!(before.len(), 1, "{before:?}");
    let source = Source::manifests();
    let proxy = adopt(&node, &case, last, &source);
    assert_eq!(proxy.changes(), [""; 0]);
    assert_eq!(connections(), before);
}
