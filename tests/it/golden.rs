//! Compares `ipvs-proxy plan` with what kube-proxy made of the same objects.
//!
//! Takes every folder of `tests/golden`. Returns the differences in lines that the proxy owns. A
//! plan does not know foreign state, so that is removed from the recording first. Does not skip a
//! case.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::recorded::{Case, Step};

/// The recorded node's interface addresses.
const ADDRESSES: &str = "\
lo 127.0.0.1/8
lo ::1/128
eth0 192.0.2.11/24
eth0 2001:db8:1::11/64
eth1 198.51.100.11/24
";

#[test]
fn plan_equals_every_recorded_step() {
    let cases = Case::all();
    assert!(cases.len() >= 50, "only {} cases found", cases.len());
    let mut differences = String::new();
    for case in &cases {
        let description = case.description();
        let config = tempfile::NamedTempFile::new().expect("a file");
        fs::write(config.path(), description["config"].to_string()).expect("the config is written");
        for step in case.steps() {
            differences.push_str(&compare(step, config.path(), &description["prepare"]));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// The lines in which the plan of a step and its recording differ.
fn compare(step: &Step, config: &Path, prepare: &Value) -> String {
    let output = tempfile::tempdir().expect("a folder");
    let (addresses, objects) = (output.path().join("addresses"), output.path().join("objects"));
    fs::write(&addresses, ADDRESSES).expect("addresses are written");
    fs::write(&objects, step.objects()).expect("objects are written");
    let run = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"))
        .arg("plan")
        .args(["--manifests".as_ref(), objects.as_os_str()])
        .args(["--config".as_ref(), config.as_os_str()])
        .args(["--addresses".as_ref(), addresses.as_os_str()])
        .args(["--output".as_ref(), output.path().as_os_str()])
        .output()
        .expect("plan runs");
    assert!(
        run.status.success(),
        "{}: {}",
        step.folder().display(),
        String::from_utf8_lossy(&run.stderr)
    );
    let mut differences = String::new();
    for name in ["ipvs.txt", "ipset.txt", "iptables.txt", "ip6tables.txt", "addrs.txt"] {
        let planned = fs::read_to_string(output.path().join(name)).expect(name);
        let mut planned: Vec<_> = planned.lines().map(String::from).collect();
        let mut recorded: Vec<_> = step
            .text(name)
            .lines()
            .filter(|line| is_ours(name, line) && !is_prepared(name, line, prepare, &planned))
            .map(String::from)
            .collect();
        sort_unordered(&mut planned);
        sort_unordered(&mut recorded);
        if recorded != planned {
            let diff = similar::TextDiff::from_slices(
                &recorded.iter().map(String::as_str).collect::<Vec<_>>(),
                &planned.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .iter_all_changes()
            .filter(|change| change.tag() != similar::ChangeTag::Equal)
            .map(|change| format!("{}{}\n", change.tag(), change.value()))
            .collect::<String>();
            differences.push_str(&format!("--- {}/{name}\n{diff}", step.folder().display()));
        }
    }
    differences
}

/// Sorts the rules of the chain whose order is arbitrary upstream.
fn sort_unordered(lines: &mut [String]) {
    let is_loose = |line: &String| line.starts_with("-A KUBE-IPVS-OUT-FILTER ");
    for rules in lines.chunk_by_mut(|a, b| is_loose(a) && is_loose(b)) {
        rules.sort_unstable();
    }
}

/// True for a virtual server that was made before the proxy started, and that the proxy did not
/// touch.
fn is_prepared(name: &str, line: &str, prepare: &Value, planned: &[String]) -> bool {
    let service: Vec<_> = line.split(' ').skip(1).take(2).collect();
    let service = format!(" {} ", service.join(" "));
    let made = |command: &Value| {
        command.as_str().is_some_and(|command| {
            command.starts_with("ipvsadm -A") && format!("{command} ").contains(&service)
        })
    };
    name == "ipvs.txt"
        && !planned.iter().any(|line| line.contains(&service))
        && prepare.as_array().into_iter().flatten().any(made)
}

/// True for lines that a plan can have: everything except foreign chains, rules and sets.
fn is_ours(name: &str, line: &str) -> bool {
    match name {
        "ipset.txt" => line.split(' ').nth(1).is_some_and(|set| set.starts_with("KUBE-")),
        "iptables.txt" | "ip6tables.txt" => {
            let built_in = [":FORWARD", ":INPUT", ":OUTPUT", ":POSTROUTING", ":PREROUTING"];
            line.starts_with('*')
                || line.starts_with(":KUBE-")
                || line.starts_with("-A KUBE-")
                || built_in.iter().any(|chain| line.starts_with(chain))
                || line.contains("-j KUBE-")
        }
        _ => true,
    }
}

#[test]
fn no_step_repeats_what_the_step_before_has() {
    for case in Case::all() {
        for step in case.steps() {
            let repeated = step.repeated();
            assert!(repeated.is_empty(), "{}: {repeated:?}", step.folder().display());
        }
    }
}
