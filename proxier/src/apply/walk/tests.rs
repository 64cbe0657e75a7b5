//! Order, and what a failure holds back.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::apply::fake::FakeKernel;
use crate::diff::Flow;
use crate::model::Protocol;
use crate::plan::{Entry, ServerFlags, ServerSettings, SetKey, SetName, VirtualServerKey};

fn key() -> VirtualServerKey {
    VirtualServerKey { protocol: Protocol::Tcp, address: vip(), port: 80 }
}

fn vip() -> IpAddr {
    IpAddr::from([10, 96, 0, 1])
}

fn growth() -> Vec<Change> {
    let set = SetKey { family: Family::V4, name: SetName::ClusterIp };
    let settings = ServerSettings { scheduler: "rr".into(), flags: ServerFlags(0), timeout: 0 };
    vec![
        Change::AddServer(key(), settings),
        Change::AddDestination(key(), SocketAddr::from(([10, 244, 2, 1], 80)), 1),
        Change::AddAddress(vip()),
        Change::AddEntry(set, Entry::AddressPort(vip(), Protocol::Tcp, 80)),
        Change::AddSet(set),
        Change::AddLink,
    ]
}

fn run(faults: impl IntoIterator<Item = usize>) -> (Outcome, FakeKernel) {
    let mut kernel = FakeKernel { faults: faults.into_iter().collect(), ..FakeKernel::default() };
    let outcome = apply(growth(), &mut kernel, &mut Belief::default());
    (outcome, kernel)
}

#[test]
fn protection_comes_before_addresses_and_addresses_before_virtual_servers() {
    let (outcome, kernel) = run([]);
    assert_eq!(outcome.done, 6);
    let lines: Vec<_> = kernel.log.iter().map(|(change, _)| change.to_string()).collect();
    assert_eq!(
        lines,
        [
            "add set KUBE-CLUSTER-IP",
            "add link kube-ipvs0",
            "add entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
            "add address 10.96.0.1",
            "add virtual server 10.96.0.1:80/tcp rr",
            "add destination 10.96.0.1:80/tcp -> 10.244.2.1:80 weight 1",
        ]
    );
}

#[test]
fn an_address_without_its_entry_is_held_back_with_its_virtual_server() {
    let (outcome, kernel) = run([2]);
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(
        outcome.failed[0].to_string(),
        "add entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80: injected fault"
    );
    assert_eq!(outcome.held_back, 3);
    assert!(kernel.state.addresses.is_empty() && kernel.state.servers.is_empty());
}

#[test]
fn a_failed_virtual_server_is_one_failure_not_one_for_each_destination() {
    let (outcome, _) = run([4]);
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(outcome.held_back, 1);
    assert_eq!(outcome.done, 4);
}

#[test]
fn without_the_set_nothing_of_its_family_becomes_reachable() {
    let (outcome, kernel) = run([0]);
    assert!(kernel.state.addresses.is_empty() && kernel.state.servers.is_empty());
    assert!(outcome.failed.iter().any(|f| f.operation == "add set KUBE-CLUSTER-IP"));
}

#[test]
fn what_could_not_be_removed_keeps_its_guard() {
    let set = SetKey { family: Family::V4, name: SetName::IpvsIps };
    let removal = || {
        vec![
            Change::RemoveEntry(set, Entry::Address(vip())),
            Change::RemoveServer(key()),
            Change::RemoveAddress(vip()),
        ]
    };
    let mut kernel = FakeKernel::default();
    kernel.state.sets.entry(set).or_default().insert(Entry::Address(vip()));
    for fault in [0, 1] {
        kernel.faults = [kernel.log.len() + fault].into();
        let outcome = apply(removal(), &mut kernel, &mut Belief::default());
        assert_eq!((outcome.failed.len(), outcome.held_back), (1, 1));
        assert!(!kernel.state.sets[&set].is_empty());
    }
    kernel.faults.clear();
    apply(removal(), &mut kernel, &mut Belief::default());
    assert!(kernel.state.sets[&set].is_empty());
}

#[test]
fn what_other_modes_have_left_stays_while_anything_of_ours_is_missing() {
    let leftovers = Change::RemoveLeftovers(Family::V4);
    for (faults, is_gone) in [(vec![], true), (vec![4], false)] {
        let mut changes = growth();
        changes.push(leftovers.clone());
        let mut kernel =
            FakeKernel { faults: faults.into_iter().collect(), ..FakeKernel::default() };
        apply(changes, &mut kernel, &mut Belief::default());
        assert_eq!(kernel.log.iter().any(|(change, _)| *change == leftovers), is_gone);
    }
}

#[test]
fn flows_are_forgotten_before_their_address_is_a_virtual_server() {
    let key = VirtualServerKey { protocol: Protocol::Udp, ..key() };
    let socket = |address: &str| address.parse::<SocketAddr>().expect("an address");
    let flow = |server: &str| Flow {
        protocol: Protocol::Udp,
        client: socket("10.244.1.9:10000"),
        frontend: socket("10.96.0.1:80"),
        server: socket(server),
        answered: socket("10.244.1.9:10000"),
        id: 1,
        zone: 0,
    };
    let (earlier, right) = (flow("10.96.0.1:80"), flow("10.244.2.1:80"));
    let settings = ServerSettings { scheduler: "rr".into(), flags: ServerFlags(0), timeout: 0 };
    let changes = vec![
        Change::AddServer(key, settings),
        Change::AddDestination(key, right.server, 1),
        Change::AddLink,
        Change::AddAddress(vip()),
    ];
    let mut kernel = FakeKernel { flows: [earlier, right].into(), ..FakeKernel::default() };
    assert_eq!(apply(changes, &mut kernel, &mut Belief::default()).done, 5);
    assert_eq!(kernel.flows, [right].into());
    let log: Vec<_> = kernel.log.iter().map(|(change, _)| change.clone()).collect();
    let at = |wanted: &Change| log.iter().position(|change| change == wanted).expect("it is made");
    assert_eq!(at(&Change::RemoveFlow(Box::new(earlier))), at(&Change::AddAddress(vip())) + 1);
}
