//! Tests of the crate against a real kernel and the `conntrack` tool.
//!
//! Each test runs in its own network namespace, so that tests see neither each other nor the host. They need
//! `CAP_NET_ADMIN` over it: run the binary as root, or under `unshare -rn`. The `conntrack` program creates
//! flows and lists those that are left.
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

use conntrack_netlink::{Conntrack, Family, Flow, Protocol, Selection};
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

/// Returns the arguments of `conntrack -I` for an entry from a client's port to `to`, answered by `by`.
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

/// Returns the destinations of the entries that the tool lists.
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
    // The kernel computes identifiers from the tuple and other values, and may compute the same one again.
    let mut other = new[0];
    other.id = other.id.map(|id| id ^ 1);
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

    // The zone applies to the original direction only.
    let other = self::entry(Protocol::UDP, 4444, (service, 53), (server, 53));
    conntrack(&format!("{other} --orig-zone 9"));
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    let zoned: Vec<_> = flows.iter().filter(|flow| flow.zone == 9).copied().collect();
    assert_eq!((flows.len(), zoned.len()), (2, 1));
    assert_eq!(wire.delete(&zoned).expect("a batch"), [Ok(())]);
    assert!(!conntrack("-L -p udp").contains("zone-orig=9"));
    assert_eq!(listed(Family::Inet, Protocol::UDP).len(), 1);
}

/// Creates an entry for each of these ports with one call of the tool.
fn fill(entries: impl Iterator<Item = String>) {
    let mut script = String::new();
    for entry in entries {
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
}

#[test]
fn two_thousand_flows_go_in_one_batch() {
    let mut wire = fresh_namespace();
    let (to, by) = (("10.96.0.10", 53), ("10.244.1.2", 53));
    fill((10_000..12_000).map(|port| entry(Protocol::UDP, port, to, by)));
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    assert_eq!(flows.len(), 2000);
    let results = wire.delete(&flows[..1999]).expect("a batch");
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(listed(Family::Inet, Protocol::UDP).len(), 1);
}

/// Returns the current memory of the process and its peak since the last call, in KiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let of = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    let found = (of("VmRSS"), of("VmHWM"));
    // Writing 5 resets the peak (`Documentation/filesystems/proc.rst`).
    std::fs::write("/proc/self/clear_refs", "5").expect("clear_refs");
    found
}

/// Runs in a separate process, because other tests use memory too.
#[test]
fn a_large_table_is_looked_at_in_the_memory_of_one_datagram() {
    const CHILD: &str = "CONNTRACK_NETLINK_LARGE_TABLE";
    if std::env::var_os(CHILD).is_none() {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "a_large_table_is_looked_at_in_the_memory_of_one_datagram"])
            .env(CHILD, "1")
            .output()
            .expect("this program again");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut wire = fresh_namespace();
    let (to, by) = (("10.96.0.10", 53), ("10.244.1.2", 53));
    let ports = 5_000..35_000_u16;
    fill(ports.clone().map(|port| entry(Protocol::UDP, port, to, by)));
    let selection = Selection::new(Family::Inet, Protocol::UDP);
    // The first listing allocates what every listing needs.
    wire.fold(&selection, || (), |(), _| ()).expect("a listing");
    let (before, _) = memory();
    let count = wire.fold(&selection, || 0, |count, _| *count += 1).expect("a listing");
    let (_, peak) = memory();
    assert_eq!(count, ports.len());
    assert!(peak - before < 1024, "{before} KiB before, {peak} KiB at most");
    assert_eq!(wire.flows(Family::Inet, Protocol::UDP).expect("a listing").len(), ports.len());
    let (_, peak) = memory();
    assert!(peak - before > 4096, "the measure sees nothing: {before} KiB, {peak} KiB");
}

#[test]
fn the_mark_of_a_flow_is_read_and_chosen_by() {
    let mut wire = fresh_namespace();
    let [service, _, server] = addresses(Family::Inet);
    for (port, mark) in [(4321, 0), (4322, 0x4000), (4323, 0x4001), (4324, 0x8000)] {
        let entry = entry(Protocol::UDP, port, (service, 53), (server, 53));
        conntrack(&format!("{entry} --mark {mark}"));
    }
    let all = Selection::new(Family::Inet, Protocol::UDP);
    let mut ports = |selection: &Selection| {
        let push =
            |ports: &mut Vec<_>, flow: Flow| ports.push((flow.original.source.port(), flow.mark));
        let mut found = wire.fold(selection, Vec::new, push).expect("a listing");
        found.sort_unstable();
        found
    };
    assert_eq!(ports(&all.with_mark(0x4000, 0x4000)), [(4322, 0x4000), (4323, 0x4001)]);
    assert_eq!(ports(&all.with_mark(0, u32::MAX)), [(4321, 0)]);
    assert_eq!(ports(&all).len(), 4);
}

#[test]
fn what_a_rule_has_translated_is_told() {
    let mut wire = fresh_namespace();
    let [service, _, server] = addresses(Family::Inet);
    let plain = entry(Protocol::UDP, 4321, (service, 53), (server, 53));
    conntrack(&plain);
    conntrack(
        "-I -p udp -s 192.0.2.1 -d 198.51.100.1 --sport 5000 --dport 53 -n 203.0.113.1 -t 600",
    );
    conntrack(
        "-I -p udp -s 192.0.2.1 -d 198.51.100.2 --sport 5000 --dport 53 -g 203.0.113.2 -t 600",
    );
    let flows = wire.flows(Family::Inet, Protocol::UDP).expect("a listing");
    let translated = |to: &str| {
        let flow = flows.iter().find(|flow| flow.original.destination.ip().to_string() == to);
        let translated = flow.expect("it is listed").translated;
        (translated.source, translated.destination)
    };
    assert_eq!(translated(service), (false, false));
    assert_eq!(translated("198.51.100.1"), (true, false));
    assert_eq!(translated("198.51.100.2"), (false, true));
}
