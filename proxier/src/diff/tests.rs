//! Tests of the changes that a comparison finds, and of what it leaves alone.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::model::Event;
use crate::plan::{ServerFlags, ServerSettings, VirtualServerKey};
use crate::testing::{now, ready, service, settings, slice};
use crate::{Proxier, apply::fake::FakeKernel, model::Update};

/// Makes a kernel that holds `default/web` at 10.96.0.1:80 with one destination, and its proxier.
fn settled() -> (Proxier, FakeKernel) {
    let mut proxier = Proxier::new(settings());
    proxier.fold(Event::Service(Update::Listed(vec![service("web", &["10.96.0.1"])])));
    proxier.fold(Event::Slice(Update::Listed(vec![slice("a", "web", vec![ready("10.244.2.1")])])));
    proxier.fold(Event::Node(None));
    proxier.fold(Event::Addresses(vec![]));
    let mut kernel = FakeKernel::default();
    assert!(proxier.round(&mut kernel, now()).is_success());
    (proxier, kernel)
}

fn changes(proxier: &Proxier, observed: &Observed) -> Vec<String> {
    let comparison = Comparison {
        desired: proxier.desired(),
        observed,
        settings: proxier.settings(),
        ownership: Ownership::Planned(&Proven::default()),
        node: None,
    };
    let set = comparison.changes(Scan::Everything);
    set.changes.iter().map(ToString::to_string).collect()
}

fn key(text: &str, port: u16) -> VirtualServerKey {
    VirtualServerKey {
        protocol: crate::model::Protocol::Tcp,
        address: text.parse().expect("an address"),
        port,
    }
}

#[test]
fn a_settled_kernel_needs_nothing() {
    let (proxier, kernel) = settled();
    assert_eq!(changes(&proxier, &kernel.state), [""; 0]);
}

#[test]
fn a_wrong_scheduler_is_updated_in_place() {
    let (proxier, mut kernel) = settled();
    let server = kernel.state.servers.get_mut(&key("10.96.0.1", 80)).expect("settled");
    server.settings.scheduler = "lc".into();
    assert_eq!(changes(&proxier, &kernel.state), ["update virtual server 10.96.0.1:80/tcp rr"]);
}

#[test]
fn foreign_servers_go_unless_their_address_is_excluded() {
    let (mut proxier, mut kernel) = settled();
    let foreign = ObservedServer {
        settings: ServerSettings { scheduler: "sh".into(), flags: ServerFlags(0), timeout: 0 },
        destinations: Default::default(),
    };
    kernel.state.servers.insert(key("172.30.0.5", 80), foreign);
    assert_eq!(changes(&proxier, &kernel.state), ["remove virtual server 172.30.0.5:80/tcp"]);
    let mut settings = settings();
    settings.exclude_nets = vec!["172.30.0.0/16".parse().expect("a net")];
    proxier = {
        let mut other = Proxier::new(settings);
        other.fold(Event::Service(Update::Listed(vec![service("web", &["10.96.0.1"])])));
        other.fold(Event::Slice(Update::Listed(vec![slice(
            "a",
            "web",
            vec![ready("10.244.2.1")],
        )])));
        other.plan();
        other
    };
    assert_eq!(changes(&proxier, &kernel.state), [""; 0]);
}

#[test]
fn link_local_and_loopback_addresses_on_the_device_are_left_alone() {
    let (proxier, mut kernel) = settled();
    let spared: [IpAddr; 3] =
        ["fe80::1", "127.0.0.5", "::1"].map(|text| text.parse().expect("an address"));
    kernel.state.addresses.extend(spared);
    kernel.state.addresses.insert("10.96.9.9".parse().expect("an address"));
    assert_eq!(changes(&proxier, &kernel.state), ["remove address 10.96.9.9"]);
}

#[test]
fn a_stale_tcp_destination_first_loses_its_weight() {
    let (proxier, mut kernel) = settled();
    let server = kernel.state.servers.get_mut(&key("10.96.0.1", 80)).expect("settled");
    let stale: SocketAddr = "10.244.2.9:8080".parse().expect("a socket address");
    let found = ObservedDestination { weight: 1, masquerades: true, connections: Some(0) };
    server.destinations.insert(stale, found);
    assert_eq!(
        changes(&proxier, &kernel.state),
        ["update destination 10.96.0.1:80/tcp -> 10.244.2.9:8080 weight 0"]
    );
}

#[test]
fn a_wanted_destination_at_weight_0_gets_its_weight_again() {
    let (proxier, mut kernel) = settled();
    let server = kernel.state.servers.get_mut(&key("10.96.0.1", 80)).expect("settled");
    let quiet = |found| ObservedDestination { weight: 0, ..found };
    server.destinations =
        server.destinations.iter().map(|(place, found)| (*place, quiet(found))).collect();
    assert_eq!(
        changes(&proxier, &kernel.state),
        ["update destination 10.96.0.1:80/tcp -> 10.244.2.1:8080 weight 1"]
    );
}

#[test]
fn a_lost_jump_or_a_foreign_rule_in_our_chain_rewrites_the_rules_once() {
    let (proxier, kernel) = settled();
    let mut without_jump = kernel.state.clone();
    without_jump.rules.v4.jumps.pop_first();
    assert_eq!(changes(&proxier, &without_jump), ["write rules IPv4"]);
    let mut with_rule = kernel.state.clone();
    with_rule.rules.v6.chains.values_mut().for_each(|rules| rules.push("-j DROP".into()));
    assert_eq!(changes(&proxier, &with_rule), ["write rules IPv6"]);
}
