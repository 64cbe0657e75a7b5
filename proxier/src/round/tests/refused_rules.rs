//! Rules that the kernel refuses for a reason that nobody foresees.

use super::*;
use crate::diff::RulesChange;
use crate::testing::ready;

/// The kernel takes no rule for external IPs.
fn is_refused(change: &Change) -> bool {
    let Change::Rules(RulesChange::Write(step)) = change else { return false };
    let mut rules = step.rules.chains.values().flatten();
    rules.any(|rule| rule.contains("--physdev-is-in"))
}

fn refusing() -> FakeKernel {
    FakeKernel { refused: Some(is_refused), keep_history: true, ..FakeKernel::default() }
}

fn put(proxier: &mut Proxier, name: &str, cluster_ip: &str, external_ip: Option<&str>) {
    let mut service = service(name, &[cluster_ip]);
    service.external_ips = external_ip.into_iter().map(ip).collect();
    proxier.fold(Event::Service(Update::Put(service)));
    let endpoints = vec![ready("10.244.1.1"), ready("10.244.2.1")];
    proxier.fold(Event::Slice(Update::Put(slice(name, name, endpoints))));
}

fn remove(proxier: &mut Proxier, name: &str) {
    proxier.fold(Event::Service(Update::Gone(ServiceName::new("default", name))));
}

/// How many destinations take new connections at the address.
fn takes(kernel: &FakeKernel, address: &str) -> usize {
    let at = |(key, _): &(&VirtualServerKey, _)| key.address == ip(address);
    let servers = kernel.state.servers.iter().filter(at);
    servers
        .flat_map(|(_, server)| server.destinations.values())
        .filter(|found| found.weight > 0)
        .count()
}

#[test]
fn what_the_rules_in_force_cover_is_served_and_the_rest_is_not() {
    let (mut proxier, mut kernel) = (complete_with(local_detection()), refusing());
    put(&mut proxier, "a", "10.96.0.1", None);
    assert!(proxier.round(&mut kernel, now()).is_success());

    put(&mut proxier, "b", "10.96.0.2", Some("203.0.113.1"));
    let outcome = proxier.round(&mut kernel, now());
    assert_eq!(outcome.failed.len(), 1, "{:?}", outcome.failed);
    assert_eq!([takes(&kernel, "10.96.0.2"), takes(&kernel, "203.0.113.1")], [2, 0]);
    for _ in 0..3 {
        put(&mut proxier, "c", "10.96.0.3", None);
        proxier.round(&mut kernel, now());
    }
    assert_eq!([takes(&kernel, "10.96.0.1"), takes(&kernel, "10.96.0.3")], [2, 2]);
    assert_eq!(takes(&kernel, "203.0.113.1"), 0);

    // Nobody was answered there, so that nothing waits for the rules to be taken.
    remove(&mut proxier, "b");
    proxier.round(&mut kernel, now());
    let outcome = proxier.round(&mut kernel, now());
    assert!(outcome.is_success(), "{:?}", outcome.failed);
    assert_eq!(missing(&proxier, &kernel), "");
    assert_eq!(unguarded(&kernel), [""; 0]);
}

#[test]
fn a_service_whose_rules_were_never_taken_blocks_nobody_once_it_is_gone() {
    let (mut proxier, mut kernel) = (complete_with(local_detection()), refusing());
    put(&mut proxier, "a", "10.96.0.1", None);
    put(&mut proxier, "b", "10.96.0.2", Some("203.0.113.1"));
    proxier.round(&mut kernel, now());
    assert_eq!([takes(&kernel, "10.96.0.1"), takes(&kernel, "203.0.113.1")], [0, 0]);

    let mut again = complete_with(local_detection());
    for proxier in [&mut proxier, &mut again] {
        remove(proxier, "b");
    }
    put(&mut again, "a", "10.96.0.1", None);
    // The same process, and one that is started anew on what the first has left.
    for proxier in [&mut proxier, &mut again] {
        let mut kernel = kernel.clone();
        proxier.round(&mut kernel, now());
        let outcome = proxier.round(&mut kernel, now());
        assert!(outcome.is_success(), "{:?}", outcome.failed);
        assert_eq!(takes(&kernel, "10.96.0.1"), 2);
        assert_eq!(missing(proxier, &kernel), "");
        assert_eq!(unguarded(&kernel), [""; 0]);
    }
}
