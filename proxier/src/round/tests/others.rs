//! Tests that changes by other programs are corrected and reported, and that their own objects stay.

use std::collections::BTreeMap;

use super::*;
use crate::apply::Differences;
use crate::diff::{ObservedServer, ServerChange};
use crate::model::{Removed, TrafficPolicy};
use crate::plan::{NodePortAddresses, ServerFlags, ServerSettings};

/// A Service with a node port and an external address, both in the excluded network 192.0.2.0/24.
fn within_excluded() -> (Proxier, FakeKernel) {
    let mut proxier = excluding();
    let mut web = service("web", &["10.96.0.1"]);
    web.ports[0].node_port = Some(30080);
    web.external_ips = vec![ip("192.0.2.200")];
    web.external_policy = TrafficPolicy::Cluster;
    proxier.fold(Event::Service(Update::Put(web)));
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    let mut kernel = FakeKernel::default();
    kernel.state.servers.extend([other("192.0.2.11", 6443), other("192.0.2.200", 25)]);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel).len(), 5);
    (proxier, kernel)
}

fn excluding() -> Proxier {
    let net = "192.0.2.0/24".parse().expect("a network");
    complete_with(Settings { exclude_nets: vec![net], ..settings() })
}

/// A virtual server that another program has created.
fn other(address: &str, port: u16) -> (VirtualServerKey, ObservedServer) {
    let settings = ServerSettings { scheduler: "sh".into(), flags: ServerFlags(0), timeout: 0 };
    let key = VirtualServerKey { protocol: Protocol::Tcp, address: ip(address), port };
    (key, ObservedServer { settings, destinations: Default::default() })
}

fn servers(kernel: &FakeKernel) -> Vec<String> {
    kernel.state.servers.keys().map(ToString::to_string).collect()
}

/// Has the next round compare everything with what the kernel holds now.
fn audit(proxier: &mut Proxier, kernel: &FakeKernel) {
    assert!(proxier.begin_audit());
    proxier.end_audit(kernel.state.clone().into(), now());
}

fn delete_web(proxier: &mut Proxier) {
    proxier.fold(Event::Service(Update::Gone(ServiceName::new("default", "web"))));
}

const OTHERS: [&str; 2] = ["192.0.2.11:6443/tcp", "192.0.2.200:25/tcp"];

#[test]
fn own_virtual_servers_in_an_excluded_network_go_with_their_service_and_others_stay() {
    let (mut proxier, mut kernel) = within_excluded();
    delete_web(&mut proxier);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel), OTHERS);
    assert_eq!(missing(&proxier, &kernel), "");
}

#[test]
fn a_restart_knows_by_the_sets_what_is_its_own_in_an_excluded_network() {
    let (_, mut kernel) = within_excluded();
    let mut proxier = excluding();
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success());
    assert_eq!(servers(&kernel), OTHERS);
    assert_eq!(outcome.servers_of_others, []);
}

#[test]
fn a_restart_at_any_moment_of_a_removal_leaves_nothing_of_its_own_in_an_excluded_network() {
    let (mut proxier, mut kernel) = within_excluded();
    kernel.keep_history = true;
    delete_web(&mut proxier);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert!(kernel.history.len() > 10, "{}", kernel.history.len());
    for (at, state) in kernel.history.iter().enumerate() {
        let mut left = FakeKernel { state: state.clone(), ..FakeKernel::default() };
        let mut next = excluding();
        let outcome = next.round(&mut left, now());
        assert!(outcome.is_success());
        assert_eq!(servers(&left), OTHERS, "after change {at}");
        assert_eq!(outcome.servers_of_others, [], "after change {at}");
    }
}

#[test]
fn a_service_that_comes_back_during_its_removal_has_its_own_flags_again() {
    let (mut proxier, mut kernel) = within_excluded();
    let before = kernel.state.servers.clone();
    kernel.refused = Some(|change| matches!(change, Change::Server(ServerChange::Remove(_))));
    let web = proxier.store().service(&ServiceName::new("default", "web")).cloned();
    delete_web(&mut proxier);
    assert!(!proxier.round(&mut kernel, now()).is_success());
    assert_ne!(kernel.state.servers, before);
    proxier.fold(Event::Service(Update::Put(web.expect("the Service"))));
    assert!(proxier.round(&mut kernel, after(1)).is_success());
    assert_eq!(missing(&proxier, &kernel), "");
    let settings = |servers: &BTreeMap<VirtualServerKey, ObservedServer>| -> Vec<ServerSettings> {
        servers.values().map(|server| server.settings.clone()).collect()
    };
    assert_eq!(settings(&kernel.state.servers), settings(&before));
}

