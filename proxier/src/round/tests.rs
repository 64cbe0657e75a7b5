//! Tests that rounds converge, repeat nothing, break nothing and survive faults.

use proptest::prelude::*;

use super::*;
use std::net::SocketAddr;
use std::time::Duration;

use crate::apply::Draining;
use crate::apply::fake::FakeKernel;
use crate::diff::{Change, Flow, RulesChange, ServerChange};
use crate::model::{Node, NodeReadiness, PerFamily, Protocol, SliceName, Update};
use crate::plan::{DrainLimits, Entry, LocalDetection, OUT_FILTER, SetKey, SetName};
use crate::testing::{now, ready, service, service_port, settings, slice};

mod cleanup;
mod features;
mod moments;
mod others;
mod refused;
mod refused_rules;
mod unplanned;
mod worlds;

pub(super) use worlds::ip;
use worlds::{interfaces, slice_port, some_history};

pub(super) fn complete() -> Proxier {
    complete_with(settings())
}

/// Makes a proxier with all kinds of objects listed, on a node at 192.0.2.11.
fn complete_with(settings: Settings) -> Proxier {
    let mut proxier = Proxier::new(settings);
    proxier.fold(Event::Service(Update::Listed(vec![])));
    proxier.fold(Event::Slice(Update::Listed(vec![])));
    proxier.fold(Event::Node(Some(Node {
        name: "node1".into(),
        zone: None,
        addresses: vec![ip("192.0.2.11")],
        pod_nets: vec![],
        is_leaving: false,
    })));
    proxier.fold(interfaces(&["192.0.2.11/24", "2001:db8:1::11/64"]));
    proxier
}

/// Settings that can tell pods from other clients.
fn local_detection() -> Settings {
    let nets = PerFamily {
        v4: Some("10.244.0.0/16".parse().expect("a network")),
        v6: Some("fd00:10:244::/56".parse().expect("a network")),
    };
    Settings { local_detection: LocalDetection::ClusterCidr(nets), ..settings() }
}

/// Gives every destination a connection, so that those of TCP drain when they leave.
fn connect_everywhere(kernel: &mut FakeKernel) {
    for (key, server) in &kernel.state.servers {
        let leaving = server.destinations.keys().map(|destination| ((*key, *destination), 1));
        kernel.connections.extend(leaving);
    }
}

/// A time this number of minutes after [`now`]; after one minute, everything refused is due.
fn after(minutes: u32) -> Instant {
    now() + Duration::from_secs(60) * minutes
}

/// The changes that a reading of the kernel would show.
fn missing(proxier: &Proxier, kernel: &FakeKernel) -> String {
    proxier.comparison(&kernel.state).changes(Scan::Everything).to_string()
}

/// Sorts the rules of `KUBE-IPVS-OUT-FILTER`. They have no fixed order; it depends on the history.
fn in_one_order(mut state: Observed) -> Observed {
    for family in Family::BOTH {
        if let Some(rules) = state.rules.of_mut(family).chains.get_mut(&OUT_FILTER) {
            rules.sort_unstable();
        }
    }
    state
}

/// The changes up to the first moment at which a service address answers without its protection; empty if
/// none.
fn unguarded(kernel: &FakeKernel) -> Vec<String> {
    let Some(at) = kernel.history.iter().position(|state| !is_guarded(state)) else {
        return vec![];
    };
    let until = kernel.log.iter().scan(0, |made, entry| {
        *made += usize::from(entry.1);
        Some((*made <= at + 1, entry))
    });
    let until = until.take_while(|(is_before, _)| *is_before);
    until.map(|(_, (change, is_made))| format!("{is_made} {change}")).collect()
}

