//! Tests of entries in this proxy's sets that another program has made and no plan makes.
//!
//! The fake kernel keeps either an exception or the entry with the same parts, as Linux does.

use super::*;
use crate::diff::SetChange;
use crate::model::{Net, Service};
use crate::plan::{UnplannedEntry, UnplannedSource};

const BALANCER: &str = "203.0.113.3";
const RANGES: [&str; 2] = ["198.51.100.0/24", "192.0.2.128/25"];

fn net(text: &str) -> Net {
    text.parse().expect("a network")
}

/// The event of a load balancer that admits only these networks.
fn guarded(ranges: &[&str]) -> Event {
    let service = service("guarded", &["10.96.0.2"]);
    Event::Service(Update::Put(Service {
        load_balancer_ips: vec![ip(BALANCER)],
        source_ranges: ranges.iter().map(|range| net(range)).collect(),
        ..service
    }))
}

fn settled() -> (Proxier, FakeKernel) {
    let (mut proxier, mut kernel) = (complete(), FakeKernel::default());
    proxier.fold(guarded(&RANGES));
    proxier.fold(Event::Slice(Update::Put(slice("c", "guarded", vec![ready("10.244.1.2")]))));
    assert!(proxier.round(&mut kernel, now()).is_success());
    (proxier, kernel)
}

fn unplanned(address: &str, protocol: u8, port: u16, source: UnplannedSource) -> Entry {
    Entry::Unplanned(UnplannedEntry { address: ip(address), protocol, port, source })
}

fn exception(source: &str) -> Entry {
    unplanned(BALANCER, 6, 80, UnplannedSource::Exception(net(source)))
}

fn admitted(source: &str) -> Entry {
    Entry::AddressPortNet(ip(BALANCER), Protocol::Tcp, 80, net(source))
}

fn set(name: SetName) -> SetKey {
    SetKey { family: Family::V4, name }
}

/// Adds an entry, as another program would.
fn insert(kernel: &mut FakeKernel, name: SetName, entry: Entry) {
    let entries = kernel.state.sets.get_mut(&set(name)).expect("the set");
    entries.extend([entry]);
    if let Some(replaced) = entry.instead_of_exception() {
        entries.remove(&replaced);
    }
}

/// Reads the kernel in a round, and returns the changes made.
fn audit(proxier: &mut Proxier, kernel: &mut FakeKernel) -> Vec<String> {
    kernel.log.clear();
    proxier.invalidate();
    proxier.round(kernel, now());
    kernel.log.iter().map(|(change, _)| change.to_string()).collect()
}

#[test]
fn entries_of_protocols_that_services_do_not_have_go() {
    let (mut proxier, mut kernel) = settled();
    let wanted = kernel.state.clone();
    let (any, address) = (UnplannedSource::Any, UnplannedSource::Address(ip("10.0.0.2")));
    let net = UnplannedSource::Net(net("10.0.0.0/8"));
    insert(&mut kernel, SetName::ClusterIp, unplanned("10.96.0.2", 1, 0x800, any));
    insert(&mut kernel, SetName::NodePortSctpHash, unplanned("192.0.2.11", 136, 30080, any));
    insert(&mut kernel, SetName::LoopBack, unplanned("10.244.1.2", 136, 8080, address));
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, unplanned(BALANCER, 47, 0, net));
    assert_eq!(
        audit(&mut proxier, &mut kernel),
        [
            "remove entry KUBE-LOOP-BACK 10.244.1.2,136:8080,10.0.0.2",
            "remove entry KUBE-CLUSTER-IP 10.96.0.2,1:2048",
            "remove entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.3,47:0,10.0.0.0/8",
            "remove entry KUBE-NODE-PORT-SCTP-HASH 192.0.2.11,136:30080",
        ]
    );
    assert_eq!(kernel.state, wanted);
}

#[test]
fn an_exception_goes_or_is_replaced_by_the_entry_in_its_place() {
    let (mut proxier, mut kernel) = settled();
    let wanted = kernel.state.clone();
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, exception(RANGES[0]));
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, exception("198.51.100.9/32"));
    assert_eq!(
        audit(&mut proxier, &mut kernel),
        [
            "add entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.3,tcp:80,198.51.100.0/24",
            "remove entry KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.3,tcp:80,198.51.100.9 nomatch",
        ]
    );
    assert_eq!(kernel.state, wanted);
    assert_eq!(proxier.cached(), Some(&wanted));
}

#[test]
fn an_exception_that_could_not_be_removed_takes_no_later_entry_with_it() {
    let (mut proxier, mut kernel) = settled();
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, exception("198.51.100.9/32"));
    kernel.refused = Some(|change| matches!(change, Change::Set(SetChange::RemoveEntry(..))));
    assert_eq!(audit(&mut proxier, &mut kernel).len(), 1);
    kernel.refused = None;
    proxier.fold(guarded(&["198.51.100.9/32"]));
    for minute in 0..3 {
        proxier.round(&mut kernel, after(minute));
    }
    let entries = kernel.state.sets.get(&set(SetName::LoadBalancerSourceCidr));
    assert_eq!(entries, Some(&[admitted("198.51.100.9/32")].into()));
    assert_eq!((missing(&proxier, &kernel), proxier.refused.count()), (String::new(), 0));
}

#[test]
fn an_exception_that_waits_to_be_removed_takes_no_entry_with_it_that_is_added_first() {
    let (mut proxier, mut kernel) = settled();
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, exception("198.51.100.9/32"));
    // This round takes several pieces.
    let many = (1..20).map(|n| service(&format!("s{n}"), &[&format!("10.96.1.{n}")]));
    many.for_each(|service| proxier.fold(Event::Service(Update::Put(service))));
    proxier.invalidate();
    assert_eq!(proxier.step(&mut kernel, now(), Budget(1)), None);
    proxier.fold(guarded(&["198.51.100.9/32"]));
    while proxier.step(&mut kernel, now(), Budget(1)).is_none() {}
    let entries = kernel.state.sets.get(&set(SetName::LoadBalancerSourceCidr));
    assert_eq!(entries, Some(&[admitted("198.51.100.9/32")].into()));
    // The reverse case: an entry that waits to be removed does not stay as an exception.
    insert(&mut kernel, SetName::LoadBalancerSourceCidr, exception("198.51.100.9/32"));
    proxier.invalidate();
    proxier.fold(Event::Service(Update::Put(service("more", &["10.96.2.1"]))));
    assert_eq!(proxier.step(&mut kernel, now(), Budget(1)), None);
    proxier.fold(guarded(&RANGES));
    while proxier.step(&mut kernel, now(), Budget(1)).is_none() {}
    assert_eq!(missing(&proxier, &kernel), "");
    assert_eq!(proxier.cached(), Some(&kernel.state));
}
