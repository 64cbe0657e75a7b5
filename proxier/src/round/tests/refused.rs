//! Tests of what one refused object does to others, and of when it is tried again.

use std::net::SocketAddr;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::apply::{CauseKind, Refusal};
use crate::diff::{RulesChange, ServerChange, SetChange};
use crate::model::{Completeness, Service, SourceRanges};
use crate::plan::ServerSettings;

/// Returns the same instant each time. On a busy machine a test may take longer than the first pause.
fn now() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(crate::testing::now)
}

/// An address that the API server admits and this kernel refuses as a destination.
const ODD: &str = "192.0.2.255";

fn put(service: &Service) -> Event {
    Event::Service(Update::Put(service.clone()))
}

fn endpoints(name: &str, addresses: &[&str]) -> Event {
    let ready = addresses.iter().map(|address| ready(address)).collect();
    Event::Slice(Update::Put(slice(name, name, ready)))
}

fn refuses_odd(change: &Change) -> bool {
    matches!(change, Change::Server(ServerChange::AddDestination(_, to, _)) if to.ip() == ip(ODD))
}

/// A Service with a refused and an accepted endpoint, and another Service.
fn with_one_refused() -> (Proxier, FakeKernel) {
    let mut proxier = complete();
    let mut kernel = FakeKernel { refused: Some(refuses_odd), ..FakeKernel::default() };
    proxier.fold(put(&service("odd", &["10.96.0.9"])));
    proxier.fold(endpoints("odd", &[ODD, "10.244.2.9"]));
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!((outcome.failed.len(), outcome.refused, outcome.needs_full_reading), (1, 1, false));
    (proxier, kernel)
}

fn key(address: &str) -> VirtualServerKey {
    VirtualServerKey { protocol: Protocol::Tcp, address: ip(address), port: 80 }
}

fn tries(kernel: &FakeKernel, of: impl Fn(&Change) -> bool) -> usize {
    kernel.log.iter().filter(|(change, _)| of(change)).count()
}

fn destinations(kernel: &FakeKernel, address: &str) -> usize {
    kernel.state.servers.get(&key(address)).map_or(0, |server| server.destinations.count())
}

#[test]
fn one_object_that_is_refused_for_ever_lets_no_change_of_others_read_the_kernel_or_try_it_again() {
    let (mut proxier, mut kernel) = with_one_refused();
    assert_eq!((kernel.reads, destinations(&kernel, "10.96.0.9")), (1, 1));
    for n in 1..=20u8 {
        proxier.fold(endpoints("web", &[&format!("10.244.2.{n}")]));
        let outcome = proxier.round(&mut kernel, now());
        assert_eq!((outcome.failed.len(), outcome.refused), (0, 1));
        assert_eq!(destinations(&kernel, "10.96.0.1"), 1);
        proxier.round(&mut kernel, now());
    }
    assert_eq!((kernel.reads, kernel.server_reads), (1, 0));
    assert_eq!(tries(&kernel, refuses_odd), 1);
    // A change of its own virtual server does not retry it either.
    proxier.fold(endpoints("odd", &[ODD, "10.244.2.9", "10.244.2.10"]));
    proxier.round(&mut kernel, now());
    assert_eq!((destinations(&kernel, "10.96.0.9"), tries(&kernel, refuses_odd)), (2, 1));
}

#[test]
fn a_refused_object_is_tried_again_with_growing_pauses_until_it_is_taken() {
    let (mut proxier, mut kernel) = with_one_refused();
    let mut at = now();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let next = proxier.refused.next_retry().expect("a time");
        assert!(proxier.round(&mut kernel, next - Duration::from_millis(1)).failed.is_empty());
        assert_eq!(proxier.round(&mut kernel, next).failed.len(), 1);
        pauses.push((next - at).as_millis() / 10);
        at = next;
    }
    // The first pause began a moment before this test took the time.
    assert_eq!(pauses[1..], [50, 100, 200, 400, 800, 1600, 3000, 3000]);
    kernel.refused = None;
    let outcome = proxier.round(&mut kernel, at + Duration::from_secs(30));
    assert!(outcome.is_success());
    assert_eq!(
        outcome.resolved,
        [format!("add destination 10.96.0.9:80/tcp -> {ODD}:8080 weight 1")]
    );
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
}

#[test]
fn what_nobody_wants_any_more_is_no_failure_any_more() {
    let (mut proxier, mut kernel) = with_one_refused();
    proxier.fold(endpoints("odd", &["10.244.2.9"]));
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success());
    assert_eq!((outcome.resolved.len(), proxier.refused.next_retry()), (1, None));
}

#[test]
fn a_failure_with_other_words_is_the_same_one() {
    let (mut proxier, mut kernel) = with_one_refused();
    let outcome = proxier.round(&mut kernel, after(1));
    assert_eq!((outcome.failed.len(), outcome.resolved.len()), (1, 0));
}