/// True if every service address that answers has its protection.
fn is_guarded(state: &Observed) -> bool {
    let answers = state.servers.iter().filter(|(_, server)| server.destinations.count() > 0);
    let keys = answers.map(|(key, _)| key);
    keys.filter(|key| state.addresses.contains(&key.address)).all(|key| {
        let own = Entry::AddressPort(key.address, key.protocol, key.port);
        let frontends = [
            SetName::ClusterIp,
            SetName::ExternalIp,
            SetName::ExternalIpLocal,
            SetName::LoadBalancer,
        ];
        let rules = state.rules.of(key.family());
        let holds = |name: &SetName| {
            let set = name.kernel_name(key.family());
            has(state, key, *name, own)
                && rules.chains.values().flatten().any(|rule| {
                    rule.contains(set)
                        && (rule.contains(" -j KUBE-") || rule.contains(" -j ACCEPT"))
                })
        };
        // An address that an interface of the node takes over serves node ports before it leaves the dummy
        // device.
        let ports = match key.protocol {
            Protocol::Tcp => SetName::NodePortTcp,
            Protocol::Udp => SetName::NodePortUdp,
            Protocol::Sctp => SetName::NodePortSctpHash,
        };
        let is_node_port =
            has(state, key, ports, Entry::Port(key.port)) || has(state, key, ports, own);
        has(state, key, SetName::IpvsIps, Entry::Address(key.address))
            && (frontends.iter().any(holds) || is_node_port)
    })
}

fn has(state: &Observed, key: &VirtualServerKey, name: SetName, entry: Entry) -> bool {
    let set = SetKey { family: key.family(), name };
    state.sets.get(&set).is_some_and(|entries| entries.contains(&entry))
}

proptest! {
    #[test]
    fn every_round_ends_with_the_kernel_as_wished_and_a_second_one_does_nothing(
        history in some_history()
    ) {
        let mut proxier = complete();
        let mut kernel = FakeKernel::default();
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            let outcome = proxier.round(&mut kernel, now());
            prop_assert!(outcome.is_success(), "{:?}", outcome.failed);
            prop_assert_eq!(missing(&proxier, &kernel), "");
            let before = kernel.log.len();
            proxier.round(&mut kernel, now());
            prop_assert_eq!(kernel.log.len(), before);
        }
        prop_assert_eq!(kernel.reads, 1);
    }

    #[test]
    fn a_run_by_changes_ends_where_a_run_from_scratch_does(history in some_history()) {
        let mut proxier = complete();
        let mut whole = complete();
        let mut kernel = FakeKernel::default();
        for events in history {
            for event in events {
                whole.fold(event.clone());
                proxier.fold(event);
            }
            proxier.round(&mut kernel, now());
        }
        let mut fresh = FakeKernel::default();
        whole.round(&mut fresh, now());
        prop_assert_eq!(kernel.state, fresh.state);
    }

    #[test]
    fn facts_that_arrive_in_the_middle_of_a_round_are_taken_in(
        history in some_history(), budget in 1..60u32, squeezes in 1..4usize
    ) {
        let (mut proxier, mut whole) = (complete(), complete());
        let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
        for mut events in history {
            while !events.is_empty() {
                for event in events.drain(..squeezes.min(events.len())) {
                    whole.fold(event.clone());
                    proxier.fold(event);
                }
                proxier.step(&mut kernel, now(), Budget(budget));
            }
        }
        while proxier.is_at_work() || proxier.is_dirty() {
            let outcome = proxier.step(&mut kernel, now(), Budget(budget));
            prop_assert!(outcome.is_none_or(|outcome| outcome.is_success()));
        }
        prop_assert_eq!(unguarded(&kernel), [""; 0]);
        prop_assert_eq!(missing(&proxier, &kernel), "");
        let mut fresh = FakeKernel::default();
        whole.round(&mut fresh, now());
        prop_assert_eq!(in_one_order(kernel.state), in_one_order(fresh.state));
        prop_assert_eq!(kernel.reads, 1);
    }

    #[test]
    fn facts_that_arrive_in_the_middle_of_a_round_that_fails_reach_nothing_without_its_protection(
        history in some_history(), budget in 1..60u32,
        faults in prop::collection::btree_set(0..160usize, 1..12)
    ) {
        let mut proxier = complete();
        let mut kernel = FakeKernel { keep_history: true, faults, ..FakeKernel::default() };
        for event in history.into_iter().flatten() {
            proxier.fold(event);
            proxier.step(&mut kernel, now(), Budget(budget));
        }
        for minute in 0..13 {
            while proxier.step(&mut kernel, after(minute), Budget(budget)).is_none() {}
        }
        prop_assert_eq!(unguarded(&kernel), [""; 0]);
        prop_assert_eq!(missing(&proxier, &kernel), "");
    }

    #[test]
    fn a_reading_that_was_begun_before_changes_is_as_good_as_one_after_them(
        history in some_history()
    ) {
        let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
        proxier.round(&mut kernel, now());
        for events in history {
            let early = kernel.state.clone();
            prop_assert!(proxier.begin_audit());
            events.into_iter().for_each(|event| proxier.fold(event));
            proxier.round(&mut kernel, now());
            let late = kernel.state.clone();
            proxier.end_audit(early.into(), now());
            prop_assert_eq!(proxier.cache.as_ref().map(KernelCache::state), Some(&kernel.state));
            let done = kernel.log.len();
            proxier.round(&mut kernel, now());
            prop_assert!(proxier.begin_audit());
            proxier.end_audit(late.into(), now());
            proxier.round(&mut kernel, now());
            prop_assert_eq!((kernel.log.len(), kernel.reads), (done, 1));
        }
    }

    #[test]
    fn a_fault_at_any_point_is_healed_by_the_next_rounds(
        history in some_history(), faults in prop::collection::btree_set(0..160usize, 1..12),
        loses_answers in prop::bool::ANY
    ) {
        let mut proxier = complete();
        let mut kernel = FakeKernel { faults, loses_answers, ..FakeKernel::default() };
        let mut minutes = 0..;
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            for minute in minutes.by_ref().take(13) {
                if proxier.round(&mut kernel, after(minute)).is_success() {
                    break;
                }
            }
            prop_assert!(is_guarded(&kernel.state));
            prop_assert_eq!(missing(&proxier, &kernel), "");
        }
    }
}

