//! The store: completeness, dirt, relabelled slices.

use super::*;
use crate::model::{Family, LastChange};

fn slice(name: &str, service: &str) -> Slice {
    Slice {
        name: SliceName::new("ns", name),
        service: ServiceName::new("ns", service),
        family: Family::V4,
        ports: vec![],
        endpoints: vec![],
        last_change: LastChange::default(),
    }
}

fn put(slice: Slice) -> Event {
    Event::Slice(Update::Put(slice))
}

#[test]
fn it_is_complete_only_after_every_kind_was_listed() {
    let mut store = Store::default();
    let mut dirty = Dirty::default();
    for event in [
        Event::Service(Update::Listed(vec![])),
        put(slice("a", "web")),
        Event::Slice(Update::Listed(vec![])),
    ] {
        store.fold(event, &mut dirty);
        assert!(!store.is_complete());
    }
    store.fold(Event::Node(None), &mut dirty);
    assert!(!store.is_complete());
    store.fold(Event::Addresses(vec![]), &mut dirty);
    assert!(store.is_complete());
}

#[test]
fn an_unchanged_object_makes_nothing_dirty() {
    let mut store = Store::default();
    store.fold(put(slice("a", "web")), &mut Dirty::default());
    let mut dirty = Dirty::default();
    store.fold(put(slice("a", "web")), &mut dirty);
    assert!(dirty.is_empty());
}

#[test]
fn a_relabelled_slice_touches_both_services_and_leaves_the_old_one() {
    let mut store = Store::default();
    store.fold(put(slice("a", "old")), &mut Dirty::default());
    let mut dirty = Dirty::default();
    store.fold(put(slice("a", "new")), &mut dirty);
    let touched: Vec<_> = dirty.services.iter().map(ToString::to_string).collect();
    assert_eq!(touched, ["ns/new", "ns/old"]);
    assert_eq!(store.slices_of(&ServiceName::new("ns", "old")).count(), 0);
    assert_eq!(store.slices_of(&ServiceName::new("ns", "new")).count(), 1);
}

#[test]
fn what_a_list_does_not_name_is_gone() {
    let mut store = Store::default();
    store.fold(put(slice("a", "web")), &mut Dirty::default());
    let mut dirty = Dirty::default();
    store.fold(Event::Slice(Update::Listed(vec![slice("b", "web")])), &mut dirty);
    let names: Vec<_> =
        store.slices_of(&ServiceName::new("ns", "web")).map(|s| s.name.to_string()).collect();
    assert_eq!(names, ["ns/b"]);
    assert!(!dirty.is_empty());
}

#[test]
fn addresses_touch_only_services_that_depend_on_them_and_link_local_ones_nobody() {
    let mut store = Store::default();
    let mut served = crate::testing::service("served", &["10.96.0.1"]);
    served.ports[0].node_port = Some(30080);
    for service in [served, crate::testing::service("inside", &["10.96.0.2"])] {
        store.fold(Event::Service(Update::Put(service)), &mut Dirty::default());
    }
    let addresses = |all: &[(&str, &str)]| {
        let found = all.iter().map(|(device, address)| InterfaceAddress {
            device: (*device).into(),
            address: address.parse().expect("an address"),
        });
        Event::Addresses(found.collect())
    };
    let eth0 = ("eth0", "192.0.2.11/24");
    let mut dirty = Dirty::default();
    store.fold(addresses(&[eth0]), &mut dirty);
    let touched: Vec<_> = dirty.services.iter().map(ToString::to_string).collect();
    assert_eq!(touched, ["default/served"]);
    let mut dirty = Dirty::default();
    let more = [("veth1", "fe80::1/64"), (DUMMY_DEVICE, "10.96.0.1/32"), eth0];
    store.fold(addresses(&more), &mut dirty);
    assert!(dirty.is_empty());
}

#[test]
fn changes_are_counted_and_what_slices_report_goes_with_them() {
    let (mut store, mut dirty) = (Store::default(), Dirty::default());
    let reporting = |name: &str, service: &str, at| {
        Event::Slice(Update::Put(Slice {
            last_change: LastChange(Some(at)),
            ..slice(name, service)
        }))
    };
    store.fold(reporting("a", "web", 1), &mut dirty);
    store.fold(reporting("a", "web", 2), &mut dirty);
    assert_eq!(dirty.changed.pending(), Pending { services: 0, slices: 1 });
    store.fold(reporting("b", "web", 3), &mut dirty);
    store.fold(reporting("c", "api", 4), &mut dirty);
    let times =
        |dirty: &Dirty| dirty.reported.iter().map(|reported| reported.at).collect::<Vec<_>>();
    assert_eq!(times(&dirty), [1, 3, 4]);
    store.fold(Event::Slice(Update::Gone(SliceName::new("ns", "a"))), &mut dirty);
    assert_eq!((times(&dirty), dirty.changed.pending().slices), (vec![4], 4));
}
