//! Tests of the order of changes and of what a failure holds back.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::apply::fake::FakeKernel;
use crate::diff::{AddressChange, Flow, RulesChange, ServerChange, SetChange};
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
        Change::Server(ServerChange::Add(key(), settings)),
        Change::Server(ServerChange::AddDestination(
            key(),
            SocketAddr::from(([10, 244, 2, 1], 80)),
            1,
        )),
        Change::Address(AddressChange::Add(vip())),
        Change::Set(SetChange::AddEntry(set, Entry::AddressPort(vip(), Protocol::Tcp, 80))),
        Change::Set(SetChange::Create(set)),
        Change::AddDevice,
    ]
}

fn run(faults: impl IntoIterator<Item = usize>) -> (Outcome, FakeKernel) {
    let mut kernel = FakeKernel { faults: faults.into_iter().collect(), ..FakeKernel::default() };
    let outcome = apply(growth(), &mut kernel, &mut KernelCache::default());
    (outcome, kernel)
}

#[test]
fn an_empty_virtual_server_comes_first_and_its_destinations_last() {
    let (outcome, kernel) = run([]);
    assert_eq!(outcome.done, 6);
    let lines: Vec<_> = kernel.log.iter().map(|(change, _)| change.to_string()).collect();
    assert_eq!(
        lines,
        [
            "add set KUBE-CLUSTER-IP",
            "add link kube-ipvs0",
            "add virtual server 10.96.0.1:80/tcp rr",
            "add entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
            "add address 10.96.0.1",
            "add destination 10.96.0.1:80/tcp -> 10.244.2.1:80 weight 1",
        ]
    );
}

#[test]
fn a_virtual_server_without_its_entry_stays_empty() {
    let (outcome, kernel) = run([3]);
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(
        outcome.failed[0].to_string(),
        "add entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80: injected fault"
    );
    assert_eq!(outcome.held_back, 1);
    assert_eq!(kernel.state.servers[&key()].destinations.count(), 0);
}

#[test]
fn a_failed_virtual_server_is_one_failure_not_one_for_each_entry_and_destination() {
    let (outcome, kernel) = run([2]);
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(outcome.held_back, 2);
    assert_eq!(outcome.done, 3);
    assert!(kernel.state.sets.values().all(BTreeSet::is_empty));
}

#[test]
fn without_the_set_nothing_of_its_family_becomes_reachable() {
    let (outcome, kernel) = run([0]);
    assert!(kernel.state.addresses.is_empty() && kernel.state.servers.is_empty());
    assert!(outcome.failed.iter().any(|f| f.operation == "add set KUBE-CLUSTER-IP"));
}

#[test]
fn what_goes_is_empty_before_its_entries_go_and_stands_until_they_have_gone() {
    let of = |name| SetKey { family: Family::V4, name };
    let entry = Entry::AddressPort(vip(), Protocol::Tcp, 80);
    let removal = || {
        vec![
            Change::Set(SetChange::RemoveEntry(of(SetName::IpvsIps), Entry::Address(vip()))),
            Change::Server(ServerChange::Remove(key())),
            Change::Address(AddressChange::Remove(vip())),
            Change::Set(SetChange::RemoveEntry(of(SetName::ClusterIp), entry)),
            Change::Server(ServerChange::RemoveDestination(
                key(),
                SocketAddr::from(([10, 244, 2, 1], 80)),
            )),
        ]
    };
    // The removals in their order. Below, one of them fails and keeps others from being made.
    let [destination, permission, server, address, guard] = [
        "remove destination 10.96.0.1:80/tcp -> 10.244.2.1:80",
        "remove entry KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
        "remove virtual server 10.96.0.1:80/tcp",
        "remove address 10.96.0.1",
        "remove entry KUBE-IPVS-IPS 10.96.0.1",
    ];
    let made = |fault: Option<usize>| {
        let mut kernel =
            FakeKernel { faults: fault.into_iter().collect(), ..FakeKernel::default() };
        apply(removal(), &mut kernel, &mut KernelCache::default());
        let made = kernel.log.iter().filter(|(_, is_made)| *is_made);
        made.map(|(change, _)| change.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(made(None), [destination, permission, server, address, guard]);
    assert_eq!(made(Some(0)), [address, guard]);
    assert_eq!(made(Some(1)), [destination, address, guard]);
    assert_eq!(made(Some(2)), [destination, permission, address, guard]);
    assert_eq!(made(Some(3)), [destination, permission, server]);
}

#[test]
fn what_other_modes_have_left_stays_while_anything_of_ours_is_missing() {
    let legacy_rules = Change::Rules(RulesChange::RemoveLegacy(Family::V4));
    for (faults, is_gone) in [(vec![], true), (vec![5], false)] {
        let mut changes = growth();
        changes.push(legacy_rules.clone());
        let mut kernel =
            FakeKernel { faults: faults.into_iter().collect(), ..FakeKernel::default() };
        apply(changes, &mut kernel, &mut KernelCache::default());
        assert_eq!(kernel.log.iter().any(|(change, _)| *change == legacy_rules), is_gone);
    }
}

#[test]
fn flows_are_forgotten_when_everything_but_the_destinations_stands() {
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
        Change::Server(ServerChange::Add(key, settings)),
        Change::Server(ServerChange::AddDestination(key, right.server, 1)),
        Change::AddDevice,
        Change::Address(AddressChange::Add(vip())),
    ];
    let mut kernel = FakeKernel { flows: [earlier, right].into(), ..FakeKernel::default() };
    assert_eq!(apply(changes, &mut kernel, &mut KernelCache::default()).done, 5);
    assert_eq!(kernel.flows, [right].into());
    let log: Vec<_> = kernel.log.iter().map(|(change, _)| change.clone()).collect();
    let at = |wanted: &Change| log.iter().position(|change| change == wanted).expect("it is made");
    assert_eq!(
        at(&Change::RemoveFlow(Box::new(earlier))),
        at(&Change::Address(AddressChange::Add(vip()))) + 1
    );
}
