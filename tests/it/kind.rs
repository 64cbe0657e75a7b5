//! Tests the packet cases for a cluster of kind, as far as that is possible without one.
//!
//! Takes the table, `tests/kind`, and programs that replace `docker`, `kind` and `kubectl` and
//! answer as the table says. Returns errors in the table, and whether the script ends as its cases
//! do. Does not send packets to a cluster.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use self::stage::Stage;
use crate::apiserver::port::Kept;
use crate::cases::{Client, Driver, Expect, Kind, Outcome, Way, runs, table};
use crate::manifests::schema;

#[path = "../kind/driver.rs"]
mod driver;
mod stage;

#[test]
fn every_case_is_for_every_driver_or_says_why_not() {
    let mut names = BTreeSet::new();
    for case in table() {
        assert!(names.insert(case.name.clone()), "{} is there twice", case.name);
        assert_eq!(
            case.drivers.len() == Driver::ALL.len(),
            case.because.is_none(),
            "{}",
            case.name
        );
        assert!(!case.drivers.is_empty() && !case.from.is_empty(), "{}", case.name);
        if let Expect::Answers(wanted) = &case.expect {
            let known = wanted.answers.iter().all(|place| case.endpoints.contains(place));
            assert!(known && !wanted.answers.is_empty(), "{}", case.name);
        }
    }
}

/// Checks which cases the table must have in a cluster and in the VM.
#[test]
fn nothing_that_a_service_can_be_is_left_out() {
    for driver in Driver::ALL {
        let runs = runs(driver);
        for kind in [Kind::Tcp4, Kind::Tcp6, Kind::Udp4, Kind::Udp6] {
            let of_kind = || runs.iter().filter(|run| run.kind == kind).map(|run| &run.case);
            for way in [Way::ClusterIp, Way::NodePort, Way::ExternalIp, Way::LoadBalancer] {
                assert!(of_kind().any(|case| case.to == way), "{driver:?}, {kind:?}: {way:?}");
            }
            for client in [Client::Pod, Client::Node, Client::Outside] {
                assert!(of_kind().any(|case| case.from.contains(&client)), "{client:?}");
            }
            for outcome in [Outcome::Stays, Outcome::Refused, Outcome::Dropped] {
                let wanted = Expect::Else(outcome);
                assert!(of_kind().any(|case| case.expect == wanted), "{outcome:?}");
            }
            for field in ["internalTrafficPolicy", "externalTrafficPolicy", "sessionAffinity"] {
                assert!(of_kind().any(|case| case.service.contains_key(field)), "{field}");
            }
        }
    }
}

#[test]
fn every_service_is_what_the_api_knows_and_has_its_own_addresses() {
    let mut addresses = BTreeSet::new();
    let node = "192.0.2.11".parse().unwrap();
    for run in Driver::ALL.into_iter().flat_map(runs) {
        let service = run.service();
        let odd = schema::oddities(&service);
        assert!(odd.is_empty(), "{run}: {odd:?}");
        assert!(run.name().len() <= 63, "{run}");
        for way in [Way::ClusterIp, Way::NodePort, Way::ExternalIp, Way::LoadBalancer] {
            addresses.insert((run.name(), run.at(way, node)));
        }
    }
    let places: BTreeSet<_> = addresses.iter().map(|(_, at)| at).collect();
    assert_eq!(places.len(), addresses.len());
}

#[test]
fn the_workload_is_what_the_api_knows_and_has_what_the_services_select() {
    let text = fs::read_to_string(root().join("tests/kind/workload.yaml")).unwrap();
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    for object in &objects {
        let odd = schema::oddities(object);
        assert!(odd.is_empty(), "{}: {odd:?}", object["kind"]);
    }
    let labels: Vec<_> = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/metadata/labels"))
        .collect();
    for run in runs(Driver::Kind) {
        let selector = run.service()["spec"]["selector"].as_object().unwrap().clone();
        let is_selected = |labels: &&serde_json::Value| {
            selector.iter().all(|(name, value)| labels[name] == *value)
        };
        let selected = labels.iter().copied().filter(is_selected).count();
        assert_eq!(selected, run.case.endpoints.len(), "{run}");
    }
}

/// Runs the whole script. `cargo` is replaced too, so the script runs this test again as its
/// driver.
#[test]
fn the_script_passes_when_every_case_holds() {
    if env::var_os(stage::IS_DRIVER).is_some() {
        let is_success = driver::main() == std::process::ExitCode::SUCCESS;
        std::process::exit(i32::from(!is_success));
    }
    let stage = Stage::build();
    let output = stage.run();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let count = runs(Driver::Kind).len();
    assert!(said.contains(&format!("{count} passed, 0 failed")), "{said}");
    assert_eq!(said.matches(" ... ok\n").count(), count, "{said}");
    let calls = stage.calls();
    for call in [
        "docker build --quiet --file Containerfile --tag ipvs-proxy:latest .",
        "kind create cluster --config ",
        "kind load docker-image ipvs-proxy:latest --name ipvs-proxy",
        "kubectl --context kind-ipvs-proxy apply --kustomize manifests/overlays/kind",
        "kubectl --context kind-ipvs-proxy --namespace cases delete pod echo-here-1 --wait=false",
        "kind delete cluster --name ipvs-proxy",
    ] {
        assert!(calls.contains(call), "{call}:\n{calls}");
    }
}

