//! Tests of what each failure holds back and what it does not.

use std::net::SocketAddr;

use super::*;
use crate::diff::{AddressChange, RulesChange, RulesStep, ServerChange, SetChange};
use crate::model::Protocol;
use crate::plan::{ChainKey, ServerFlags, ServerSettings};

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
    Change::Server(ServerChange::Add(key, settings))
}

fn destination(key: VirtualServerKey) -> Change {
    Change::Server(ServerChange::AddDestination(
        key,
        SocketAddr::from(([10, 244, 2, 1], 8080)),
        weight::SERVING,
    ))
}

/// True if the change waits in an empty kernel.
fn blocks(blocked: &mut Blocked, stage: Stage, change: &Change) -> bool {
    blocked.blocks(stage, change, &Observed::default())
}

fn after(stage: Stage, failed: &Change) -> Blocked {
    let mut blocked = Blocked::default();
    blocked.add(stage, failed, &Observed::default());
    blocked
}

#[test]
fn a_port_without_its_entry_is_held_in_its_family_and_protocol_only() {
    let set = of(V4, SetName::NodePortUdp);
    let mut blocked =
        after(Stage::AddEntries, &Change::Set(SetChange::AddEntry(set, Entry::Port(30080))));
    let mut blocked_at = |key| blocks(&mut blocked, Stage::AddDestinations, &destination(key));
    assert!(blocked_at(key("192.0.2.11", Protocol::Udp, 30080)));
    assert!(!blocked_at(key("192.0.2.11", Protocol::Udp, 30081)));
    assert!(!blocked_at(key("192.0.2.11", Protocol::Tcp, 30080)));
    assert!(!blocked_at(key("2001:db8:1::11", Protocol::Udp, 30080)));
}

#[test]
fn a_port_of_sctp_without_its_entry_holds_nothing_else_at_the_nodes_address() {
    let (port, other) =
        (key("192.0.2.11", Protocol::Sctp, 30080), key("192.0.2.11", Protocol::Tcp, 30081));
    let set = of(V4, SetName::NodePortSctpHash);
    let mut blocked = after(Stage::AddEntries, &Change::Set(SetChange::AddEntry(set, at(port))));
    assert!(blocks(&mut blocked, Stage::AddDestinations, &destination(port)));
    assert!(!blocks(&mut blocked, Stage::AddDestinations, &destination(other)));
}

#[test]
fn a_health_check_port_without_its_entry_holds_no_virtual_server() {
    let set = of(V4, SetName::HealthCheckNodePort);
    let mut blocked =
        after(Stage::AddEntries, &Change::Set(SetChange::AddEntry(set, Entry::Port(30080))));
    let change = destination(key("192.0.2.11", Protocol::Tcp, 30080));
    assert!(!blocks(&mut blocked, Stage::AddDestinations, &change));
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
        Change::Server(ServerChange::UpdateDestination(balancer, server, 0)),
        Change::Server(ServerChange::RemoveDestination(balancer, server)),
    ] {
        let mut blocked = after(Stage::DrainDestinations, &failed);
        assert!(blocks(
            &mut blocked,
            Stage::AddExemptions,
            &Change::Set(SetChange::AddEntry(local, at(balancer)))
        ));
        assert!(blocks(
            &mut blocked,
            Stage::AddExemptions,
            &Change::Set(SetChange::AddEntry(admitted, from(balancer)))
        ));
        assert!(!blocks(
            &mut blocked,
            Stage::AddExemptions,
            &Change::Set(SetChange::AddEntry(local, at(other)))
        ));
        assert!(!blocks(
            &mut blocked,
            Stage::AddEntries,
            &Change::Set(SetChange::AddEntry(local, at(balancer)))
        ));
    }
    let mut blocked = after(
        Stage::DrainDestinations,
        &Change::Server(ServerChange::UpdateDestination(node_port, server, 0)),
    );
    let mut blocked_at = |name, port| {
        blocks(
            &mut blocked,
            Stage::AddExemptions,
            &Change::Set(SetChange::AddEntry(of(V4, name), Entry::Port(port))),
        )
    };
    assert!(blocked_at(SetName::NodePortLocalTcp, 30080));
    assert!(!blocked_at(SetName::NodePortLocalTcp, 30081));
    assert!(!blocked_at(SetName::NodePortLocalUdp, 30080));
}

#[test]
fn who_is_admitted_past_a_guard_stays_so_while_the_guard_stands() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let guards = of(V4, SetName::LoadBalancerFw);
    let admitted = of(V4, SetName::LoadBalancerSourceCidr);
    let mut blocked = after(
        Stage::RemoveSourceRangeGuards,
        &Change::Set(SetChange::RemoveEntry(guards, at(balancer))),
    );
    assert!(blocks(
        &mut blocked,
        Stage::RemoveEntries,
        &Change::Set(SetChange::RemoveEntry(admitted, from(balancer)))
    ));
    assert!(!blocks(
        &mut blocked,
        Stage::RemoveEntries,
        &Change::Set(SetChange::RemoveEntry(admitted, from(other)))
    ));
    let masquerade = of(V4, SetName::LoadBalancer);
    assert!(!blocks(
        &mut blocked,
        Stage::RemoveEntries,
        &Change::Set(SetChange::RemoveEntry(masquerade, at(balancer)))
    ));
}

