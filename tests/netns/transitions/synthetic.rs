//! Tests changes that no recorded case makes, in both directions.

use serde_json::json;

use super::kept::{By, State, keeps_all};
use super::objects::{Service, node_ports, outside, state};
use crate::proxy::config;

/// Goes through these states. At least this many pairs of a client and a frontend must be kept.
fn keeps<const N: usize>(name: &str, pairs: usize, states: [String; N]) {
    keeps_by(By::Change, name, pairs, states);
}

fn keeps_by<const N: usize>(by: By, name: &str, pairs: usize, states: [String; N]) {
    let kept = keeps_all(name, &config(json!({})), by, &states.map(State::new));
    assert!(kept >= pairs, "{kept} pairs of a client and a frontend");
}

#[test]
fn the_external_traffic_policy_changes() {
    let cluster = Service::new("a", 1).load_balancer(10).set("externalIPs", outside(11));
    let local = cluster.clone().local();
    keeps("policy", 108, [state([&cluster]), state([&local]), state([&cluster])]);
}

#[test]
fn the_external_traffic_policy_changes_while_the_endpoint_moves_to_another_node() {
    let far = Service::new("a", 1).load_balancer(10).set("externalIPs", outside(11));
    let near = far.clone().local().pods(&[(1, 1)]);
    let far = far.pods(&[(2, 1)]);
    keeps("migration", 108, [state([&near]), state([&far]), state([&near])]);
}

#[test]
fn the_internal_traffic_policy_changes() {
    let cluster = Service::new("a", 1);
    let local = cluster.clone().set("internalTrafficPolicy", "Local");
    keeps("internal", 24, [state([&cluster]), state([&local]), state([&cluster])]);
}

#[test]
fn the_type_changes() {
    let inside = Service::new("a", 1);
    let node_port = inside.clone().node_ports(node_ports(10));
    let balanced = inside.clone().load_balancer(10);
    keeps(
        "type",
        96,
        [&inside, &node_port, &balanced, &node_port, &inside, &balanced].map(|one| state([one])),
    );
}

#[test]
fn source_ranges_change_around_an_admitted_client() {
    keeps("ranges", 200, ranges());
}

#[test]
fn source_ranges_change_while_the_proxy_is_replaced() {
    keeps_by(By::Restart, "ranges-restart", 216, ranges());
}

fn ranges() -> [String; 7] {
    let open = Service::new("a", 1).load_balancer(10);
    let only = |ranges: &[&str]| open.clone().set("loadBalancerSourceRanges", ranges);
    let wide = only(&["192.0.2.0/24", "2001:db8:1::/64"]);
    let narrow = only(&["192.0.2.100/32", "203.0.113.0/24", "2001:db8:1::100/128"]);
    let other_half = only(&["192.0.2.64/26", "192.0.2.100/32", "2001:db8:1::/65"]);
    let everyone = only(&["0.0.0.0/0", "::/0", "192.0.2.0/25"]);
    [&open, &wide, &narrow, &other_half, &everyone, &wide, &open].map(|one| state([one]))
}

#[test]
fn two_services_swap_their_addresses() {
    let (a, b) = (Service::new("a", 1).load_balancer(10), Service::new("b", 2).load_balancer(20));
    let swapped =
        (a.clone().cluster_ips(2).load_balancer(20), b.clone().cluster_ips(1).load_balancer(10));
    let other_policy = (swapped.0.clone(), swapped.1.clone().local());
    let states = [&(a, b), &swapped].map(|(a, b)| state([a, b]));
    let [plain, swapped] = states;
    let policy = state([&other_policy.0, &other_policy.1]);
    keeps("swap", 336, [plain.clone(), swapped.clone(), plain.clone(), policy, plain]);
}

#[test]
fn an_address_moves_from_one_service_to_another() {
    let (plain_a, plain_b) = (Service::new("a", 1), Service::new("b", 2));
    let with =
        |service: &Service| service.clone().load_balancer(10).set("externalIPs", outside(11));
    let (a, b) = (state([&with(&plain_a), &plain_b]), state([&plain_a, &with(&plain_b)]));
    let local = state([&plain_a, &with(&plain_b).local()]);
    keeps("move", 264, [a.clone(), b, a.clone(), local, a]);
}

#[test]
fn a_service_is_replaced_by_one_of_another_name() {
    let [old, new] = ["old", "new"].map(|name| {
        state([&Service::new(name, 1).load_balancer(10).set("externalIPs", outside(11))])
    });
    keeps("rename", 108, [old.clone(), new, old]);
}

#[test]
fn an_address_changes_its_role() {
    let plain = Service::new("a", 1);
    let external = plain.clone().set("externalIPs", outside(10)).node_ports(node_ports(10));
    let balanced = plain.clone().load_balancer(10);
    let both = balanced.clone().set("externalIPs", outside(10));
    let local = external.clone().set("externalTrafficPolicy", "Local");
    let all = [&external, &balanced, &both, &external, &local, &balanced, &local, &both, &local];
    keeps("role", 336, all.map(|one| state([one])));
}

#[test]
fn affinity_comes_changes_and_goes() {
    let none = Service::new("a", 1).load_balancer(10);
    let sticky = |seconds: u32| {
        let config = json!({"clientIP": {"timeoutSeconds": seconds}});
        none.clone().set("sessionAffinity", "ClientIP").set("sessionAffinityConfig", config)
    };
    let moved = sticky(600).pods(&[(1, 7), (2, 7)]);
    keeps("sticky", 168, [&none, &sticky(60), &sticky(600), &moved, &none].map(|one| state([one])));
}

#[test]
fn all_endpoints_are_replaced_at_once() {
    let first = Service::new("a", 1).load_balancer(10);
    let second = first.clone().pods(&[(1, 6), (2, 6)]);
    let fewer = first.clone().pods(&[(2, 7)]);
    let other_ports = first.clone().targets([8081, 5354, 9133]);
    let local = first.clone().local();
    let local_second = second.clone().local();
    let all = [&first, &second, &fewer, &other_ports, &first, &local, &local_second, &local];
    keeps("replace", 294, all.map(|one| state([one])));
}

#[test]
fn ports_come_and_go_at_a_shared_address() {
    let a = Service::new("a", 1).load_balancer(10);
    let b = Service::new("b", 2).load_balancer(10).node_ports(node_ports(20)).shifted(1);
    let b = b.set("type", "LoadBalancer");
    let fewer = b.clone().first_ports(1);
    let all = [state([&a]), state([&a, &fewer]), state([&a, &b]), state([&a, &fewer]), state([&b])];
    keeps("shared", 168, all);
}

#[test]
fn a_state_changes_while_the_proxy_is_replaced() {
    let cluster = Service::new("a", 1).load_balancer(10).set("externalIPs", outside(11));
    let local = cluster.clone().local();
    let moved = cluster.clone().load_balancer(20).pods(&[(1, 6), (2, 6)]);
    keeps_by(
        By::Restart,
        "restart",
        156,
        [&cluster, &local, &cluster, &moved, &cluster].map(|one| state([one])),
    );
}