#[test]
fn a_restart_adopts_what_is_there_and_changes_nothing() {
    let mut proxier = complete();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1", "fd00:10:96::1"]))));
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.1.1")]))));
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    let done = kernel.log.len();
    proxier.cache = None;
    proxier.round(&mut kernel, now());
    assert_eq!((kernel.reads, kernel.log.len()), (2, done));
}

#[test]
fn an_audit_finds_what_another_hand_has_changed_while_it_was_read() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.round(&mut kernel, now());
    let wanted = kernel.state.clone();
    kernel.state.addresses.clear();
    assert!(proxier.begin_audit());
    let found = kernel.state.clone();
    proxier.fold(Event::Service(Update::Put(service("more", &["10.96.0.2"]))));
    proxier.round(&mut kernel, now());
    proxier.end_audit(found.into(), now());
    proxier.round(&mut kernel, now());
    proxier.fold(Event::Service(Update::Gone(ServiceName::new("default", "more"))));
    proxier.round(&mut kernel, now());
    assert_eq!(kernel.state, wanted);
}

#[test]
fn a_change_overtakes_a_long_round() {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    let many = (1..200).map(|n| service(&format!("s{n}"), &[&format!("10.96.1.{n}")]));
    proxier.fold(Event::Service(Update::Listed(many.collect())));
    assert_eq!(proxier.step(&mut kernel, now(), Budget(1)), None);
    proxier.fold(Event::Service(Update::Put(service("late", &["10.96.2.1"]))));
    assert_eq!(proxier.step(&mut kernel, now(), Budget(1)), None);
    let addresses: Vec<_> = kernel.state.addresses.iter().copied().collect();
    assert_eq!(addresses, [ip("10.96.2.1")]);
    assert!(kernel.state.servers.len() < 3);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(kernel.state.servers.len(), 200);
}

#[test]
fn a_tcp_destination_with_connections_drains_and_goes_when_they_end() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    let both = vec![ready("10.244.2.1"), ready("10.244.2.2")];
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", both))));
    proxier.round(&mut kernel, now());
    let (key, server) = kernel.state.servers.first_key_value().expect("one");
    let leaving = (*key, *server.destinations.keys().next().expect("two"));
    kernel.connections.insert(leaving, 3);

    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.2")]))));
    assert_eq!(proxier.round(&mut kernel, now()).draining.begun, [leaving].into());
    assert_eq!(kernel.state.servers[&leaving.0].destinations[&leaving.1].weight, 0);

    kernel.connections.clear();
    let draining = proxier.round(&mut kernel, now()).draining;
    assert_eq!(draining, Draining { count: 1, ..Draining::default() });
    proxier.look_at_draining();
    let draining = proxier.round(&mut kernel, now()).draining;
    assert_eq!(draining, Draining { ended: [leaving].into(), ..Draining::default() });
    assert!(!kernel.state.servers[&leaving.0].destinations.contains_key(&leaving.1));
}

