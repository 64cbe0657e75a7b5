//! The crate against a real kernel and the `conntrack` tool.
//!
//! Each test runs in a network namespace of its own, so that they neither see each other nor the
//! host. They need `CAP_NET_ADMIN` over it: run the binary as root, or under `unshare -rn`. Flows are
//! made by the `conntrack` program, and what is left is read by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use conntrack_netlink::{Conntrack, Family, Flow, Protocol};
use nix::sched::{CloneFlags, unshare};

const KINDS: [(Family, Protocol); 4] = [
    (Family::Inet, Protocol::UDP),
    (Family::Inet6, Protocol::UDP),
    (Family::Inet, Protocol::SCTP),
    (Family::Inet6, Protocol::SCTP),
];

/// Moves this test's thread, and with it its children, into an empty network namespace.
fn fresh_namespace() -> Conntrack {
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare; run under `unshare -rn` or as root");
    Conntrack::open().expect("open")
}

fn conntrack(arguments: &str) -> String {
    let output = Command::new("conntrack").args(arguments.split(' ')).output().expect("conntrack");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "conntrack {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::UDP => "udp",
        Protocol::SCTP => "sctp",
        _ => "tcp",
    }
}

/// An entry, in the words of `conntrack -I`, from a client's port to `to`, answered by `by`.
fn entry(protocol: Protocol, port: u16, to: (&str, u16), by: (&str, u16)) -> String {
    let client = if to.0.contains(':') { "fd00::1" } else { "192.0.2.1" };
    let state = match protocol {
        Protocol::TCP => " --state ESTABLISHED",
        Protocol::SCTP => " --state ESTABLISHED --orig-vtag 1 --reply-vtag 2",
        _ => "",
    };
    format!(
        "-I -p {} -s {client} -d {} --sport {port} --dport {} -r {} -q {client} \
         --reply-port-src {} --reply-port-dst {port} -t 600{state}",
        name(protocol),
        to.0,
        to.1,
        by.0,
        by.1,
    )
}

fn addresses(family: Family) -> [&'static str; 3] {
    match family {
        Family::Inet => ["10.96.0.10", "10.96.0.99", "10.244.1.2"],
        Family::Inet6 => ["fd00:96::10", "fd00:96::99", "fd00:244::2"],
    }
}

/// The destinations of what the tool lists.
fn listed(family: Family, protocol: Protocol) -> Vec<String> {
    let family = match family {
        Family::Inet => "ipv4",
        Family::Inet6 => "ipv6",
    };
    let listing = conntrack(&format!("-L -f {family} -p {}", name(protocol)));
    let mut found: Vec<_> = listing
        .lines()
        .map(|line| {
            let word = |key: &str| {
                let words = line.split_whitespace();
                words.filter_map(|word| word.strip_prefix(key)).next().unwrap_or("?").to_owned()
            };
            format!("{} {}", word("dst="), word("dport="))
        })
        .collect();
    found.sort();
    found
}

fn to(flow: &Flow) -> String {
    format!("{} {}", flow.original.destination.ip(), flow.original.destination.port())
}

#[test]
fn exactly_the_chosen_flows_go() {
    for (family, protocol) in KINDS {
        let mut wire = fresh_namespace();
        let [service, neighbour, server] = addresses(family);
        for (port, destination) in
            [(4321, (service, 2905)), (4322, (neighbour, 2905)), (4323, (service, 9999))]
        {
            conntrack(&entry(protocol, port, destination, (server, 8080)));
        }
        let flows = wire.flows(family, protocol).expect("a listing");
        let mut found: Vec<_> = flows.iter().map(to).collect();
        found.sort();
        assert_eq!(found, listed(family, protocol));
        assert_eq!(found.len(), 3);
        assert!(flows.iter().all(|flow| flow.reply.source.to_string().contains("8080")));

        let chosen: Vec<_> =
            flows.into_iter().filter(|flow| to(flow) == format!("{service} 2905")).collect();
        assert_eq!(wire.delete(&chosen).expect("a batch"), [Ok(())]);
        let left = [format!("{neighbour} 2905"), format!("{service} 9999")];
        let mut left = left.to_vec();
        left.sort();
        assert_eq!(listed(family, protocol), left, "{family:?} {protocol}");
    }
}

