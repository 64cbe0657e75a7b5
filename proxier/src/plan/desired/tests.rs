//! Tests of counting what several Services need.

use super::*;
use crate::model::{Service, Slice, SourceRanges, TrafficPolicy};
use crate::plan::{LocalNode, plan_service};
use crate::testing::{ready, service, settings, slice};

fn plan(desired: &mut Desired, name: &str, created: i64, ip: &str, endpoint: &str) -> DirtyKeys {
    let slice = slice("s", name, vec![ready(endpoint)]);
    replace(desired, &Service { created, ..service(name, &[ip]) }, &slice)
}

fn replace(desired: &mut Desired, service: &Service, slice: &Slice) -> DirtyKeys {
    let settings = settings();
    let here = LocalNode::new(None, &[], &settings);
    let wanted = plan_service(service, &[slice], &here, &settings);
    let claimant = Owner { created: service.created, service: service.name.clone() };
    let mut dirty_keys = DirtyKeys::default();
    desired.replace(&service.name, Some((claimant, wanted)), &mut dirty_keys);
    dirty_keys
}

fn destination_of(desired: &Desired) -> String {
    let (_, server) = desired.servers().next().expect("one server");
    server.destinations.first().expect("one destination").to_string()
}

#[test]
fn the_older_service_wins_a_shared_address_and_the_loser_takes_over() {
    let mut desired = Desired::default();
    plan(&mut desired, "young", 20, "10.96.0.1", "10.244.2.1");
    plan(&mut desired, "old", 10, "10.96.0.1", "10.244.2.2");
    assert_eq!(desired.servers().count(), 1);
    assert_eq!(destination_of(&desired), "10.244.2.2:8080");
    desired.replace(&ServiceName::new("default", "old"), None, &mut DirtyKeys::default());
    assert_eq!(destination_of(&desired), "10.244.2.1:8080");
    assert_eq!(desired.addresses().count(), 1);
}

#[test]
fn an_entry_two_services_want_stays_until_the_second_goes() {
    let mut desired = Desired::default();
    plan(&mut desired, "a", 0, "10.96.0.1", "10.244.1.1");
    plan(&mut desired, "b", 0, "10.96.0.2", "10.244.1.1");
    let hairpin = SetKey { family: Family::V4, name: SetName::LoopBack };
    assert_eq!(desired.entries(hairpin).count(), 1);
    desired.replace(&ServiceName::new("default", "a"), None, &mut DirtyKeys::default());
    assert_eq!(desired.entries(hairpin).count(), 1);
    desired.replace(&ServiceName::new("default", "b"), None, &mut DirtyKeys::default());
    assert_eq!(desired.entries(hairpin).count(), 0);
    assert!(desired.filled(Family::V4).is_empty());
}

#[test]
fn the_same_plan_again_touches_nothing() {
    let mut desired = Desired::default();
    plan(&mut desired, "a", 0, "10.96.0.1", "10.244.1.1");
    assert_eq!(plan(&mut desired, "a", 0, "10.96.0.1", "10.244.1.1"), DirtyKeys::default());
}

#[test]
fn what_the_loser_of_a_frontend_wants_there_does_not_count_until_it_wins() {
    let mut desired = Desired::default();
    let vip = "203.0.113.7".parse().expect("an address");
    let balanced = |name: &str, created, ip, policy| Service {
        created,
        load_balancer_ips: vec![vip],
        external_policy: policy,
        ..service(name, &[ip])
    };
    let slice = slice("s", "none", vec![]);
    replace(&mut desired, &balanced("young", 20, "10.96.0.1", TrafficPolicy::Local), &slice);
    let local = SetKey { family: Family::V4, name: SetName::LoadBalancerLocal };
    assert_eq!(desired.entries(local).count(), 1);
    replace(&mut desired, &balanced("old", 10, "10.96.0.2", TrafficPolicy::Cluster), &slice);
    assert_eq!(desired.entries(local).count(), 0);
    let lost: Vec<_> =
        desired.conflicts().iter().map(|(lost, to)| (lost.1.to_string(), to)).collect();
    let old = ServiceName::new("default", "old");
    assert_eq!(lost, [("default/young".into(), &old)]);
    desired.replace(&old, None, &mut DirtyKeys::default());
    assert_eq!(desired.entries(local).count(), 1);
    assert!(desired.conflicts().is_empty());
}

#[test]
fn rules_are_planned_anew_where_a_fact_has_changed_and_not_changed_back() {
    let mut desired = Desired::default();
    let balanced = Service {
        load_balancer_ips: vec!["203.0.113.7".parse().expect("an address")],
        source_ranges: ["198.51.100.0/24".parse().expect("a network")].into_iter().collect(),
        ..service("web", &["10.96.0.1"])
    };
    let with = |endpoint| slice("s", "web", vec![ready(endpoint)]);
    replace(&mut desired, &balanced, &with("10.244.2.1"));
    assert_eq!(desired.counts.take_stale(), PerFamily { v4: true, v6: false });
    let dirty_keys = replace(&mut desired, &balanced, &with("10.244.2.2"));
    assert!(!dirty_keys.servers.is_empty());
    assert_eq!(desired.counts.take_stale(), PerFamily::default());
    let open = Service { source_ranges: SourceRanges::Unrestricted, ..balanced };
    replace(&mut desired, &open, &with("10.244.2.2"));
    assert_eq!(desired.counts.take_stale(), PerFamily { v4: true, v6: false });
}