#[test]
fn a_draining_endpoint_that_comes_back_keeps_its_connections_and_gets_its_weight() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    proxier.round(&mut kernel, now());
    let (key, server) = kernel.state.servers.first_key_value().expect("one");
    let leaving = (*key, *server.destinations.keys().next().expect("one"));
    kernel.connections.insert(leaving, 1);
    proxier.fold(Event::Slice(Update::Gone(SliceName::new("default", "a"))));
    proxier.round(&mut kernel, now());
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!((outcome.draining.count, outcome.draining.ended), (0, [leaving].into()));
    assert_eq!(kernel.state.servers[&leaving.0].destinations[&leaving.1].weight, 1);
    let added = kernel
        .log
        .iter()
        .filter(|(c, _)| matches!(c, Change::Server(ServerChange::AddDestination(..))));
    assert_eq!(added.count(), 1);
}

#[test]
fn a_disabled_family_is_left_entirely_alone() {
    let mut settings = settings();
    settings.families.v6 = false;
    let mut proxier = Proxier::new(settings);
    proxier.fold(Event::Service(Update::Listed(vec![service("w", &["10.96.0.1", "fd00::1"])])));
    proxier.fold(Event::Slice(Update::Listed(vec![])));
    proxier.fold(Event::Node(None));
    proxier.fold(Event::Addresses(vec![]));
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    assert!(kernel.state.sets.keys().all(|set| set.family == Family::V4));
    assert!(kernel.log.iter().all(|(change, _)| change.family() != Some(Family::V6)));
}

#[test]
fn a_destination_that_has_drained_for_its_time_goes_with_its_connections() {
    let drain = DrainLimits { usual: Some(Duration::from_secs(60)), dead_node: None };
    let mut proxier = complete_with(Settings { drain, ..settings() });
    let (mut kernel, start) = (FakeKernel::default(), now());
    let (key, leaving) = begin_to_drain(&mut proxier, &mut kernel, start);
    let ends = start + Duration::from_secs(60);
    assert_eq!(proxier.round(&mut kernel, start).draining.next_end, Some(ends));
    proxier.round(&mut kernel, ends - Duration::from_millis(1));
    assert!(kernel.state.servers[&key].destinations.contains_key(&leaving));
    assert_eq!(proxier.round(&mut kernel, ends).draining.count, 0);
    assert!(!kernel.state.servers[&key].destinations.contains_key(&leaving));
}

#[test]
fn on_a_node_that_is_not_ready_or_gone_the_short_limit_counts() {
    let drain = DrainLimits { usual: None, dead_node: Some(Duration::from_secs(5)) };
    for is_known in [true, false] {
        let mut proxier = complete_with(Settings { drain, ..settings() });
        let nodes = |ready| {
            let name =
                |name: &str| NodeReadiness { name: name.into(), ready: true, addresses: vec![] };
            let other = NodeReadiness { name: "node2".into(), ready, addresses: vec![] };
            let others = is_known.then_some(other);
            let all = std::iter::once(name("node1")).chain(others).collect();
            Event::NodeReadiness(Update::Listed(all))
        };
        proxier.fold(Event::NodeReadiness(Update::Listed(vec![])));
        if is_known {
            proxier.fold(nodes(true));
        }
        let (mut kernel, start) = (FakeKernel::default(), now());
        begin_to_drain(&mut proxier, &mut kernel, start);
        let before = proxier.round(&mut kernel, start).draining.next_end;
        assert_eq!(before.is_some(), !is_known);
        proxier.fold(nodes(false));
        let later = start + Duration::from_secs(5);
        assert_eq!(proxier.round(&mut kernel, later).draining.count, 0);
    }
}