#[test]
fn an_entry_stays_while_the_one_in_its_place_could_not_come() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let (new, old) = (of(V4, SetName::LoadBalancer), of(V4, SetName::ExternalIp));
    let mut blocked =
        after(Stage::AddEntries, &Change::Set(SetChange::AddEntry(new, at(balancer))));
    assert!(blocks(
        &mut blocked,
        Stage::RemoveEntries,
        &Change::Set(SetChange::RemoveEntry(old, at(balancer)))
    ));
    assert!(!blocks(
        &mut blocked,
        Stage::RemoveEntries,
        &Change::Set(SetChange::RemoveEntry(old, at(other)))
    ));
    let rules = |family, moment| {
        let rules = crate::plan::Rules::default();
        let step =
            RulesStep { family, rules, missing_jumps: BTreeSet::new(), has_comments: true, moment };
        Change::Rules(RulesChange::Write(Box::new(step)))
    };
    assert!(blocks(&mut blocked, Stage::RemoveRules, &rules(V4, Moment::AfterRemoval)));
    assert!(!blocks(&mut blocked, Stage::RemoveRules, &rules(Family::V6, Moment::AfterRemoval)));
    assert!(!blocks(&mut blocked, Stage::WriteRules, &rules(V4, Moment::BeforeGrowth)));
}

#[test]
fn without_its_virtual_server_no_entry_comes_that_would_let_packets_pass_to_the_host() {
    let (web, other) = (key("10.96.0.1", Protocol::Tcp, 80), key("10.96.0.1", Protocol::Tcp, 443));
    let entry = |key| Change::Set(SetChange::AddEntry(of(V4, SetName::ClusterIp), at(key)));
    let mut blocked = after(Stage::AddServers, &new_server(web));
    assert!(blocks(&mut blocked, Stage::AddEntries, &entry(web)));
    assert!(blocks(&mut blocked, Stage::AddDestinations, &destination(web)));
    assert!(!blocks(&mut blocked, Stage::AddEntries, &entry(other)));
    assert!(!blocks(&mut blocked, Stage::AddDestinations, &destination(other)));
    assert!(!blocks(
        &mut blocked,
        Stage::AddAddresses,
        &Change::Address(AddressChange::Add(web.address))
    ));
}

#[test]
fn a_virtual_server_stays_while_an_entry_of_it_or_of_its_node_port_does() {
    let (web, other) = (key("10.96.0.1", Protocol::Tcp, 80), key("10.96.0.1", Protocol::Tcp, 443));
    let node_port = key("192.0.2.11", Protocol::Tcp, 30080);
    let removed = |name, entry| Change::Set(SetChange::RemoveEntry(of(V4, name), entry));
    let mut blocked = after(Stage::RemoveEntries, &removed(SetName::ClusterIp, at(web)));
    assert!(blocks(&mut blocked, Stage::RemoveServers, &Change::Server(ServerChange::Remove(web))));
    assert!(!blocks(
        &mut blocked,
        Stage::RemoveServers,
        &Change::Server(ServerChange::Remove(other))
    ));
    let failed = removed(SetName::NodePortTcp, Entry::Port(30080));
    let mut blocked = after(Stage::RemoveEntries, &failed);
    assert!(blocks(
        &mut blocked,
        Stage::RemoveServers,
        &Change::Server(ServerChange::Remove(node_port))
    ));
    assert!(!blocks(
        &mut blocked,
        Stage::RemoveServers,
        &Change::Server(ServerChange::Remove(web))
    ));
}

#[test]
fn what_still_has_destinations_keeps_its_guard_its_entries_and_its_place() {
    let (balancer, other) =
        (key("203.0.113.1", Protocol::Tcp, 80), key("203.0.113.2", Protocol::Tcp, 80));
    let failed = Change::Server(ServerChange::RemoveDestination(
        balancer,
        SocketAddr::from(([10, 244, 2, 1], 8080)),
    ));
    let mut blocked = after(Stage::DrainDestinations, &failed);
    let removed = |name, entry| Change::Set(SetChange::RemoveEntry(of(V4, name), entry));
    for (key, is_blocked) in [(balancer, true), (other, false)] {
        let guard = removed(SetName::LoadBalancerFw, at(key));
        assert_eq!(blocks(&mut blocked, Stage::RemoveSourceRangeGuards, &guard), is_blocked);
        let admitted = removed(SetName::LoadBalancerSourceCidr, from(key));
        assert_eq!(blocks(&mut blocked, Stage::RemoveEntries, &admitted), is_blocked);
        let entry = removed(SetName::LoadBalancer, at(key));
        assert_eq!(blocks(&mut blocked, Stage::RemoveEntries, &entry), is_blocked);
        assert_eq!(
            blocks(&mut blocked, Stage::RemoveServers, &Change::Server(ServerChange::Remove(key))),
            is_blocked
        );
    }
}

