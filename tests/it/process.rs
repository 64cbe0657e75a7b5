//! The binary as a process: exit codes, one line of error, what `plan` prints.
//!
//! In: command lines. Out: the status and both outputs. Never: a kernel; what needs one is in
//! `tests/netns`.

use std::fs;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipvs-proxy")).args(arguments).output().expect("it runs")
}

/// Asserts that the process fails with this code and one line on standard error, which it returns.
fn refusal(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

const MANIFESTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: bad, namespace: shop}
spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: good, namespace: shop}
spec:
  clusterIP: 10.96.0.3
  ports: [{port: 0, name: a}, {port: 80, protocol: ICMP, name: b}, {port: 443, name: c}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: good-1, namespace: shop, labels: {kubernetes.io/service-name: good}}
addressType: IPv4
ports: [{name: c, port: 8443}]
endpoints: [{addresses: ['fd00::1']}, {addresses: null}, {addresses: [10.0.0.4]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: good-2, namespace: shop, labels: {kubernetes.io/service-name: good}}
addressType: IPv4
ports: null
endpoints: null
";

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    fs::write(file.path(), text).expect("it is written");
    file
}

#[test]
fn arguments_that_make_no_sense_exit_with_2() {
    assert!(refusal(2, &["--bogus"]).contains("--bogus"));
    assert!(refusal(2, &["plan"]).contains("--manifests"));
    assert!(refusal(2, &["somewhere"]).contains("somewhere"));
}

#[test]
fn an_unreadable_configuration_exits_with_1_and_names_the_file() {
    let missing = refusal(1, &["--config", "/nowhere/config.yaml"]);
    assert_eq!(
        missing,
        "ipvs-proxy: configuration file /nowhere/config.yaml: No such file or directory (os error 2)"
    );
    let broken = file("kind: [");
    let said = refusal(1, &["--config", &broken.path().to_string_lossy()]);
    assert!(said.contains("line 1") && said.contains(&*broken.path().to_string_lossy()), "{said}");
    assert_eq!(said.matches("unclosed").count(), 1, "{said}");
}

#[test]
fn a_source_that_is_not_there_exits_with_1_before_the_kernel_is_looked_at() {
    assert!(refusal(1, &["--kubeconfig", "/nowhere/kubeconfig"]).contains("/nowhere/kubeconfig"));
    assert!(refusal(1, &["--manifests", "/nowhere/manifests"]).contains("/nowhere/manifests"));
}

#[test]
fn another_proxy_mode_is_refused() {
    assert!(refusal(1, &["--proxy-mode=nftables"]).contains("nftables"));
}

#[test]
fn a_plan_reports_each_bad_object_once_with_its_field_and_keeps_the_rest() {
    let manifests = file(MANIFESTS);
    let output = run(&["plan", "--manifests", &manifests.path().to_string_lossy()]);
    assert!(output.status.success());
    let planned = String::from_utf8_lossy(&output.stdout);
    assert!(planned.contains("-a -t 10.96.0.3:443 -r 10.0.0.4:8443 -m -w 1"), "{planned}");
    assert_eq!(planned.matches("\n-A -t").count(), 1, "{planned}");
    let said = String::from_utf8_lossy(&output.stderr);
    for report in [
        "Service shop/bad: spec.clusterIP: ",
        "Service shop/good: spec.ports[0].port: 0 is not a port",
        "Service shop/good: spec.ports[1].protocol: \"ICMP\"",
        "EndpointSlice shop/good-1: endpoints[0].addresses[0]: \"fd00::1\"",
    ] {
        assert_eq!(said.matches(report).count(), 1, "{report}: {said}");
    }
}

#[test]
fn a_plan_without_an_output_folder_prints_every_part_under_its_heading() {
    let manifests = file(MANIFESTS);
    let output = run(&["plan", "--manifests", &manifests.path().to_string_lossy()]);
    let planned = String::from_utf8_lossy(&output.stdout);
    let headings: Vec<_> = planned.lines().filter(|line| line.starts_with("== ")).collect();
    assert_eq!(
        headings,
        [
            "== ipvs.txt ==",
            "== ipset.txt ==",
            "== iptables.txt ==",
            "== ip6tables.txt ==",
            "== addrs.txt =="
        ]
    );
}

#[test]
fn a_node_without_a_name_cannot_be_planned_for() {
    let manifests = file(MANIFESTS);
    let path = manifests.path().to_string_lossy();
    refusal(1, &["plan", "--manifests", &path, "--hostname-override", " "]);
}

#[test]
fn an_address_file_that_makes_no_sense_is_refused_with_its_line() {
    let manifests = file(MANIFESTS);
    let addresses = file("eth0 192.0.2.1/24\neth0 nonsense\n");
    let said = refusal(
        1,
        &[
            "plan",
            "--manifests",
            &manifests.path().to_string_lossy(),
            "--addresses",
            &addresses.path().to_string_lossy(),
        ],
    );
    assert!(said.contains(":2:"), "{said}");
}
