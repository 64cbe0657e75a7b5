//! Properties of rounds: they converge, repeat nothing, break nothing, survive faults.

use proptest::prelude::*;

use super::*;
use crate::apply::fake::FakeKernel;
use crate::model::{Endpoint, Family, Protocol, Service, Slice, SliceName, Update};
use crate::plan::{SetKey, SetName};
use crate::testing::{ready, service, service_port, settings, slice, terminating, unready};

fn complete() -> Proxier {
    let mut proxier = Proxier::new(settings());
    proxier.fold(Event::Service(Update::Listed(vec![])));
    proxier.fold(Event::Slice(Update::Listed(vec![])));
    proxier.fold(Event::Node(None));
    proxier.fold(Event::Addresses(vec![]));
    proxier
}

/// What the proxier would find to do if it read the kernel now.
fn missing(proxier: &Proxier, kernel: &FakeKernel) -> String {
    proxier.comparison(&kernel.state).changes(Extent::Everything).to_string()
}

fn some_service() -> impl Strategy<Value = Service> {
    (0..4u8, 0..3u8, prop::bool::ANY, prop::bool::ANY).prop_map(|(name, ip, six, udp)| {
        let ips = [format!("10.96.0.{ip}"), format!("fd00:10:96::{ip}")];
        let ips: Vec<&str> = ips.iter().take(1 + usize::from(six)).map(String::as_str).collect();
        let mut service = service(&format!("s{name}"), &ips);
        service.created = i64::from(name % 2);
        if udp {
            service.ports.push(service_port("dns", Protocol::Udp, 53));
        }
        service
    })
}

fn some_endpoint() -> impl Strategy<Value = Endpoint> {
    (1..3u8, 1..4u8, 0..3u8).prop_map(|(node, host, state)| {
        let address = format!("10.244.{node}.{host}");
        match state {
            0 => ready(&address),
            1 => terminating(&address),
            _ => unready(&address),
        }
    })
}

fn some_slice() -> impl Strategy<Value = Slice> {
    (0..5u8, 0..4u8, prop::collection::vec(some_endpoint(), 0..4))
        .prop_map(|(name, of, endpoints)| slice(&format!("e{name}"), &format!("s{of}"), endpoints))
}

fn some_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => some_service().prop_map(|s| Event::Service(Update::Put(s))),
        1 => (0..4u8).prop_map(|n| {
            Event::Service(Update::Gone(ServiceName::new("default", format!("s{n}"))))
        }),
        4 => some_slice().prop_map(|s| Event::Slice(Update::Put(s))),
        1 => (0..5u8).prop_map(|n| {
            Event::Slice(Update::Gone(SliceName::new("default", format!("e{n}"))))
        }),
    ]
}

/// Events in batches; each batch is one round.
fn some_history() -> impl Strategy<Value = Vec<Vec<Event>>> {
    prop::collection::vec(prop::collection::vec(some_event(), 1..5), 1..8)
}

/// Every service address that answers has its protection.
fn is_guarded(state: &Observed) -> bool {
    state.servers.keys().filter(|key| state.addresses.contains(&key.address)).all(|key| {
        let has = |name, entry| {
            let set = SetKey { family: key.family(), name };
            state.sets.get(&set).is_some_and(|entries| entries.contains(&entry))
        };
        let rules = state.rules.of(key.family());
        has(
            SetName::ClusterIp,
            crate::plan::Entry::AddressPort(key.address, key.protocol, key.port),
        ) && has(SetName::IpvsIps, crate::plan::Entry::Address(key.address))
            && rules.chains.values().flatten().any(|rule| {
                rule.contains(SetName::ClusterIp.in_family(key.family()))
                    && rule.ends_with("-j KUBE-MARK-MASQ")
            })
    })
}

