//! Tests of the store: completeness, dirty Services, relabelled slices.

use super::*;
use crate::model::{Family, LastChange, Pending};

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
        |dirty: &Dirty| dirty.trigger_times.iter().map(|trigger| trigger.at).collect::<Vec<_>>();
    assert_eq!(times(&dirty), [1, 3, 4]);
    store.fold(Event::Slice(Update::Gone(SliceName::new("ns", "a"))), &mut dirty);
    assert_eq!((times(&dirty), dirty.changed.pending().slices), (vec![4], 4));
}

#[test]
fn external_addresses_that_are_an_api_servers_or_another_nodes_are_known() {
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let service = |name: &str, external: &str, balancer: &str| Service {
        external_ips: vec![ip(external)],
        load_balancer_ips: vec![ip(balancer)],
        ..crate::testing::service(name, &["10.96.0.1"])
    };
    let mut store = Store::default();
    let mut fold = |event| {
        store.fold(event, &mut Dirty::default());
        let found = store.foreign_addresses();
        found
            .iter()
            .map(|found| format!("{} {} {}", found.service, found.address, found.owner))
            .collect::<Vec<_>>()
    };
    let web = |external, balancer| Event::Service(Update::Put(service("web", external, balancer)));
    assert!(fold(web("192.0.2.10", "192.0.2.12")).is_empty());
    let mut servers = slice("kubernetes", "kubernetes");
    servers.name = SliceName::new("default", "kubernetes");
    servers.service = ServiceName::new("default", "kubernetes");
    servers.endpoints =
        vec![crate::testing::ready("192.0.2.10"), crate::testing::ready("192.0.2.20")];
    let server = "default/web 192.0.2.10 the API server";
    assert_eq!(fold(put(servers.clone())), [server]);
    let node = |name: &str, address| NodeReadiness {
        name: name.into(),
        ready: true,
        addresses: vec![ip(address)],
    };
    let nodes = vec![node("node1", "192.0.2.11"), node("node2", "192.0.2.12")];
    let both = [server.to_owned(), "default/web 192.0.2.12 node node2".to_owned()];
    assert_eq!(fold(Event::NodeReadiness(Update::Listed(nodes))), both);
    // An address of this node is not bound to the dummy device and cuts nothing off.
    let eth0 = |address: &str| InterfaceAddress {
        device: "eth0".into(),
        address: address.parse().expect("an address"),
    };
    assert_eq!(fold(Event::Addresses(vec![eth0("192.0.2.10/24")])), both[1..]);
    assert_eq!(fold(Event::Addresses(vec![eth0("192.0.2.11/24")])), both);
    assert_eq!(fold(web("203.0.113.1", "192.0.2.10")), [server]);
    assert!(fold(web("203.0.113.1", "203.0.113.2")).is_empty());
    assert_eq!(fold(web("203.0.113.1", "192.0.2.20")).len(), 1);
    assert!(fold(Event::Service(Update::Gone(ServiceName::new("default", "web")))).is_empty());
    // The API server that this proxy connects to need not be an endpoint: it may be a load balancer.
    assert!(fold(Event::ApiServer(ip("192.0.2.30"))).is_empty());
    assert_eq!(
        fold(web("192.0.2.30", "203.0.113.2")),
        ["default/web 192.0.2.30 the API server".to_owned()]
    );
    assert!(fold(Event::Addresses(vec![eth0("192.0.2.30/24")])).is_empty());
}
