//! Tests of nodes that lack a match, a target or a set type.
//!
//! The fake kernel refuses what needs a feature that it lacks, as Linux does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::plan::{ChainKey, Feature, Missing, SetKind};
use crate::testing::packet::{Client, Moment as Packets};
use crate::testing::ready;

/// Every feature that a node may lack.
fn features() -> Vec<Feature> {
    let types = SetKind::ALL.map(Feature::SetType);
    Feature::OF_RULES.into_iter().chain(types).collect()
}

fn lacking(missing: &[Feature]) -> FakeKernel {
    let missing: Missing = missing.iter().copied().collect();
    FakeKernel { missing: PerFamily { v4: missing.clone(), v6: missing }, ..FakeKernel::default() }
}

/// The events of a Service with every kind of address, and of one whose load balancer has source ranges.
fn all_kinds() -> Vec<Event> {
    let mut open = service("open", &["10.96.0.1", "fd00:10:96::1"]);
    open.ports[0].node_port = Some(30080);
    open.external_ips = vec![ip("203.0.113.1"), ip("2001:db8:f::1")];
    open.load_balancer_ips = vec![ip("203.0.113.2"), ip("2001:db8:f::2")];
    let mut guarded = service("guarded", &["10.96.0.2", "fd00:10:96::2"]);
    guarded.load_balancer_ips = vec![ip("203.0.113.3"), ip("2001:db8:f::3")];
    let ranges = ["198.51.100.0/24", "2001:db8:a::/48"].map(|net| net.parse().expect("a network"));
    guarded.source_ranges = ranges.into_iter().collect();
    let slices = [
        slice("a", "open", vec![ready("10.244.1.1"), ready("10.244.2.1")]),
        slice("b", "open", vec![ready("fd00:10:244:1::1"), ready("fd00:10:244:2::1")]),
        slice("c", "guarded", vec![ready("10.244.1.2")]),
        slice("d", "guarded", vec![ready("fd00:10:244:1::2")]),
    ];
    let services = [open, guarded].map(|service| Event::Service(Update::Put(service)));
    let slices = slices.map(|slice| Event::Slice(Update::Put(slice)));
    services.into_iter().chain(slices).collect()
}

/// A kernel without these features, after all Services have been programmed.
fn programmed(missing: &[Feature]) -> FakeKernel {
    let mut kernel = lacking(missing);
    let mut proxier = complete_with(local_detection());
    proxier.set_capabilities(&kernel.prepare().expect("it is ready"));
    all_kinds().into_iter().for_each(|event| proxier.fold(event));
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success(), "{missing:?}: {:?}", outcome.failed);
    kernel
}

/// The addresses of virtual servers that have destinations.
fn served_by(kernel: &FakeKernel) -> BTreeSet<IpAddr> {
    let servers = kernel.state.servers.iter();
    let takes = servers.filter(|(_, server)| server.destinations.iter().next().is_some());
    takes.map(|(key, _)| key.address).collect()
}

fn rules_of<'k>(kernel: &'k FakeKernel, chain: &str) -> &'k [String] {
    let key = ChainKey::ALL.into_iter().find(|key| key.to_string() == chain).expect("a chain");
    &kernel.state.rules.v4.chains[&key]
}

#[test]
fn without_any_one_feature_all_is_served_that_needs_no_guard() {
    let all = served_by(&programmed(&[]));
    assert_eq!(all.len(), 12, "{all:?}");
    let guarded = BTreeSet::from(["203.0.113.3", "2001:db8:f::3"].map(ip));
    for feature in features() {
        let served = served_by(&programmed(&[feature]));
        let held_back: BTreeSet<_> = all.difference(&served).copied().collect();
        let is_guard = matches!(
            feature,
            Feature::Set | Feature::SetType(SetKind::HashIpPort | SetKind::HashIpPortNet)
        );
        assert_eq!(
            held_back,
            if is_guard { guarded.clone() } else { BTreeSet::new() },
            "{feature}"
        );
    }
    assert_eq!(served_by(&programmed(&features())).len(), 10);
}

#[test]
fn a_comment_is_left_out_of_its_rule_and_nothing_else() {
    let (with, without) = (programmed(&[]), programmed(&[Feature::Comment]));
    let bare = |rule: &String| match rule.split_once("-m comment --comment \"") {
        Some((before, rest)) => {
            format!("{before}{}", rest.split_once("\" ").expect("the comment ends").1)
        }
        None => rule.clone(),
    };
    for (chain, rules) in &with.state.rules.v4.chains {
        let bare: Vec<_> = rules.iter().map(bare).collect();
        assert_eq!(without.state.rules.v4.chains[chain], bare, "{chain}");
    }
    assert_eq!(with.state.rules.v4.jumps, without.state.rules.v4.jumps);
}

#[test]
fn without_a_mark_to_tell_them_by_not_every_packet_is_masqueraded() {
    let kernel = programmed(&[Feature::Mark]);
    let rules = rules_of(&kernel, "nat KUBE-POSTROUTING");
    assert_eq!(rules.len(), 1, "{rules:?}");
    assert!(rules[0].contains("KUBE-LOOP-BACK"), "{rules:?}");
}