/// A load balancer that admits only 198.51.100.0/24, on a kernel that refuses its guard.
fn guarded() -> (Proxier, FakeKernel, Service) {
    let mut proxier = complete();
    let refused = |change: &Change| matches!(change, Change::Set(SetChange::AddEntry(set, _)) if set.name == SetName::LoadBalancerFw);
    let mut kernel = FakeKernel { refused: Some(refused), ..FakeKernel::default() };
    let mut balancer = service("lb", &["10.96.0.1"]);
    balancer.load_balancer_ips = vec![ip("203.0.113.2")];
    balancer.source_ranges = SourceRanges::Listed {
        nets: vec!["198.51.100.0/24".parse().expect("a network")],
        completeness: Completeness::Complete,
    };
    proxier.fold(put(&balancer));
    proxier.fold(endpoints("lb", &["10.244.2.1"]));
    proxier.round(&mut kernel, now());
    assert_eq!(destinations(&kernel, "203.0.113.2"), 0);
    assert_eq!(destinations(&kernel, "10.96.0.1"), 1);
    (proxier, kernel, balancer)
}

#[test]
fn what_is_held_back_stays_so_while_its_protection_waits_for_its_time_and_comes_with_it() {
    let (mut proxier, mut kernel, _) = guarded();
    for n in 2..=5u8 {
        proxier.fold(endpoints("lb", &["10.244.2.1", &format!("10.244.2.{n}")]));
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.failed.is_empty() && outcome.held_back > 0);
        assert_eq!(destinations(&kernel, "203.0.113.2"), 0);
    }
    kernel.refused = None;
    let outcome = proxier.round(&mut kernel, after(1));
    assert!(outcome.is_success());
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
}

#[test]
fn what_is_held_back_comes_at_once_when_its_protection_is_no_longer_wanted() {
    let (mut proxier, mut kernel, mut balancer) = guarded();
    balancer.source_ranges = SourceRanges::Unrestricted;
    proxier.fold(put(&balancer));
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
}

#[test]
fn a_virtual_server_that_another_hand_has_made_or_taken_is_read_by_itself_and_put_right_at_once() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    proxier.fold(endpoints("web", &["10.244.2.1"]));
    proxier.round(&mut kernel, now());
    // Another program removes the virtual server.
    kernel.state.servers.remove(&key("10.96.0.1"));
    proxier.fold(endpoints("web", &["10.244.2.1", "10.244.2.2"]));
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!((missing(&proxier, &kernel), kernel.server_reads), (String::new(), 1));
    // Another program creates a virtual server with other settings.
    let made = Change::Server(ServerChange::Add(
        key("10.96.0.2"),
        ServerSettings {
            scheduler: "mh".into(),
            ..kernel.state.servers[&key("10.96.0.1")].settings.clone()
        },
    ));
    kernel.state.record(&made);
    let foreign: SocketAddr = "198.51.100.1:80".parse().expect("an address");
    kernel.state.record(&Change::Server(ServerChange::AddDestination(
        key("10.96.0.2"),
        foreign,
        7,
    )));
    proxier.fold(put(&service("more", &["10.96.0.2"])));
    proxier.fold(endpoints("more", &["10.244.2.3"]));
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!((kernel.server_reads, kernel.reads), (2, 1));
    assert_eq!(proxier.cached(), Some(&kernel.state));
}

#[test]
fn a_contradiction_that_lasts_is_refused_like_everything_else() {
    let mut proxier = complete();
    let mut kernel = FakeKernel {
        refused: Some(refuses_odd),
        refusal: Some(CauseKind::Refused(Refusal::AlreadyThere)),
        ..FakeKernel::default()
    };
    proxier.fold(put(&service("odd", &["10.96.0.9"])));
    proxier.fold(endpoints("odd", &[ODD, "10.244.2.9"]));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!((outcome.refused, outcome.needs_full_reading, kernel.server_reads), (1, false, 1));
    proxier.round(&mut kernel, now());
    assert_eq!((kernel.server_reads, kernel.reads), (1, 1));
    assert_eq!(destinations(&kernel, "10.96.0.9"), 1);
}

#[test]
fn only_an_exchange_without_an_answer_makes_everything_be_read_again() {
    let mut proxier = complete();
    let mut kernel = FakeKernel { loses_answers: true, ..FakeKernel::default() };
    proxier.round(&mut kernel, now());
    kernel.faults = [kernel.log.len()].into();
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.needs_full_reading && !outcome.is_success());
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 2));
}

#[test]
fn a_set_that_another_hand_has_taken_makes_everything_be_read_once() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    proxier.round(&mut kernel, now());
    kernel.state.sets.remove(&SetKey { family: Family::V4, name: SetName::ClusterIp });
    proxier.fold(put(&service("more", &["10.96.0.2"])));
    assert!(proxier.round(&mut kernel, now()).needs_full_reading);
    assert!(proxier.round(&mut kernel, now()).is_success());
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 2));
}

