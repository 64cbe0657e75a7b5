//! What each failure holds back, and what it does not.

use std::net::SocketAddr;

use super::*;
use crate::diff::RulesStep;
use crate::model::Protocol;
use crate::plan::{ServerFlags, ServerSettings};

const V4: Family = Family::V4;

fn key(address: &str, protocol: Protocol, port: u16) -> VirtualServerKey {
    VirtualServerKey { protocol, address: address.parse().expect("an address"), port }
}

fn of(family: Family, name: SetName) -> SetKey {
    SetKey { family, name }
}

fn at(key: VirtualServerKey) -> Entry {
    Entry::AddressPort(key.address, key.protocol, key.port)
}

fn from(key: VirtualServerKey) -> Entry {
    let net = "198.51.100.0/24".parse().expect("a network");
    Entry::AddressPortNet(key.address, key.protocol, key.port, net)
}

fn new_server(key: VirtualServerKey) -> Change {
    let settings = ServerSettings { scheduler: "rr".into(), flags: ServerFlags(0), timeout: 0 };
    Change::AddServer(key, settings)
}

fn after(stage: Stage, failed: &Change) -> Held {
    let (mut held, mut outcome) = (Held::default(), Outcome::default());
    held.note(stage, failed, Cause::new("no"), &mut outcome);
    assert_eq!(outcome.failed.len(), 1);
    held
}

#[test]
fn a_port_without_its_entry_is_held_in_its_family_and_protocol_only() {
    let set = of(V4, SetName::NodePortUdp);
    let mut held = after(Stage::Entries, &Change::AddEntry(set, Entry::Port(30080)));
    let mut holds = |key| held.holds(Stage::Servers, &new_server(key));
    assert!(holds(key("192.0.2.11", Protocol::Udp, 30080)));
    assert!(!holds(key("192.0.2.11", Protocol::Udp, 30081)));
    assert!(!holds(key("192.0.2.11", Protocol::Tcp, 30080)));
    assert!(!holds(key("2001:db8:1::11", Protocol::Udp, 30080)));
}

#[test]
fn a_port_of_sctp_without_its_entry_holds_nothing_else_at_the_nodes_address() {
    let (port, other) =
        (key("192.0.2.11", Protocol::Sctp, 30080), key("192.0.2.11", Protocol::Tcp, 30081));
    let set = of(V4, SetName::NodePortSctpHash);
    let mut held = after(Stage::Entries, &Change::AddEntry(set, at(port)));
    assert!(held.holds(Stage::Servers, &new_server(port)));
    assert!(!held.holds(Stage::Servers, &new_server(other)));
}

#[test]
fn a_health_check_port_without_its_entry_holds_no_virtual_server() {
    let set = of(V4, SetName::HealthCheckNodePort);
    let mut held = after(Stage::Entries, &Change::AddEntry(set, Entry::Port(30080)));
    let server = new_server(key("192.0.2.11", Protocol::Tcp, 30080));
    assert!(!held.holds(Stage::Servers, &server));
}

#[test]
fn while_destinations_that_should_have_left_are_there_what_waits_for_them_waits_on() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let node_port = key("192.0.2.11", Protocol::Tcp, 30080);
    let server = SocketAddr::from(([10, 244, 2, 1], 8080));
    let local = of(V4, SetName::LoadBalancerLocal);
    let admitted = of(V4, SetName::LoadBalancerSourceCidr);
    for failed in [
        Change::UpdateDestination(balancer, server, 0),
        Change::RemoveDestination(balancer, server),
    ] {
        let mut held = after(Stage::Leaving, &failed);
        assert!(held.holds(Stage::Late, &Change::AddEntry(local, at(balancer))));
        assert!(held.holds(Stage::Late, &Change::AddEntry(admitted, from(balancer))));
        assert!(!held.holds(Stage::Late, &Change::AddEntry(local, at(other))));
        assert!(!held.holds(Stage::Entries, &Change::AddEntry(local, at(balancer))));
    }
    let mut held = after(Stage::Leaving, &Change::UpdateDestination(node_port, server, 0));
    let mut holds =
        |name, port| held.holds(Stage::Late, &Change::AddEntry(of(V4, name), Entry::Port(port)));
    assert!(holds(SetName::NodePortLocalTcp, 30080));
    assert!(!holds(SetName::NodePortLocalTcp, 30081));
    assert!(!holds(SetName::NodePortLocalUdp, 30080));
}

#[test]
fn who_is_admitted_past_a_guard_stays_so_while_the_guard_stands() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let guards = of(V4, SetName::LoadBalancerFw);
    let admitted = of(V4, SetName::LoadBalancerSourceCidr);
    let mut held = after(Stage::GuardsGone, &Change::RemoveEntry(guards, at(balancer)));
    assert!(held.holds(Stage::EntriesGone, &Change::RemoveEntry(admitted, from(balancer))));
    assert!(!held.holds(Stage::EntriesGone, &Change::RemoveEntry(admitted, from(other))));
    let masquerade = of(V4, SetName::LoadBalancer);
    assert!(!held.holds(Stage::EntriesGone, &Change::RemoveEntry(masquerade, at(balancer))));
}

#[test]
fn an_entry_stays_while_the_one_in_its_place_could_not_come() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let (new, old) = (of(V4, SetName::LoadBalancer), of(V4, SetName::ExternalIp));
    let mut held = after(Stage::Entries, &Change::AddEntry(new, at(balancer)));
    assert!(held.holds(Stage::EntriesGone, &Change::RemoveEntry(old, at(balancer))));
    assert!(!held.holds(Stage::EntriesGone, &Change::RemoveEntry(old, at(other))));
    let rules = |family, moment| {
        let rules = crate::plan::Rules::default();
        let step = RulesStep { family, rules, missing_jumps: BTreeSet::new(), moment };
        Change::WriteRules(Box::new(step))
    };
    assert!(held.holds(Stage::RulesGone, &rules(V4, Moment::AfterRemoval)));
    assert!(!held.holds(Stage::RulesGone, &rules(Family::V6, Moment::AfterRemoval)));
    assert!(!held.holds(Stage::Rules, &rules(V4, Moment::BeforeGrowth)));
}