#[test]
fn on_a_dead_node_the_short_limit_counts_although_the_weight_could_not_be_set_at_first() {
    let drain = DrainLimits { usual: None, dead_node: Some(Duration::from_secs(5)) };
    let mut proxier = complete_with(Settings { drain, ..settings() });
    proxier.fold(Event::NodeReadiness(Update::Listed(vec![])));
    let (mut kernel, start) = (FakeKernel::default(), now());
    let mut twin = (complete_with(Settings { drain, ..settings() }), FakeKernel::default());
    begin_to_drain(&mut twin.0, &mut twin.1, start);
    let at = |(change, _): &(Change, bool)| {
        matches!(change, Change::Server(ServerChange::UpdateDestination(_, _, 0)))
    };
    kernel.faults = twin.1.log.iter().position(at).into_iter().collect();
    assert_eq!(kernel.faults.len(), 1);
    let (key, leaving) = begin_to_drain(&mut proxier, &mut kernel, start);
    assert_eq!(kernel.state.servers[&key].destinations[&leaving].weight, 1);
    let again = start + Duration::from_secs(1);
    let ends = again + Duration::from_secs(5);
    assert_eq!(proxier.round(&mut kernel, again).draining.next_end, Some(ends));
    assert_eq!(proxier.round(&mut kernel, ends).draining.count, 0);
}

#[test]
fn a_failed_reading_changes_nothing_about_what_drains() {
    let drain = DrainLimits { usual: Some(Duration::from_secs(60)), dead_node: None };
    let mut proxier = complete_with(Settings { drain, ..settings() });
    let (mut kernel, start) = (FakeKernel::default(), now());
    begin_to_drain(&mut proxier, &mut kernel, start);
    let draining = proxier.failed_read(Cause::new("no"), now()).draining;
    let next_end = Some(start + Duration::from_secs(60));
    assert_eq!(draining, Draining { count: 1, next_end, ..Draining::default() });
}

#[test]
fn of_what_a_slice_reported_the_first_of_each_service_waits_while_its_family_is_blocked() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    let tell = |proxier: &mut Proxier, service: &str, host: u8, at| {
        let mut slice = slice(service, service, vec![ready(&format!("10.244.2.{host}"))]);
        slice.last_change.0 = Some(at);
        proxier.fold(Event::Slice(Update::Put(slice)));
    };
    for round in 1..10 {
        tell(&mut proxier, "web", round, i64::from(round));
        tell(&mut proxier, "gone", round, i64::from(round));
        proxier.plan();
        assert_eq!(proxier.failed_read(Cause::new("no"), now()).trigger_times, []);
        assert_eq!(proxier.trigger_times.len(), 2);
    }
    proxier.fold(Event::Slice(Update::Gone(SliceName::new("default", "gone"))));
    proxier.invalidate();
    let trigger_times = proxier.round(&mut kernel, now()).trigger_times;
    let trigger_times: Vec<_> = trigger_times.iter().map(|it| (&*it.service.name, it.at)).collect();
    assert_eq!(trigger_times, [("web", 1)]);
}

/// Removes an endpoint on node2 that has connections, and returns its destination.
fn begin_to_drain(
    proxier: &mut Proxier,
    kernel: &mut FakeKernel,
    at: Instant,
) -> (VirtualServerKey, SocketAddr) {
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    let both = vec![ready("10.244.2.1"), ready("10.244.2.2")];
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", both))));
    proxier.round(kernel, at);
    let (key, server) = kernel.state.servers.first_key_value().expect("one");
    let leaving = (*key, *server.destinations.keys().next().expect("two"));
    kernel.connections.insert(leaving, 3);
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.2")]))));
    proxier.round(kernel, at);
    leaving
}

pub(super) fn flow(frontend: &str, server: &str) -> Flow {
    Flow {
        protocol: Protocol::Udp,
        client: SocketAddr::new(ip("192.0.2.100"), 4321),
        frontend: frontend.parse().expect("an address"),
        server: server.parse().expect("an address"),
        answered: SocketAddr::new(ip("192.0.2.100"), 4321),
        id: 1,
        zone: 0,
    }
}