#[test]
fn what_cannot_be_refused_is_dropped_and_nothing_is_where_service_ports_cannot_be_told() {
    let last = |missing: Feature| {
        let kernel = programmed(&[missing]);
        rules_of(&kernel, "filter KUBE-IPVS-FILTER").last().cloned().unwrap_or_default()
    };
    let matched = "-m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst";
    assert_eq!(last(Feature::Reject), format!("{matched} -j DROP"));
    for missing in [
        Feature::Conntrack,
        Feature::SetType(SetKind::HashIp),
        Feature::SetType(SetKind::HashIpPort),
    ] {
        assert!(!last(missing).contains("KUBE-IPVS-IPS"), "{missing}: {}", last(missing));
    }
}

#[test]
fn what_is_loaded_later_is_used_and_what_is_gone_is_not_missed() {
    for feature in features() {
        let mut kernel = lacking(&[feature]);
        let mut proxier = complete_with(local_detection());
        proxier.set_capabilities(&kernel.prepare().expect("it is ready"));
        all_kinds().into_iter().for_each(|event| proxier.fold(event));
        assert!(proxier.round(&mut kernel, now()).is_success(), "{feature}");

        kernel.missing = PerFamily::default();
        proxier.set_capabilities(&kernel.look_again());
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.is_success(), "{feature}: {:?}", outcome.failed);
        let mut whole = programmed(&[]).state;
        // Jumps that stand are not rewritten.
        assert_eq!(format!("{:#?}", kernel.state), format!("{whole:#?}"), "{feature}");

        kernel.missing = lacking(&[feature]).missing;
        proxier.set_capabilities(&kernel.look_again());
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.is_success(), "{feature}: {:?}", outcome.failed);
        whole = programmed(&[feature]).state;
        // A set of a type that the kernel lacks stays and is empty.
        kernel.state.capacities.retain(|set, _| whole.sets.contains_key(set));
        kernel.state.sets.retain(|set, _| whole.sets.contains_key(set));
        assert_eq!(kernel.state, whole, "{feature}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Source ranges let in no client that they shut out when no feature is missing, except the node itself if
    /// `-m ipvs` is missing. Clients that need no masquerading are served unless a guard is needed.
    #[test]
    fn lacking_features_let_nobody_in_and_leave_pods_served(
        history in some_history(),
        lacked in prop::collection::btree_set(prop::sample::select(features()), 1..3),
    ) {
        let lacked: Vec<_> = lacked.into_iter().collect();
        let node = ["192.0.2.11", "192.0.2.12", "203.0.113.1", "2001:db8:1::11"].map(ip);
        let near = ["10.244.1.0/24", "fd00:10:244:1::/64"].map(|net| net.parse().expect("a network"));
        let (mut whole, mut less) = (complete_with(local_detection()), complete_with(local_detection()));
        let (mut full, mut poor) = (FakeKernel::default(), lacking(&lacked));
        less.set_capabilities(&poor.prepare().expect("it is ready"));
        for events in history {
            for event in events {
                whole.fold(event.clone());
                less.fold(event);
            }
            prop_assert!(whole.round(&mut full, now()).is_success());
            let outcome = less.round(&mut poor, now());
            prop_assert!(outcome.is_success(), "{:?}: {:?}", lacked, outcome.failed);
            let log = poor.log.len();
            less.round(&mut poor, now());
            prop_assert_eq!(poor.log.len(), log);
            let at = |state| Packets { state, node: &node, near: &near };
            let (full, poor) = (at(&full.state), at(&poor.state));
            for key in full.state.servers.keys() {
                let guard = SetKey { family: key.family(), name: SetName::LoadBalancerFw };
                let own = Entry::AddressPort(key.address, key.protocol, key.port);
                let is_guarded = full.state.sets[&guard].contains(&own);
                let outside = match key.family() {
                    Family::V4 => ["198.51.100.7", "192.0.2.100", "203.0.113.200"].map(ip),
                    Family::V6 => ["2001:db8:a::7", "2001:db8:1::9", "2001:db8::9"].map(ip),
                };
                let pod = Client::Pod(match key.family() {
                    Family::V4 => ip("10.244.1.9"),
                    Family::V6 => ip("fd00:10:244:1::9"),
                });
                for client in outside.map(Client::Outside).into_iter().chain([pod]) {
                    let is_let_in = is_guarded && full.turns_away(client, key) && poor.serves(client, key);
                    prop_assert!(!is_let_in, "{:?} to {} without {:?}", client, key, lacked);
                }
                // A node port at a cluster IP that an interface has too is usually refused by the rule for
                // other ports. It may answer where that rule is missing.
                prop_assert!(
                    is_guarded || !full.serves(pod, key) || poor.serves(pod, key),
                    "pod to {} without {:?}", key, lacked
                );
            }
        }
    }
}
