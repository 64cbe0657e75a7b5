//! Tests facts in every order in which the kernel may send them.

use super::Known;
use crate::kernel::interfaces::{Address, Fact};

fn named(index: u32, name: &str) -> Fact {
    Fact::Named(index, name.to_owned())
}

fn address(index: u32, text: &str) -> Address {
    let net: proxier::model::Net = text.parse().unwrap();
    Address { index, local: net.addr(), prefix: net.prefix_len(), peer: net.addr() }
}

fn has(index: u32, text: &str) -> Fact {
    Fact::Has(address(index, text))
}

fn known(facts: impl IntoIterator<Item = Fact>) -> Known {
    let mut known = Known::default();
    facts.into_iter().for_each(|fact| known.fold(fact));
    known
}

fn text(known: &Known) -> Vec<String> {
    known.addresses().iter().map(|found| format!("{} {}", found.device, found.address)).collect()
}

#[test]
fn an_address_is_told_of_under_the_name_its_interface_has_now() {
    let mut known = known([has(2, "192.0.2.1/24"), named(2, "a"), named(1, "lo")]);
    assert_eq!(text(&known), ["a 192.0.2.1/24"]);
    assert!(known.has_changed());
    known.fold(named(2, "a"));
    known.fold(has(2, "192.0.2.1/24"));
    assert!(!known.has_changed());
    known.fold(named(2, "b"));
    assert!(known.has_changed());
    assert_eq!(text(&known), ["b 192.0.2.1/24"]);
}

#[test]
fn an_interface_takes_its_addresses_along() {
    let mut known =
        known([named(2, "a"), named(3, "b"), has(2, "192.0.2.1/24"), has(3, "fd00::1/64")]);
    known.fold(Fact::Gone(2));
    assert_eq!(text(&known), ["b fd00::1/64"]);
    known.fold(named(2, "a"));
    assert_eq!(text(&known), ["b fd00::1/64"]);
}

#[test]
fn an_address_towards_two_ends_stays_until_both_are_gone() {
    let [one, two] = ["10.0.0.2", "10.0.0.3"]
        .map(|peer| Address { peer: peer.parse().unwrap(), ..address(2, "10.0.0.1/32") });
    let mut known = known([named(2, "a"), Fact::Has(one), Fact::Has(two)]);
    assert_eq!(text(&known), ["a 10.0.0.1/32"]);
    known.fold(Fact::Lost(one));
    assert_eq!(text(&known), ["a 10.0.0.1/32"]);
    known.fold(Fact::Lost(two));
    assert_eq!(text(&known), [""; 0]);
}

#[test]
fn what_is_on_the_dummy_device_changes_nothing() {
    let mut known = known([named(2, "kube-ipvs0"), named(3, "a"), has(3, "192.0.2.1/24")]);
    known.has_changed();
    for fact in [has(2, "10.96.0.1/32"), Fact::Lost(address(2, "10.96.0.1/32")), Fact::Gone(2)] {
        known.fold(fact);
        assert!(!known.has_changed());
    }
    known.fold(named(9, "kube-ipvs0"));
    known.has_changed();
    known.fold(has(9, "10.96.0.1/32"));
    assert!(!known.has_changed() && known.is_whole());
    assert_eq!(text(&known), ["a 192.0.2.1/24"]);
}

#[test]
fn an_interface_that_becomes_the_dummy_device_loses_its_addresses_here() {
    let mut known = known([has(2, "10.96.0.1/32"), named(2, "a"), named(2, "kube-ipvs0")]);
    assert_eq!(text(&known), [""; 0]);
    assert!(known.is_whole());
    // The addresses that it got meanwhile were skipped.
    known.fold(named(2, "b"));
    assert!(!known.is_whole());
}

#[test]
fn what_is_removed_from_the_dummy_device_is_told_once() {
    use proxier::model::Removed;
    let mut known = known([named(2, "kube-ipvs0"), named(3, "eth0"), has(3, "192.0.2.1/24")]);
    known.fold(Fact::Lost(address(2, "10.96.0.1/32")));
    known.fold(Fact::Lost(address(3, "192.0.2.1/24")));
    known.fold(Fact::Gone(2));
    known.fold(Fact::Gone(3));
    let removed = [Removed::Address("10.96.0.1".parse().unwrap()), Removed::Device];
    assert_eq!(known.take_removed(), removed);
    assert_eq!(known.take_removed(), []);
    known.fold(named(4, "kube-ipvs0"));
    known.fold(named(4, "mine"));
    assert_eq!(known.take_removed(), [Removed::Device]);
}