/// True if a new connection to the virtual server would reach something.
fn answers(state: &Observed, key: &VirtualServerKey) -> bool {
    state.addresses.contains(&key.address)
        && state
            .servers
            .get(key)
            .is_some_and(|server| server.destinations.values().any(|found| found.weight > 0))
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
            let outcome = proxier.round(&mut kernel);
            prop_assert!(outcome.is_success(), "{:?}", outcome.failed);
            prop_assert_eq!(missing(&proxier, &kernel), "");
            let before = kernel.log.len();
            proxier.round(&mut kernel);
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
            proxier.round(&mut kernel);
        }
        let mut fresh = FakeKernel::default();
        whole.round(&mut fresh);
        prop_assert_eq!(kernel.state, fresh.state);
    }

    #[test]
    fn no_moment_of_any_transition_breaks_an_address_that_is_served_before_and_after(
        history in some_history()
    ) {
        let mut proxier = complete();
        let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            let before = kernel.state.clone();
            kernel.history.clear();
            proxier.round(&mut kernel);
            let kept: Vec<_> = before
                .servers
                .keys()
                .filter(|key| answers(&before, key) && answers(&kernel.state, key))
                .collect();
            for moment in &kernel.history {
                prop_assert!(is_guarded(moment));
                prop_assert!(kept.iter().all(|key| answers(moment, key)));
            }
        }
    }

    #[test]
    fn a_fault_at_any_point_is_healed_by_the_next_rounds(
        history in some_history(), faults in prop::collection::btree_set(0..120usize, 1..12)
    ) {
        let mut proxier = complete();
        let mut kernel = FakeKernel { faults, ..FakeKernel::default() };
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            for _ in 0..13 {
                if proxier.round(&mut kernel).is_success() {
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
    proxier.round(&mut kernel);
    let done = kernel.log.len();
    proxier.belief = None;
    proxier.round(&mut kernel);
    assert_eq!((kernel.reads, kernel.log.len()), (2, done));
}

#[test]
fn a_tcp_destination_with_connections_drains_and_goes_when_they_end() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    let both = vec![ready("10.244.2.1"), ready("10.244.2.2")];
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", both))));
    proxier.round(&mut kernel);
    let (key, server) = kernel.state.servers.first_key_value().expect("one");
    let leaving = (*key, *server.destinations.first_key_value().expect("two").0);
    kernel.connections.insert(leaving, 3);

    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.2")]))));
    assert!(proxier.round(&mut kernel).draining.contains(&leaving));
    assert_eq!(kernel.state.servers[&leaving.0].destinations[&leaving.1].weight, 0);

    kernel.connections.clear();
    assert!(proxier.round(&mut kernel).draining.contains(&leaving));
    proxier.look_at_draining();
    assert!(proxier.round(&mut kernel).draining.is_empty());
    assert!(!kernel.state.servers[&leaving.0].destinations.contains_key(&leaving.1));
}

#[test]
fn a_draining_endpoint_that_comes_back_keeps_its_connections_and_gets_its_weight() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(Event::Service(Update::Put(service("web", &["10.96.0.1"]))));
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    proxier.round(&mut kernel);
    let (key, server) = kernel.state.servers.first_key_value().expect("one");
    let leaving = (*key, *server.destinations.first_key_value().expect("one").0);
    kernel.connections.insert(leaving, 1);
    proxier.fold(Event::Slice(Update::Gone(SliceName::new("default", "a"))));
    proxier.round(&mut kernel);
    proxier.fold(Event::Slice(Update::Put(slice("a", "web", vec![ready("10.244.2.1")]))));
    let outcome = proxier.round(&mut kernel);
    assert!(outcome.draining.is_empty());
    assert_eq!(kernel.state.servers[&leaving.0].destinations[&leaving.1].weight, 1);
    let added = kernel.log.iter().filter(|(c, _)| matches!(c, Change::AddDestination(..)));
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
    proxier.round(&mut kernel);
    assert!(kernel.state.sets.keys().all(|set| set.family == Family::V4));
    assert!(kernel.log.iter().all(|(change, _)| change.family() != Some(Family::V6)));
}
