//! Tests objects that the kernel refuses, forever or for a while.
//!
//! Takes endpoints that no kernel accepts, and virtual servers that another program removes or
//! creates. Checks the state of other Services, and how often the whole kernel was read. All
//! refusals come from the real kernel.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::behaviour::{serves, service, slice};
use crate::node::{Family, Lab, Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};
use crate::traffic::{Protocol, Server, ask};

/// Returns a configuration without periodic comparisons during the test.
fn without_audits() -> Value {
    config(json!({"ipvs": {"syncPeriod": "1h", "minSyncPeriod": "0s"}}))
}

/// Returns how often a round has read the whole kernel.
fn readings(node: &Namespace) -> u32 {
    let name = "ipvs_proxy_sync_stage_duration_seconds_count{stage=\"read\"} ";
    let scrape = node.run("curl -s http://127.0.0.1:10249/metrics");
    let count = scrape.lines().find_map(|line| line.strip_prefix(name));
    count.expect("the kernel was read").parse().unwrap()
}

/// Returns the document of a Service's EndpointSlice with these endpoints.
fn slice_of(service: &str, addresses: &[&str]) -> String {
    let mut slice: Value =
        serde_json::from_str(slice(service, addresses[0]).trim_end().trim_end_matches("---"))
            .unwrap();
    let endpoint = |address| json!({"addresses": [address], "conditions": {"ready": true}});
    slice["endpoints"] = addresses.iter().map(endpoint).collect();
    format!("{slice:#}\n---\n")
}

#[test]
fn an_endpoint_that_the_kernel_refuses_for_ever_costs_no_other_service_a_reading() {
    let node = Node::conformance("refused");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    // The broadcast address of the node's subnet, which the kernel refuses, and an address that
    // conversion refuses.
    server.put(&service("odd", "10.96.0.9"));
    server.put(&slice_of("odd", &["192.0.2.255", "0.1.2.3", "10.244.1.9"]));
    server.put(&service("web", "10.96.0.1"));
    server.put(&slice("web", "10.244.1.100"));
    let proxy = Proxy::start(&node, &source, &without_audits());
    let refused = "add destination 10.96.0.9:80/tcp -> 192.0.2.255:8080";
    proxy.wait_until_says(refused);
    serves(&node, &[("10.96.0.1", "10.244.1.100"), ("10.96.0.9", "10.244.1.9")]);
    let before = readings(&node);
    for host in 101..=120 {
        let endpoint = format!("10.244.1.{host}");
        server.put(&slice("web", &endpoint));
        serves(&node, &[("10.96.0.1", &endpoint), ("10.96.0.9", "10.244.1.9")]);
    }
    assert_eq!((before, readings(&node)), (1, 1), "{}", proxy.log());
    assert_eq!(proxy.said(refused).len(), 1, "{}", proxy.log());
    let door = proxy.said("0.1.2.3");
    assert!(door.len() == 1 && door[0].contains("is not the address of a host"), "{door:?}");
    // The refused change is still tried again.
    let tries = || proxy.changes().iter().filter(|change| change.starts_with(refused)).count();
    assert!(until(PATIENCE, || (tries() > 4).then_some(())).is_some(), "{}", proxy.log());
    // Other endpoints of the same Service come and go meanwhile.
    server.put(&slice_of("odd", &["192.0.2.255", "10.244.1.10"]));
    serves(&node, &[("10.96.0.1", "10.244.1.120"), ("10.96.0.9", "10.244.1.10")]);
    server.put(&slice_of("odd", &["10.244.1.10"]));
    proxy.wait_until_says("over after ");
    assert_eq!(readings(&node), 1);
}

#[test]
fn a_virtual_server_that_another_hand_takes_or_makes_is_put_right_when_it_is_met() {
    let node = Node::conformance("taken");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    server.put(&service("web", "10.96.0.1"));
    server.put(&slice("web", "10.244.1.1"));
    let proxy = Proxy::start(&node, &source, &without_audits());
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    node.run("ipvsadm -D -t 10.96.0.1:80");
    server.put(&slice("web", "10.244.1.2"));
    serves(&node, &[("10.96.0.1", "10.244.1.2")]);

    node.run(
        "ipvsadm -A -t 10.96.0.2:80 -s wlc && ipvsadm -a -t 10.96.0.2:80 -r 198.51.100.1:8080 -m",
    );
    server.put(&service("more", "10.96.0.2"));
    server.put(&slice("more", "10.244.1.3"));
    serves(&node, &[("10.96.0.1", "10.244.1.2"), ("10.96.0.2", "10.244.1.3")]);
    assert_eq!(readings(&node), 1, "{}", proxy.log());
    assert_eq!(proxy.said("ERROR").len(), 0, "{}", proxy.log());
}

#[test]
fn clients_of_a_service_with_an_endpoint_that_the_kernel_refuses_are_served_by_the_others() {
    let lab = Lab::new("partly");
    let (pod, client) = (lab.node1.pod(2), lab.node1.pod(3));
    let address = pod.address(Family::V4);
    let _server = Server::start(&pod, Protocol::Tcp, SocketAddr::new(address, 8080), "pod");
    let source = Source::manifests();
    let slice = slice_of("odd", &["192.0.2.255", &address.to_string()]);
    source.replace_all(&(service("odd", "10.96.0.9") + &slice));
    let proxy = Proxy::start(&lab.node1, &source, &without_audits());
    proxy.wait_until_says("add destination 10.96.0.9:80/tcp -> 192.0.2.255:8080");
    serves(&lab.node1, &[("10.96.0.9", &address.to_string())]);
    for _ in 0..10 {
        let answer = ask(&client, Protocol::Tcp, "10.96.0.9:80".parse().unwrap());
        assert_eq!(answer.unwrap().server, "pod");
    }
}