#[test]
fn a_removal_in_an_excluded_network_that_failed_is_tried_again() {
    let (mut proxier, mut kernel) = within_excluded();
    kernel.refused = Some(|change| matches!(change, Change::Server(ServerChange::Remove(_))));
    delete_web(&mut proxier);
    assert!(!proxier.round(&mut kernel, now()).is_success());
    // Their set entries have been removed before them.
    assert_eq!(servers(&kernel).len(), 5);
    audit(&mut proxier, &kernel);
    kernel.refused = None;
    assert!(proxier.round(&mut kernel, after(1)).is_success());
    assert_eq!(servers(&kernel), OTHERS);
}

#[test]
fn what_another_makes_where_a_service_was_is_anothers() {
    let (mut proxier, mut kernel) = within_excluded();
    delete_web(&mut proxier);
    proxier.round(&mut kernel, now());
    kernel.state.servers.extend([other("192.0.2.200", 80)]);
    audit(&mut proxier, &kernel);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel), [OTHERS[0], OTHERS[1], "192.0.2.200:80/tcp"]);
}

#[test]
fn virtual_servers_of_others_that_go_are_told_and_leftovers_of_kube_proxy_are_not() {
    let (mut first, mut kernel) = (complete(), FakeKernel::default());
    first.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    first.round(&mut kernel, now());
    kernel.state.servers.extend([other("192.0.2.11", 6443)]);
    let mut proxier = complete();
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(servers(&kernel), [""; 0]);
    assert_eq!(outcome.servers_of_others, [other("192.0.2.11", 6443).0]);
    assert_eq!(outcome.differences, Differences::default());
}

#[test]
fn an_address_that_another_removes_is_put_back_by_the_next_round() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.fold(Event::Service(Update::Put(service("more", &["10.96.0.2"]))));
    proxier.round(&mut kernel, now());
    let wanted = kernel.state.clone();
    kernel.state.addresses.remove(&ip("10.96.0.1"));
    proxier.fold(Event::Removed(Removed::Address(ip("10.96.0.1"))));
    assert!(proxier.is_dirty());
    let made = kernel.log.len();
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(kernel.state, wanted);
    assert_eq!(kernel.log.len(), made + 1);
    assert_eq!(outcome.differences.counts, [("address", 1)].into());
    assert_eq!(outcome.differences.first, ["add address 10.96.0.1"]);
    assert!(!proxier.is_dirty());
}

#[test]
fn a_device_that_another_removes_comes_back_with_all_its_addresses() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    let many = (1..200).map(|n| service(&format!("s{n}"), &[&format!("10.96.1.{n}")]));
    proxier.fold(Event::Service(Update::Listed(many.collect())));
    proxier.round(&mut kernel, now());
    let wanted = kernel.state.clone();
    kernel.state.link = false;
    kernel.state.addresses.clear();
    let removed = [Removed::Address(ip("10.96.1.1")), Removed::Device];
    removed.map(Event::Removed).into_iter().for_each(|event| proxier.fold(event));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(kernel.state, wanted);
    assert_eq!(outcome.differences.counts, [("address", 199), ("device", 1)].into());
}

#[test]
fn what_another_removes_in_the_midst_of_a_round_is_put_back_after_it() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.round(&mut kernel, now());
    let many = (1..200).map(|n| service(&format!("s{n}"), &[&format!("10.96.1.{n}")]));
    many.for_each(|service| proxier.fold(Event::Service(Update::Put(service))));
    assert_eq!(proxier.step(&mut kernel, now(), Budget(1)), None);
    kernel.state.addresses.remove(&ip("10.96.0.1"));
    proxier.fold(Event::Removed(Removed::Address(ip("10.96.0.1"))));
    assert!(proxier.round(&mut kernel, now()).needs_full_reading);
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success());
    assert_eq!(outcome.differences.counts, [("address", 1)].into());
    assert_eq!(kernel.state.addresses.len(), 200);
}

#[test]
fn what_the_proxy_removes_itself_is_nobody_elses_change() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    let web = || Event::Service(Update::Put(service("web", &["10.96.0.1"])));
    proxier.fold(web());
    proxier.round(&mut kernel, now());
    delete_web(&mut proxier);
    proxier.round(&mut kernel, now());
    proxier.fold(web());
    proxier.round(&mut kernel, now());
    // The kernel's notice of the removal arrives late.
    let removed = Event::Removed(Removed::Address(ip("10.96.0.1")));
    proxier.fold(removed.clone());
    assert!(!proxier.is_dirty());
    kernel.state.addresses.clear();
    proxier.fold(removed);
    assert_eq!(proxier.round(&mut kernel, now()).differences.counts, [("address", 1)].into());
    assert_eq!(kernel.state.addresses.len(), 1);
}

