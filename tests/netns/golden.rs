//! Replays the recorded cases on a real kernel: the running binary goes through all steps of each.
//!
//! Takes every folder of `tests/golden`. The objects come from an API server, in some cases from a
//! folder of manifests too. Returns a diff of everything that is not byte for byte as kube-proxy
//! left it. At the end a second run of the proxy must find nothing to change. Does not skip a case.

use std::thread;
use std::time::Duration;

use crate::canonical::Kernel;
use crate::case::{Case, Step};
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, until};
use rustix::process::Signal;

/// Makes a test for each case of a source, and the list of them.
macro_rules! cases {
    ($source:expr; $($case:ident)*) => {
        pub(super) const LISTED: &[&str] = &[$(stringify!($case)),*];
        $(
            #[test]
            fn $case() {
                super::replay(stringify!($case), $source);
            }
        )*
    };
}

mod from_the_api_server {
    cases! { super::Source::api_server;
        adopt_stale
        affinity
        clusterip_no_endpoints
        clusterip_protocols
        clusterip_tcp
        detect_local_interface_prefix
        detect_local_node_cidr
        dualstack
        endpoints_change
        exclude_cidrs
        external_ip_is_node_ip
        external_ips
        foreign_rules
        headless_and_externalname
        hints_zone
        internal_local
        kube_system_dns
        lb_ipmode_proxy
        lb_local
        lb_pending
        lb_source_ranges
        lb_vip
        masquerade_all
        masquerade_bit
        no_cluster_cidr
        node_labels_change
        nodeport
        nodeport_addresses_cidr
        nodeport_addresses_loopback
        nodeport_affinity
        nodeport_dualstack
        nodeport_local
        proxy_name_label
        random_001
        random_002
        random_003
        random_004
        random_005
        random_006
        readiness
        scheduler_lc
        scheduler_sed
        scheduler_sh
        scheduler_wrr
        service_change
        shared_vip
        slices_merge
        slices_odd
        strict_arp
        timeouts
    }
}

/// Every third case, and those of several steps.
mod from_manifests {
    cases! { |_| super::Source::manifests();
        adopt_stale
        affinity
        clusterip_protocols
        detect_local_node_cidr
        endpoints_change
        exclude_cidrs
        foreign_rules
        hints_zone
        internal_local
        lb_local
        lb_source_ranges
        lb_vip
        no_cluster_cidr
        node_labels_change
        nodeport_addresses_cidr
        nodeport_dualstack
        nodeport_local
        random_001
        random_002
        random_003
        random_004
        random_005
        random_006
        readiness
        scheduler_sh
        service_change
        shared_vip
        strict_arp
    }
}

#[test]
fn every_recorded_case_is_replayed() {
    let recorded = Case::all();
    let names: Vec<_> = recorded.iter().map(Case::test_name).collect();
    assert_eq!(names, from_the_api_server::LISTED);
    let also: Vec<_> = recorded
        .iter()
        .enumerate()
        .filter(|(place, case)| place % 3 == 0 || case.steps().len() > 1)
        .map(|(_, case)| case.test_name())
        .collect();
    assert_eq!(also, from_manifests::LISTED);
}

/// The time for which settled state must stay unchanged.
const STILLNESS: Duration = Duration::from_secs(1);

fn replay(name: &str, source: impl FnOnce(&Namespace) -> Source) {
    let case = Case::of_test(name);
    let node = Node::conformance(name);
    case.prepare(&node);
    let kernel = Kernel::of(&node);
    let source = source(&node);
    let mut running = None;
    let steps = case.steps();
    for (place, step) in steps.iter().enumerate() {
        println!("{}", step.folder().display());
        case.advance(&source, steps[..place].last(), step);
        let proxy = running.get_or_insert_with(|| Proxy::start(&node, &source, case.config()));
        kernel.becomes(&step.dumps());
        answers_health_checks(&node, &case, step);
        let changes = proxy.changes();
        thread::sleep(STILLNESS);
        assert_eq!(proxy.changes(), changes, "settled state is changed");
    }

    println!("after a restart");
    let mut proxy = running.unwrap();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(Duration::from_secs(1)).code(), Some(0));
    let proxy = Proxy::start(&node, &source, case.config());
    proxy.wait_until_says("nothing to change");
    assert_eq!(proxy.changes(), [""; 0]);
    let last = steps.last().unwrap();
    kernel.is(&last.dumps());
    answers_health_checks(&node, &case, last);
}

/// Waits until health checks get the answers that were recorded for the step.
fn answers_health_checks(node: &Namespace, case: &Case, step: &Step) {
    let ports = case.health_check_ports();
    if ports.is_empty() {
        return;
    }
    let answers = || ports.iter().map(|port| answer(node, *port)).collect::<String>();
    let recorded = step.health_checks();
    if until(PATIENCE, || (answers() == recorded).then_some(())).is_none() {
        assert_eq!(answers(), recorded);
    }
}

/// Returns the answer at a port in the recorded form: without the time of day.
fn answer(node: &Namespace, port: u64) -> String {
    let place = format!("192.0.2.11:{port}");
    let output = node.attempt(&format!("curl --silent --show-error --include http://{place}/"));
    let text = [output.stdout, output.stderr].concat();
    let mut text = String::from_utf8(text).unwrap().replace('\r', "");
    text += "\n";
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let kept = head.lines().filter(|line| !line.starts_with("Date: "));
    format!("{place}\n{}\n{body}", kept.map(|line| format!("{line}\n")).collect::<String>())
}