#[test]
fn the_script_fails_when_cases_do_not_hold() {
    let wrong = [
        ("node-port-local-tcp-ipv6", "echo-elsewhere-1 [fc00::9]:40000"),
        ("external-ip-udp-ipv4", "refused"),
        ("no-endpoints-udp-ipv6", "silent"),
        ("source-ranges-that-shut-out-tcp-ipv4", "echo-here-1 172.18.0.9:40000"),
        ("affinity-tcp-ipv4", "echo-here-1 10.244.1.9:40000\necho-elsewhere-1 10.244.1.9:40000"),
        ("load-balancer-tcp-ipv4", "echo-here-1 172.18.0.9:40000"),
    ];
    for cases in [&wrong[..], &wrong[..1]] {
        let stage = Stage::build();
        for (case, said_instead) in cases {
            stage.say_instead(case, said_instead);
        }
        let output = stage.run();
        let said = text(&output);
        assert!(!output.status.success(), "{said}");
        for (case, _) in cases {
            assert!(said.contains(&format!("{case} ... FAILED: ")), "{case}:\n{said}");
        }
        assert!(said.contains(&format!(" passed, {} failed", cases.len())), "{said}");
        assert!(stage.calls().contains("kind delete cluster"), "{said}");
    }
}

#[test]
fn the_script_fails_when_the_cluster_does_not_come() {
    for program in ["kind create", "kubectl rollout", "docker build"] {
        let stage = Stage::build();
        stage.fail(program);
        let output = stage.run();
        assert!(!output.status.success(), "{program}: {}", text(&output));
        assert!(!text(&output).contains("passed"), "{program}");
    }
}

#[test]
fn without_docker_it_says_so_and_checks_what_needs_none() {
    let stage = Stage::build();
    stage.fail("docker info");
    let output = stage.run();
    let said = text(&output);
    assert!(output.status.success() && said.contains("SKIP: no Docker daemon answers"), "{said}");
    let calls = stage.calls();
    assert!(calls.contains("kubectl kustomize manifests/overlays/kind"), "{calls}");
    assert!(calls.contains("cargo test --quiet --workspace --test it"), "{calls}");
    assert!(!calls.contains("kind create"), "{calls}");
}

/// Runs the client's script over real sockets.
#[test]
fn a_client_tells_answers_refusals_and_silence_apart() {
    let (tcp, udp) = (stage::serve_tcp("echo-here-1"), stage::serve_udp("echo-here-1"));
    for ip in ["127.0.0.1", "::1"] {
        let source = if ip == "::1" { "[::1]:" } else { "127.0.0.1:" };
        for (protocol, port) in [("tcp", tcp), ("udp", udp)] {
            let said = ask(protocol, ip, port, 2);
            let wanted = format!("echo-here-1 {source}");
            assert_eq!(said.lines().filter(|line| line.starts_with(&wanted)).count(), 2, "{said}");
        }
        let closed = Kept::at((ip.parse::<IpAddr>().unwrap(), 0).into());
        assert_eq!(ask("tcp", ip, closed.address().port(), 1), "refused\n");
        // A socket that is connected to one peer receives from no other, but it occupies the port.
        let closed = UdpSocket::bind((ip, 0)).unwrap();
        closed.connect((ip, 9)).unwrap();
        assert_eq!(ask("udp", ip, closed.local_addr().unwrap().port(), 1), "refused\n");
        let (mute, deaf) = (TcpListener::bind((ip, 0)).unwrap(), UdpSocket::bind((ip, 0)).unwrap());
        assert_eq!(ask("tcp", ip, mute.local_addr().unwrap().port(), 1), "silent\n");
        assert_eq!(ask("udp", ip, deaf.local_addr().unwrap().port(), 1), "silent\n");
    }
}

#[test]
fn a_connection_that_is_held_asks_twice() {
    let port = stage::serve_tcp("echo-here-1").to_string();
    let hold = root().join("tests/kind/hold");
    let output = Command::new(hold).args(["::1", &port, "0.1"]).output().unwrap();
    assert_eq!(text(&output), "echo-here-1\necho-here-1\n");
}

fn ask(protocol: &str, ip: &str, port: u16, count: usize) -> String {
    let ask = root().join("tests/kind/ask");
    let words = [protocol, ip, &port.to_string(), &count.to_string(), "1"];
    text(&Command::new(ask).args(words).output().unwrap())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part));
    format!("{out}{err}")
}