/// The events of a Service with the UDP port 53 and the node port 30053, with one endpoint.
pub(super) fn dns(endpoint: &str) -> [Event; 2] {
    let mut service = service("dns", &["10.96.0.10"]);
    service.ports = vec![service_port("dns", Protocol::Udp, 53)];
    service.ports[0].node_port = Some(30053);
    let mut slice = slice("a", "dns", vec![ready(endpoint)]);
    slice.ports[0].name = "dns".into();
    slice.ports[0].protocol = Protocol::Udp;
    [Event::Service(Update::Put(service)), Event::Slice(Update::Put(slice))]
}

#[test]
fn flows_to_endpoints_that_are_gone_are_forgotten_and_no_others() {
    let mut proxier = complete();
    let stale = flow("10.96.0.10:53", "10.244.2.1:8080");
    let at_node = flow("192.0.2.11:30053", "10.244.2.1:8080");
    let unmade = flow("10.96.0.10:53", "10.96.0.10:53");
    let alive = flow("10.96.0.10:53", "10.244.2.2:8080");
    let elsewhere = flow("198.51.100.9:30053", "198.51.100.9:30053");
    let foreign = flow("10.96.0.11:53", "10.244.2.1:8080");
    let flows = [stale, at_node, unmade, alive, elsewhere, foreign];
    let mut kernel = FakeKernel { flows: flows.into(), ..FakeKernel::default() };
    dns("10.244.2.2").into_iter().for_each(|event| proxier.fold(event));
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(kernel.flows, [alive, elsewhere, foreign].into());

    // Nothing of the Service has changed, so that no flows are read.
    kernel.flows.insert(stale);
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.round(&mut kernel, now());
    assert!(kernel.flows.contains(&stale));

    dns("10.244.2.3").into_iter().for_each(|event| proxier.fold(event));
    proxier.round(&mut kernel, now());
    assert_eq!(kernel.flows, [elsewhere, foreign].into());
}

#[test]
fn flows_that_could_not_be_forgotten_are_tried_again() {
    let mut proxier = complete();
    let stale = flow("10.96.0.10:53", "10.244.2.1:8080");
    dns("10.244.2.2").into_iter().for_each(|event| proxier.fold(event));
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    kernel.flows.insert(stale);
    dns("10.244.2.3").into_iter().for_each(|event| proxier.fold(event));
    // At each of two frontends a destination is added and one removed; the flow is the fifth change.
    kernel.faults = [kernel.log.len() + 4].into();
    assert!(!proxier.round(&mut kernel, now()).is_success());
    assert!(kernel.flows.contains(&stale));
    kernel.faults.clear();
    assert!(proxier.round(&mut kernel, after(1)).is_success());
    assert!(kernel.flows.is_empty());
}

#[test]
fn a_set_grows_before_it_would_overflow() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    let set = SetKey { family: Family::V4, name: SetName::ClusterIp };
    kernel.state.capacities.insert(set, 2);
    proxier.invalidate();
    let mut service = service("web", &["10.96.0.1"]);
    service.ports = (0..3).map(|n| service_port(&format!("p{n}"), Protocol::Tcp, 80 + n)).collect();
    proxier.fold(Event::Service(Update::Put(service)));
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!(kernel.state.capacities[&set], 4);
    let lines: Vec<_> = kernel.log.iter().map(|(change, _)| change.to_string()).collect();
    let at = |text: &str| lines.iter().position(|line| line.starts_with(text)).expect("a line");
    assert!(at("grow set KUBE-CLUSTER-IP to 4") < at("add entry KUBE-CLUSTER-IP"));
}

#[test]
fn leftovers_of_other_modes_go_when_everything_else_stands() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    kernel.state.legacy_rules.v4 = true;
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    assert!(proxier.round(&mut kernel, now()).is_success());
    let (last, _) = kernel.log.last().expect("changes");
    assert_eq!(last.to_string(), "remove legacy rules of other modes IPv4");
    assert!(matches!(last, Change::Rules(RulesChange::RemoveLegacy(_))));
}

