//! The recorded cases on a real kernel: the running binary goes through all steps of each.
//!
//! In: every folder of `tests/golden`; objects from an API server, in some cases from a folder of manifests
//! too. Out: a diff of whatever is not byte for byte as kube-proxy left it. At the end a second run of the
//! proxy has to find nothing to do. Never: a case passed over.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::canonical::{Dumps, Kernel};
use crate::node::{Namespace, Node};
use crate::proxy::{Proxy, Source};

/// A test for each case of a source, and the list of them.
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
        foreign_rules
        headless_and_externalname
        hints_zone
        internal_local
        kube_system_dns
        lb_pending
        node_labels_change
        proxy_name_label
        readiness
        scheduler_lc
        scheduler_sed
        scheduler_sh
        scheduler_wrr
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
        hints_zone
        internal_local
        lb_pending
        node_labels_change
        readiness
        scheduler_sh
        slices_odd
    }
}

#[test]
fn every_recorded_case_is_replayed() {
    let recorded = folders(Path::new("tests/golden"));
    let names: Vec<_> = recorded.iter().map(|case| test_name(case)).collect();
    assert_eq!(names, from_the_api_server::LISTED);
    let also: Vec<_> = recorded
        .iter()
        .enumerate()
        .filter(|(place, case)| place % 3 == 0 || folders(case).len() > 1)
        .map(|(_, case)| test_name(case))
        .collect();
    assert_eq!(also, from_manifests::LISTED);
}

fn test_name(case: &Path) -> String {
    case.file_name().unwrap().to_str().unwrap().replace('-', "_")
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// How long it is watched that settled state stays so.
const STILLNESS: Duration = Duration::from_secs(1);

fn replay(name: &str, source: impl FnOnce(&Namespace) -> Source) {
    let case = Path::new("tests/golden").join(name.replace('_', "-"));
    let description = fs::read_to_string(case.join("case.yaml")).unwrap();
    let description: Value = serde_saphyr::from_str(&description).unwrap();
    let (config, steps) = (&description["config"], folders(&case));

    let node = Node::conformance(name);
    for command in description["prepare"].as_array().into_iter().flatten() {
        node.run(command.as_str().unwrap());
    }
    let kernel = Kernel::of(&node);
    let source = source(&node);
    let mut running = None;
    for step in &steps {
        println!("{}", step.display());
        source.replace_all(&objects(step));
        let proxy = running.get_or_insert_with(|| Proxy::start(&node, &source, config));
        kernel.becomes(&Dumps::recorded(step));
        let changes = proxy.changes();
        thread::sleep(STILLNESS);
        assert_eq!(proxy.changes(), changes, "settled state is changed");
    }

    println!("after a restart");
    let mut proxy = running.unwrap();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait(Duration::from_secs(1)).code(), Some(0));
    let proxy = Proxy::start(&node, &source, config);
    proxy.wait_until_says("nothing to change");
    assert_eq!(proxy.changes(), [""; 0]);
    kernel.is(&Dumps::recorded(steps.last().unwrap()));
}

fn objects(step: &Path) -> String {
    fs::read_to_string(step.join("objects.yaml")).unwrap()
}