/// A Service of both families on a kernel that refuses a change of IPv6, which blocks that family.
fn six_blocked(refused: fn(&Change) -> bool) -> (Proxier, FakeKernel) {
    let mut proxier = complete();
    let mut kernel = FakeKernel { refused: Some(refused), ..FakeKernel::default() };
    proxier.fold(put(&service("web", &["10.96.0.1", "fd00:10:96::1"])));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.blocked, PerFamily { v4: false, v6: true });
    (proxier, kernel)
}

#[test]
fn a_family_that_is_blocked_holds_what_is_new_in_it_and_costs_the_other_nothing() {
    let rules = |change: &Change| matches!(change, Change::Rules(RulesChange::Write(step)) if step.family == Family::V6);
    let sets = |change: &Change| matches!(change, Change::Set(SetChange::Create(set)) if set.family == Family::V6);
    for refused in [rules, sets] {
        let (mut proxier, mut kernel) = six_blocked(refused);
        let before = tries(&kernel, refused);
        for n in 2..=9u8 {
            let ips = [format!("10.96.0.{n}"), format!("fd00:10:96::{n}")];
            proxier.fold(put(&service(&format!("s{n}"), &ips.each_ref().map(String::as_str))));
            let outcome = proxier.round(&mut kernel, now());
            assert_eq!(outcome.blocked, PerFamily { v4: false, v6: true });
            assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
            assert!(kernel.state.addresses.contains(&ip(&ips[0])));
            assert!(!kernel.state.addresses.contains(&ip(&ips[1])));
        }
        assert_eq!((tries(&kernel, refused), kernel.reads), (before, 1));
        kernel.refused = None;
        let outcome = proxier.round(&mut kernel, after(1));
        assert!(outcome.is_success(), "{:?}", outcome.failed);
        assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
    }
}

#[test]
fn rules_that_cannot_be_read_beside_the_rounds_are_read_by_themselves_when_their_time_comes() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    proxier.fold(put(&service("web", &["10.96.0.1", "fd00:10:96::1"])));
    assert!(proxier.round(&mut kernel, now()).is_success());
    kernel.unread.v6 = Some(Cause::new("xtables are locked"));
    assert!(proxier.begin_audit());
    let reading = kernel.observe().expect("a reading");
    proxier.end_audit(reading, now());
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.blocked, PerFamily { v4: false, v6: true });
    assert_eq!((outcome.failed.len(), outcome.differences.counts.len()), (1, 0));
    kernel.unread.v6 = None;
    let outcome = proxier.round(&mut kernel, after(1));
    assert!(outcome.is_success());
    assert_eq!((outcome.resolved, kernel.reads), (vec!["read rules IPv6".to_owned()], 2));
}

#[test]
fn an_audit_takes_what_is_refused_or_held_back_for_nobodys_change() {
    let (mut proxier, mut kernel, _) = guarded();
    assert!(proxier.begin_audit());
    let reading = kernel.observe().expect("a reading");
    proxier.end_audit(reading, now());
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.differences.counts, [].into());
    assert!(outcome.failed.is_empty() && outcome.refused == 1);
    assert_eq!(destinations(&kernel, "203.0.113.2"), 0);
}

#[test]
fn thousands_of_refused_objects_make_no_round_for_another_longer() {
    let mut proxier = complete();
    let refused = |change: &Change| matches!(change, Change::Server(ServerChange::Add(key, _)) if key.address.to_string().starts_with("10.97."));
    let mut kernel = FakeKernel { refused: Some(refused), ..FakeKernel::default() };
    for n in 0..3000u32 {
        let address = format!("10.97.{}.{}", n / 200, 1 + n % 200);
        proxier.fold(put(&service(&format!("s{n}"), &[&address])));
    }
    assert_eq!(proxier.round(&mut kernel, now()).refused, 3000);
    let before = kernel.log.len();
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!((outcome.failed.len(), outcome.held_back, outcome.refused), (0, 0, 3000));
    assert!(kernel.log.len() - before < 10, "{:?}", &kernel.log[before..]);
    // Not all objects are tried again at once.
    let later = after(1);
    let failed = proxier.round(&mut kernel, later).failed.len();
    assert!((1..1000).contains(&failed), "{failed}");
    kernel.refused = None;
    for _ in 0..10 {
        proxier.round(&mut kernel, later + Duration::from_secs(60));
    }
    assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
}