/// Makes a state with two virtual servers of IPv4 and one of IPv6; the second one has a destination.
fn cache(keys: [VirtualServerKey; 3]) -> Observed {
    let mut cache = Observed::default();
    keys.into_iter().for_each(|key| cache.record(&new_server(key)));
    cache.record(&destination(keys[1]));
    cache
}

#[test]
fn where_rules_could_not_be_written_destinations_come_to_what_those_that_stand_protect() {
    let (new, old) = (key("10.96.0.1", Protocol::Tcp, 80), key("10.96.0.2", Protocol::Tcp, 80));
    let six = key("fd00::1", Protocol::Tcp, 80);
    let mut cache = cache([new, old, six]);
    cache.record(&Change::Set(SetChange::AddEntry(of(V4, SetName::LoadBalancer), at(new))));
    cache.record(&Change::Set(SetChange::AddEntry(of(V4, SetName::ClusterIp), at(old))));
    let rules = cache.rules.of_mut(V4);
    // The name of one set begins with the name of the other.
    rules.chains = [
        (ChainKey { table: Table::Nat, chain: "KUBE-SERVICES" }, "KUBE-CLUSTER-IP"),
        (ChainKey { table: Table::Nat, chain: "KUBE-LOAD-BALANCER" }, "KUBE-LOAD-BALANCER-LOCAL"),
        (ChainKey { table: Table::Filter, chain: "KUBE-IPVS-FILTER" }, "KUBE-LOAD-BALANCER"),
    ]
    .map(|(chain, set)| (chain, vec![format!("-m set --match-set {set} dst,dst -j RETURN")]))
    .into();
    let step = RulesStep {
        family: V4,
        rules: crate::plan::Rules::default(),
        missing_jumps: BTreeSet::new(),
        has_comments: true,
        moment: Moment::BeforeGrowth,
    };
    let mut blocked = after(Stage::WriteRules, &Change::Rules(RulesChange::Write(Box::new(step))));
    for (key, is_blocked) in [(new, true), (old, false), (six, false)] {
        assert_eq!(
            blocked.blocks(Stage::AddDestinations, &destination(key), &cache),
            is_blocked,
            "{key}"
        );
        let again = Change::Server(ServerChange::UpdateDestination(
            key,
            SocketAddr::from(([10, 244, 2, 1], 80)),
            1,
        ));
        assert_eq!(blocked.blocks(Stage::AddDestinations, &again, &cache), is_blocked, "{key}");
    }
}

#[test]
fn where_rules_are_unknown_no_entry_comes_and_destinations_only_to_what_serves_already() {
    let (new, old) = (key("10.96.0.1", Protocol::Tcp, 80), key("10.96.0.2", Protocol::Tcp, 80));
    let six = key("fd00::1", Protocol::Tcp, 80);
    let cache = cache([new, old, six]);
    let mut blocked = Blocked::default();
    blocked.block_unread(V4);
    for (key, is_blocked) in [(new, true), (old, false), (six, false)] {
        assert_eq!(
            blocked.blocks(Stage::AddDestinations, &destination(key), &cache),
            is_blocked,
            "{key}"
        );
    }
    for (key, is_blocked) in [(old, true), (six, false)] {
        let entry =
            Change::Set(SetChange::AddEntry(of(key.family(), SetName::ExternalIp), at(key)));
        assert_eq!(blocked.blocks(Stage::AddEntries, &entry, &cache), is_blocked, "{key}");
        assert_eq!(
            blocked.blocks(Stage::AddDestinations, &destination(key), &cache),
            is_blocked,
            "{key}"
        );
    }
}

#[test]
fn an_admission_that_could_not_come_keeps_no_endpoint_away() {
    let balancer = key("203.0.113.1", Protocol::Tcp, 80);
    let admitted = of(V4, SetName::LoadBalancerSourceCidr);
    let mut blocked =
        after(Stage::AddEntries, &Change::Set(SetChange::AddEntry(admitted, from(balancer))));
    assert!(!blocks(&mut blocked, Stage::AddDestinations, &destination(balancer)));
    let guard = of(V4, SetName::LoadBalancerFw);
    let mut blocked =
        after(Stage::AddSourceRangeGuards, &Change::Set(SetChange::AddEntry(guard, at(balancer))));
    assert!(blocks(&mut blocked, Stage::AddDestinations, &destination(balancer)));
}