#[test]
fn other_protocols_and_families_are_not_listed() {
    let mut wire = fresh_namespace();
    for (family, protocol) in KINDS.into_iter().chain([(Family::Inet, Protocol::TCP)]) {
        let [service, _, server] = addresses(family);
        conntrack(&entry(protocol, 4321, (service, 53), (server, 53)));
    }
    for (family, protocol) in KINDS {
        let flows = wire.flows(family, protocol).expect("a listing");
        assert_eq!(flows.len(), 1, "{family:?} {protocol}");
        assert_eq!((flows[0].protocol, flows[0].family()), (protocol, family));
    }
}

#[test]
fn a_flow_that_is_gone_is_deleted_and_a_newer_one_with_its_addresses_stays() {
    let mut wire = fresh_namespace();
    let [service, _, server] = addresses(Family::Inet);
    let entry = entry(Protocol::UDP, 4321, (service, 53), (server, 53));
    conntrack(&entry);
    let old = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    conntrack("-D -p udp");
    assert_eq!(wire.delete(&old).expect("a batch"), [Ok(())]);
    conntrack(&entry);
    let new = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    // The kernel makes identifiers of the tuple among other things, and may make the same again.
    let other = Flow { id: new[0].id.map(|id| id ^ 1), ..new[0] };
    assert_eq!(wire.delete(&[other]).expect("a batch"), [Ok(())]);
    assert_eq!(listed(Family::Inet, Protocol::UDP), [format!("{service} 53")]);
    assert_eq!(wire.delete(&new).expect("a batch"), [Ok(())]);
    assert_eq!(listed(Family::Inet, Protocol::UDP), [""; 0]);
}

#[test]
fn a_flow_of_a_zone_is_told_from_one_with_the_same_addresses_outside() {
    let mut wire = fresh_namespace();
    let [service, _, server] = addresses(Family::Inet);
    let entry = entry(Protocol::UDP, 4321, (service, 53), (server, 53));
    conntrack(&entry);
    conntrack(&format!("{entry} -w 7"));
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    let zoned: Vec<_> = flows.iter().filter(|flow| flow.zone == 7).copied().collect();
    assert_eq!((flows.len(), zoned.len()), (2, 1));
    assert_eq!(wire.delete(&zoned).expect("a batch"), [Ok(())]);
    assert!(!conntrack("-L -p udp").contains("zone=7"));
    assert_eq!(listed(Family::Inet, Protocol::UDP).len(), 1);

    // A zone of the original direction only.
    let other = self::entry(Protocol::UDP, 4444, (service, 53), (server, 53));
    conntrack(&format!("{other} --orig-zone 9"));
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    let zoned: Vec<_> = flows.iter().filter(|flow| flow.zone == 9).copied().collect();
    assert_eq!((flows.len(), zoned.len()), (2, 1));
    assert_eq!(wire.delete(&zoned).expect("a batch"), [Ok(())]);
    assert!(!conntrack("-L -p udp").contains("zone-orig=9"));
    assert_eq!(listed(Family::Inet, Protocol::UDP).len(), 1);
}

#[test]
fn two_thousand_flows_go_in_one_batch() {
    let mut wire = fresh_namespace();
    let mut script = String::new();
    for port in 10_000..12_000 {
        let entry = entry(Protocol::UDP, port, ("10.96.0.10", 53), ("10.244.1.2", 53));
        writeln!(script, "{entry}").expect("text");
    }
    let mut tool = Command::new("conntrack")
        .args(["-R", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("conntrack");
    tool.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("write");
    assert!(tool.wait().expect("wait").success());
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    assert_eq!(flows.len(), 2000);
    let results = wire.delete(&flows[..1999]).expect("a batch");
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(listed(Family::Inet, Protocol::UDP).len(), 1);
}