#[test]
fn a_destination_whose_removal_is_refused_is_not_tried_again_before_its_time() {
    let mut proxier = complete();
    proxier.settings.drain = DrainLimits { usual: Some(Duration::from_secs(5)), dead_node: None };
    let mut kernel = FakeKernel::default();
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    proxier.fold(endpoints("web", &["10.244.2.1", "10.244.2.2"]));
    proxier.round(&mut kernel, now());
    let leaving: SocketAddr = "10.244.2.1:8080".parse().expect("an address");
    kernel.connections.insert((key("10.96.0.1"), leaving), 1);
    proxier.fold(endpoints("web", &["10.244.2.2"]));
    proxier.round(&mut kernel, now());
    let is_removal =
        |change: &Change| matches!(change, Change::Server(ServerChange::RemoveDestination(..)));
    kernel.refused = Some(is_removal);
    let at = after(1);
    let outcome = proxier.round(&mut kernel, at);
    assert_eq!((outcome.draining.count, outcome.draining.next_end), (1, None));
    assert_eq!(outcome.next_retry, Some(at + Duration::from_millis(250)));
    proxier.round(&mut kernel, at);
    assert_eq!(tries(&kernel, is_removal), 1);
    kernel.refused = None;
    assert!(proxier.round(&mut kernel, at + Duration::from_secs(1)).is_success());
    assert_eq!(missing(&proxier, &kernel), "");
}

#[test]
fn facts_pass_while_many_virtual_servers_get_another_scheduler() {
    let mut proxier = complete();
    let mut kernel = FakeKernel::default();
    for n in 1..=50u8 {
        proxier.fold(put(&service(&format!("s{n}"), &[&format!("10.96.1.{n}")])));
    }
    proxier.round(&mut kernel, now());
    for server in kernel.state.servers.values_mut() {
        server.settings.scheduler = "mh".into();
    }
    proxier.invalidate();
    let done = |kernel: &FakeKernel| {
        tries(kernel, |change| matches!(change, Change::Server(ServerChange::Update(..))))
    };
    while done(&kernel) == 0 {
        assert!(proxier.step(&mut kernel, now(), Budget(2000)).is_none());
    }
    assert_eq!(done(&kernel), 1);
    proxier.fold(put(&service("web", &["10.96.0.1"])));
    assert!(proxier.step(&mut kernel, now(), Budget(2000)).is_none());
    assert!(kernel.state.servers.contains_key(&key("10.96.0.1")) && done(&kernel) < 4);
}

proptest! {
    #[test]
    fn what_another_hand_does_to_virtual_servers_is_put_right_without_a_whole_reading(
        history in some_history(), which in prop::collection::vec((0..40usize, prop::bool::ANY), 6)
    ) {
        let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
        let mut which = which.into_iter().cycle();
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            proxier.round(&mut kernel, now());
            let (at, has_destinations) = which.next().expect("more");
            let keys: Vec<_> = kernel.state.servers.keys().copied().collect();
            if let Some(key) = keys.get(at) {
                match kernel.state.servers.get_mut(key) {
                    Some(server) if has_destinations => server.destinations = [].into_iter().collect(),
                    _ => drop(kernel.state.servers.remove(key)),
                }
            }
        }
        let before = kernel.reads;
        // Every Service changes, so that every object is changed again.
        let all: Vec<_> = proxier.store.services().cloned().collect();
        for mut service in all {
            service.ports.iter_mut().for_each(|port| port.port += 1000);
            proxier.fold(put(&service));
        }
        proxier.round(&mut kernel, now());
        prop_assert!(proxier.begin_audit());
        let reading = kernel.state.clone().into();
        proxier.end_audit(reading, now());
        let outcome = proxier.round(&mut kernel, now());
        prop_assert!(outcome.is_success(), "{:?}", outcome.failed);
        prop_assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), before));
    }

    #[test]
    fn with_objects_refused_for_ever_everything_else_becomes_as_wished(
        history in some_history(), seconds in 0..40u64
    ) {
        // Some changes of each kind are refused, always the same ones.
        let refused = |change: &Change| change.to_string().bytes().map(usize::from).sum::<usize>() % 7 == 0
            && !matches!(change, Change::Rules(RulesChange::Write(_)) | Change::Set(SetChange::Create(_)) | Change::AddDevice);
        let mut proxier = complete();
        let mut kernel = FakeKernel { refused: Some(refused), ..FakeKernel::default() };
        let mut at = now();
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            at += Duration::from_secs(seconds);
            proxier.round(&mut kernel, at);
            prop_assert_eq!(unguarded(&kernel), [""; 0]);
            let cached = proxier.cached().expect("no doubt");
            prop_assert_eq!(cached, &kernel.state);
        }
        prop_assert_eq!(kernel.reads, 1);
        kernel.refused = None;
        for _ in 0..3 {
            at += Duration::from_secs(60);
            proxier.round(&mut kernel, at);
        }
        prop_assert_eq!((missing(&proxier, &kernel), kernel.reads), (String::new(), 1));
    }
}