#[test]
fn an_audit_names_the_first_of_what_others_have_changed() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    let many = (1..9).map(|n| service(&format!("s{n}"), &[&format!("10.96.1.{n}")]));
    proxier.fold(Event::Service(Update::Listed(many.collect())));
    proxier.round(&mut kernel, now());
    kernel.state.servers.clear();
    audit(&mut proxier, &kernel);
    let Differences { counts, first } = proxier.round(&mut kernel, now()).differences;
    assert_eq!(counts, [("virtual_server", 8)].into());
    assert_eq!((first.len(), &*first[0]), (5, "add virtual server 10.96.1.1:80/tcp rr"));
}

#[test]
fn a_device_that_a_refusal_shows_to_be_gone_comes_back_after_a_reading() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.round(&mut kernel, now());
    kernel.state.link = false;
    kernel.state.addresses.clear();
    proxier.fold(Event::Service(Update::Put(service("more", &["10.96.0.2"]))));
    assert!(proxier.round(&mut kernel, now()).needs_full_reading);
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(outcome.differences.counts.get("device"), Some(&1));
    assert!(kernel.state.link && kernel.state.addresses.len() == 2);
}

#[test]
fn a_device_that_cannot_be_had_is_a_failure_that_is_tried_again() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.round(&mut kernel, now());
    kernel.state.link = false;
    kernel.state.addresses.clear();
    kernel.refused = Some(|change| *change == Change::AddDevice);
    proxier.fold(Event::Removed(Removed::Device));
    assert!(!proxier.round(&mut kernel, now()).is_success());
    kernel.refused = None;
    assert!(proxier.round(&mut kernel, after(1)).is_success());
    assert!(kernel.state.link && kernel.state.addresses.len() == 1);
}

#[test]
fn when_everything_is_removed_no_address_comes_before_its_virtual_server() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    proxier.round(&mut kernel, now());
    let wanted = kernel.state.clone();
    kernel.state = Observed::default();
    kernel.keep_history = true;
    proxier.fold(Event::Removed(Removed::Address(ip("10.96.0.1"))));
    proxier.fold(Event::Removed(Removed::Device));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(kernel.state, wanted);
    assert_eq!(unguarded(&kernel), [""; 0]);
    let exposed = |state: &Observed| !state.addresses.is_empty() && state.servers.is_empty();
    assert!(!kernel.history.iter().any(exposed));
    assert_eq!(outcome.differences.counts.get("virtual_server"), Some(&1));
}

#[test]
fn a_virtual_server_of_others_at_a_port_of_ours_where_node_ports_are_not_served_stays() {
    let settings = Settings {
        exclude_nets: vec!["192.0.2.0/24".parse().expect("a network")],
        node_ports: NodePortAddresses::In(vec!["10.0.0.0/24".parse().unwrap()]),
        ..settings()
    };
    let mut proxier = complete_with(settings);
    proxier.fold(interfaces(&["10.0.0.11/24", "192.0.2.11/24"]));
    let mut web = service("web", &["10.96.0.1"]);
    web.ports[0].node_port = Some(30080);
    proxier.fold(Event::Service(Update::Put(web)));
    let mut kernel = FakeKernel::default();
    kernel.state.servers.extend([other("192.0.2.11", 30080)]);
    assert!(proxier.round(&mut kernel, now()).is_success());
    let before = servers(&kernel);
    audit(&mut proxier, &kernel);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel), before);
}

#[test]
fn what_another_makes_where_a_leftover_of_before_a_restart_was_is_anothers() {
    let (_, mut kernel) = within_excluded();
    let mut proxier = excluding();
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel), OTHERS);
    kernel.state.servers.extend([other("192.0.2.200", 80)]);
    audit(&mut proxier, &kernel);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(servers(&kernel), [OTHERS[0], OTHERS[1], "192.0.2.200:80/tcp"]);
}

#[test]
fn a_link_local_address_that_goes_is_no_correction() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    kernel.state.addresses.insert(ip("fe80::1"));
    proxier.round(&mut kernel, now());
    kernel.state.addresses.remove(&ip("fe80::1"));
    proxier.fold(Event::Removed(Removed::Address(ip("fe80::1"))));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.differences, Differences::default());
}