#[test]
fn a_family_whose_rules_cannot_be_read_is_left_alone_and_the_other_is_served() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    assert!(proxier.round(&mut kernel, now()).is_success());
    let rules = kernel.state.rules.v6.clone();
    kernel.unread.v6 = Some(Cause::new("xtables are locked"));
    proxier.invalidate();
    let both = service("both", &["10.96.0.2", "fd00::2"]);
    proxier.fold(Event::Service(Update::Put(both)));
    let before = kernel.log.len();
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.blocked, PerFamily { v4: false, v6: true });
    let failed: Vec<_> = outcome.failed.iter().map(ToString::to_string).collect();
    assert_eq!(failed, ["read rules IPv6: xtables are locked"]);
    let reached = |text: &str| kernel.state.addresses.contains(&ip(text));
    assert!(reached("10.96.0.2") && !reached("fd00::2"));
    let writes = |(change, _): &(Change, bool)| matches!(change, Change::Rules(RulesChange::Write(step)) if step.family == Family::V6);
    assert!(!kernel.log[before..].iter().any(writes));
    assert_eq!(kernel.state.rules.v6, rules);

    kernel.unread.v6 = None;
    assert!(proxier.round(&mut kernel, after(1)).is_success());
    assert_eq!(missing(&proxier, &kernel), "");
    assert!(kernel.state.addresses.contains(&ip("fd00::2")));
}

#[test]
fn flows_are_forgotten_before_a_virtual_server_that_has_joined_gets_destinations() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    let udp = |n: u32| {
        let mut service =
            service(&format!("u{n}"), &[&format!("10.97.{}.{}", n / 200, 1 + n % 200)]);
        service.ports = vec![service_port("dns", Protocol::Udp, 53)];
        let mut slice = slice(&format!("u{n}"), &format!("u{n}"), vec![ready("10.244.2.1")]);
        slice.ports[0] = slice_port("dns", Protocol::Udp, 5353);
        [Event::Service(Update::Put(service)), Event::Slice(Update::Put(slice))]
    };
    let add = |proxier: &mut Proxier, n| udp(n).into_iter().for_each(|event| proxier.fold(event));
    (0..2).for_each(|n| add(&mut proxier, n));
    let serves = |kernel: &FakeKernel| {
        let servers = kernel.state.servers.values();
        servers.filter(|server| server.destinations.count() > 0).count()
    };
    // Runs until one of two virtual servers has a destination.
    while serves(&kernel) == 0 {
        assert!(proxier.step(&mut kernel, now(), Budget(1)).is_none());
    }
    let stale = flow("10.97.1.5:53", "10.97.1.5:53");
    kernel.flows.insert(stale);
    (2..400).for_each(|n| add(&mut proxier, n));
    while proxier.step(&mut kernel, now(), Budget(1)).is_none() {}
    let lines: Vec<_> = kernel.log.iter().map(|(change, _)| change.to_string()).collect();
    let at = |text: &str| lines.iter().position(|line| line.starts_with(text)).expect(text);
    let forgotten = at("remove flow");
    assert!(at("add virtual server 10.97.1.5:53/udp") < forgotten);
    assert!(at("add address 10.97.1.5") < forgotten);
    assert!(forgotten < at("add destination 10.97.1.5:53/udp"));
}

#[test]
fn sets_grow_for_what_waits_too() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.round(&mut kernel, now());
    let set = SetKey { family: Family::V4, name: SetName::ClusterIp };
    kernel.state.capacities.insert(set, 8);
    proxier.invalidate();
    let add = |proxier: &mut Proxier, n: u8| {
        let service = service(&format!("s{n}"), &[&format!("10.96.1.{n}")]);
        proxier.fold(Event::Service(Update::Put(service)));
    };
    (1..=7).for_each(|n| add(&mut proxier, n));
    assert!(proxier.step(&mut kernel, now(), Budget(1)).is_none());
    // These are made first, and there must be room for those that wait, too.
    (8..=14).for_each(|n| add(&mut proxier, n));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.failed, []);
    assert_eq!((kernel.state.sets[&set].len(), kernel.state.capacities[&set]), (14, 16));
    // These are too many to be made first. They join those that wait, for which the set has grown already.
    (15..=17).for_each(|n| add(&mut proxier, n));
    assert!(proxier.step(&mut kernel, now(), Budget(1)).is_none());
    (18..=240).for_each(|n| add(&mut proxier, n));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.failed, []);
    assert_eq!((kernel.state.sets[&set].len(), kernel.state.capacities[&set]), (240, 256));
}
