//! Tests input that is invalid, contradictory or very large.
//!
//! Takes objects that an API server would refuse or seldom has, and settings that a kernel does not
//! accept. Checks the kernel state that results, the state of a valid Service beside it, and the
//! log. No input may cause a crash, a loop of failures, or a second report of the same problem.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::behaviour::{document, serves, service, slice};
use crate::canonical::{Kernel, virtual_servers};
use crate::node::{Family, Lab, Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};
use crate::traffic::{Protocol, Server, ask};

/// Changes a field of a document.
pub(crate) fn with(document_text: &str, pointer: &str, value: Value) -> String {
    let text = document_text.trim_end().trim_end_matches("---");
    let mut object: Value = serde_json::from_str(text).unwrap();
    let mut place = &mut object;
    for part in pointer.split('.') {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value;
    document(&object)
}

fn created(name: &str, address: &str, time: &str) -> String {
    with(&service(name, address), "metadata.creationTimestamp", json!(time))
}

#[test]
fn of_two_services_at_one_frontend_the_older_has_it_until_it_goes() {
    let node = Node::conformance("claims");
    let source = Source::api_server(&node);
    let Source::ApiServer(server) = &source else { unreachable!() };
    let pairs = [
        ("younger", "10.96.0.1", "2024-01-02T00:00:00Z", "10.244.1.1"),
        ("older", "10.96.0.1", "2024-01-01T00:00:00Z", "10.244.1.2"),
        ("same-b", "10.96.0.2", "2024-01-01T00:00:00Z", "10.244.1.3"),
        ("same-a", "10.96.0.2", "2024-01-01T00:00:00Z", "10.244.1.4"),
        ("good", "10.96.0.3", "2024-01-01T00:00:00Z", "10.244.1.5"),
    ];
    for (name, address, time, endpoint) in pairs {
        server.put(&(created(name, address, time) + &slice(name, endpoint)));
    }
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    let good = ("10.96.0.3", "10.244.1.5");
    serves(&node, &[("10.96.0.1", "10.244.1.2"), ("10.96.0.2", "10.244.1.4"), good]);
    let said = |loser: &str| proxy.said(&format!("Service shop/{loser}: "));
    let lost = |loser: &str, address: &str, winner: &str| {
        let words = format!(
            "address {address} port 80 protocol tcp is claimed by Service shop/{winner} too"
        );
        // The virtual servers exist a moment before the round ends.
        proxy.wait_until_says(&words);
        let told = said(loser);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&words), "{told:?}");
    };
    lost("younger", "10.96.0.1", "older");
    lost("same-b", "10.96.0.2", "same-a");
    assert_eq!(said("good"), [""; 0]);

    // Changes of the losing Service have no effect.
    server.put(&slice("younger", "10.244.1.6"));
    server.put(&slice("good", "10.244.1.7"));
    let good = ("10.96.0.3", "10.244.1.7");
    serves(&node, &[("10.96.0.1", "10.244.1.2"), ("10.96.0.2", "10.244.1.4"), good]);
    server.delete("Service", "shop", "older");
    serves(&node, &[("10.96.0.1", "10.244.1.6"), ("10.96.0.2", "10.244.1.4"), good]);
    proxy.wait_until_says("Service shop/younger: 10.96.0.1:80/tcp is not contested any more");
    server.put(&created("older", "10.96.0.1", "2024-01-01T00:00:00Z"));
    serves(&node, &[("10.96.0.1", "10.244.1.2"), ("10.96.0.2", "10.244.1.4"), good]);
}

/// Waits until the set of cluster IPs has `count` entries with this prefix. Entries are added
/// before the last virtual servers and removed after them.
fn has_entries(node: &Namespace, count: usize, start: &str) {
    let add = format!("add KUBE-CLUSTER-IP {start}");
    let found = || node.run("ipset save KUBE-CLUSTER-IP").matches(&add).count();
    if until(PATIENCE, || (found() == count).then_some(())).is_none() {
        assert_eq!(found(), count, "entries {start}*");
    }
}

#[test]
fn a_service_of_two_thousand_ports_is_served_at_all_of_them() {
    let node = Node::conformance("ports");
    let ports = |field: &str, offset: u32| -> Value {
        let port =
            |n: u32| json!({"name": format!("p{n}"), "protocol": "TCP", (field): offset + n});
        (1..=2000).map(port).collect()
    };
    let source = Source::manifests();
    let many = with(&service("many", "10.96.0.1"), "spec.ports", ports("port", 1000));
    let slices = with(&slice("many", "10.244.1.1"), "ports", ports("port", 20_000));
    let others = service("good", "10.96.0.2") + &slice("good", "10.244.1.2");
    source.replace_all(&(many + &slices + &others));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    let listed = || node.run("ipvsadm -Sn");
    let is_whole = || {
        let listed = listed();
        let pairs = [(1001, 20_001), (2345, 21_345), (3000, 22_000)];
        let destination = |(port, target): &(u32, u32)| {
            format!("-a -t 10.96.0.1:{port} -r 10.244.1.1:{target} -m -w 1\n")
        };
        listed.matches("-a -t 10.96.0.1:").count() == 2000
            && pairs.iter().all(|pair| listed.contains(&destination(pair)))
            && listed.contains("-a -t 10.96.0.2:80 -r 10.244.1.2:8080 -m -w 1\n")
    };
    assert!(until(4 * PATIENCE, || is_whole().then_some(())).is_some(), "{}", listed());
    has_entries(&node, 2000, "10.96.0.1,tcp:");

    source.replace_all(&others);
    serves(&node, &[("10.96.0.2", "10.244.1.2")]);
    // The entries go after the last of the virtual servers.
    has_entries(&node, 0, "10.96.0.1,");
    has_entries(&node, 1, "10.96.0.2,");
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

#[test]
fn five_thousand_endpoints_of_fifty_slices_are_all_destinations() {
    let node = Node::conformance("endpoints");
    let source = Source::manifests();
    let address = |n: u32| format!("10.244.{}.{}", n / 200, 1 + n % 200);
    let of_slice = |number: u32| -> String {
        let endpoint = |n| json!({"addresses": [address(n)], "conditions": {"ready": true}});
        let endpoints: Value = (100 * number..100 * (number + 1)).map(endpoint).collect();
        let slice = with(&slice("many", "10.244.1.1"), "endpoints", endpoints);
        with(&slice, "metadata.name", json!(format!("many-{number}")))
    };
    let slices = |count| (0..count).map(of_slice).collect::<String>();
    let others = service("good", "10.96.0.2") + &slice("good", "10.244.100.2");
    let many = service("many", "10.96.0.1");
    source.replace_all(&(many.clone() + &slices(50) + &others));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    let count = || node.run("ipvsadm -Sn | grep -c -- '-a -t 10.96.0.1:80 .* -w 1$' || true");
    let becomes = |wanted: &str| {
        let is_so = || (count().trim() == wanted).then_some(());
        assert!(until(4 * PATIENCE, is_so).is_some(), "{} destinations", count());
    };
    becomes("5000");
    source.replace_all(&(many + &slices(1) + &others));
    becomes("100");
    let listed = node.run("ipvsadm -Sn");
    assert!(listed.contains("-a -t 10.96.0.2:80 -r 10.244.100.2:8080 -m -w 1\n"), "{listed}");
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

/// The node's own servers at its address stay reachable from outside, even if a Service claims the
/// address.
#[test]
fn a_service_at_an_address_of_the_node_takes_its_port_and_no_other() {
    let lab = Lab::new("own");
    let pod = lab.node1.pod(2);
    let own = lab.node1.address(Family::V4);
    let _pod =
        Server::start(&pod, Protocol::Tcp, SocketAddr::new(pod.address(Family::V4), 8080), "pod");
    let _node = Server::start(&lab.node1, Protocol::Tcp, SocketAddr::new(own, 9999), "node");
    let endpoint = slice("own", &pod.address(Family::V4).to_string());
    let plain = service("own", "10.96.0.1");
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": own}]}});
    for (what, service) in [
        ("external IP", with(&plain, "spec.externalIPs", json!([own]))),
        ("load balancer", with(&plain, "status", ingress)),
        ("cluster IP", service("own", &own.to_string())),
    ] {
        println!("as its {what}");
        let source = Source::manifests();
        source.replace_all(&(service + &endpoint));
        let proxy = Proxy::start(&lab.node1, &source, &config(json!({})));
        proxy.wait_until_says("synced");
        let ask_at = |port| ask(&lab.client, Protocol::Tcp, SocketAddr::new(own, port));
        assert_eq!(ask_at(80).unwrap().server, "pod");
        assert_eq!(ask_at(9999).unwrap().server, "node");
        drop(proxy);
        source.replace_all(&service_of_nothing());
        let proxy = Proxy::start(&lab.node1, &source, &config(json!({})));
        proxy.wait_until_says("synced");
        assert!(lab.node1.run("ip -o address show dev eth0").contains("192.0.2.11/24"));
        assert_eq!(ask_at(9999).unwrap().server, "node");
    }
}

/// Node-local DNS adds such a device.
#[test]
fn a_cluster_ip_that_another_device_has_is_served_without_a_gap_when_the_device_goes() {
    let lab = Lab::new("dns");
    let pod = lab.node1.pod(2);
    let target = SocketAddr::new(pod.address(Family::V4), 8080);
    let _pod = Server::start(&pod, Protocol::Tcp, target, "pod");
    lab.node1.run("ip link add nodelocaldns type dummy && ip link set nodelocaldns up");
    lab.node1.run("ip address add 10.96.0.1/32 dev nodelocaldns");
    let source = Source::manifests();
    source.replace_all(&(service("dns", "10.96.0.1") + &slice("dns", &target.ip().to_string())));
    let proxy = Proxy::start(&lab.node1, &source, &config(json!({})));
    proxy.wait_until_says("synced");
    let is_ours = || {
        let ours = lab.node1.run("ip -o address show dev kube-ipvs0; ipset save KUBE-IPVS-IPS");
        assert!(
            ours.contains("10.96.0.1/32") && ours.contains("add KUBE-IPVS-IPS 10.96.0.1"),
            "{ours}"
        );
    };
    let address = SocketAddr::new("10.96.0.1".parse().unwrap(), 80);
    let serves = || assert_eq!(ask(&lab.node1, Protocol::Tcp, address).unwrap().server, "pod");
    is_ours();
    serves();
    lab.node1.run("ip link del nodelocaldns");
    is_ours();
    serves();
    // The device comes back.
    lab.node1.run("ip link add nodelocaldns type dummy && ip link set nodelocaldns up");
    lab.node1.run("ip address add 10.96.0.1/32 dev nodelocaldns");
    is_ours();
    serves();
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

fn service_of_nothing() -> String {
    service("nothing", "10.96.0.9")
}

#[test]
fn addresses_that_no_host_has_are_left_out_one_by_one() {
    let node = Node::conformance("addresses");
    let bad = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.251",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::9",
        "ff02::1",
        "203.0.113",
        "203.0.113.9/32",
        "",
    ];
    let source = Source::manifests();
    let ingress: Vec<_> = bad.iter().map(|ip| json!({"ip": ip})).collect();
    let odd = with(&service("odd", "10.96.0.1"), "spec.externalIPs", json!(bad));
    let odd = with(&odd, "status", json!({"loadBalancer": {"ingress": ingress}}));
    let endpoints: Vec<_> = bad.iter().map(|ip| json!({"addresses": [ip]})).collect();
    let mut endpoints = json!(endpoints);
    endpoints.as_array_mut().unwrap().push(json!({"addresses": ["10.244.1.1"]}));
    let odd = odd + &with(&slice("odd", "10.244.1.1"), "endpoints", endpoints);
    // Link-local IPv4 addresses are valid, as upstream.
    let linked =
        with(&service("linked", "169.254.20.10"), "spec.externalIPs", json!(["169.254.20.11"]));
    let linked = linked + &slice("linked", "169.254.30.1");
    source.replace_all(&(odd + &linked));
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    serves(
        &node,
        &[
            ("10.96.0.1", "10.244.1.1"),
            ("169.254.20.10", "169.254.30.1"),
            ("169.254.20.11", "169.254.30.1"),
        ],
    );
    assert_eq!(
        node.run("ip -o -4 address show dev kube-ipvs0 | awk '{print $4}' | sort"),
        "10.96.0.1/32\n169.254.20.10/32\n169.254.20.11/32\n"
    );
    assert_eq!(node.run("ip -o -6 address show dev kube-ipvs0"), "");
    // An empty text is not an address, and in these two lists it is not an error.
    for (field, count) in [
        ("Service shop/odd: spec.externalIPs[", bad.len() - 1),
        ("Service shop/odd: status.loadBalancer.ingress[", bad.len() - 1),
        ("EndpointSlice shop/odd-1: endpoints[", bad.len()),
    ] {
        let said = proxy.said(field);
        assert_eq!(said.len(), count, "{said:#?}");
    }
    assert_eq!(proxy.said("shop/linked"), [""; 0]);
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

#[test]
fn slices_that_repeat_or_lack_something_give_what_they_have() {
    let node = Node::conformance("slices");
    let source = Source::manifests();
    let named = |text: &str, name: &str| with(text, "metadata.name", json!(name));
    let one = slice("web", "10.244.1.1");
    let two_ports = with(
        &slice("web", "10.244.1.3"),
        "ports",
        json!([{"name": "web", "port": 8080}, {"name": "web", "port": 8081}, {"name": "web", "port": 8080}]),
    );
    let objects = [
        service("web", "10.96.0.1"),
        named(&one, "a"),
        named(&one, "b-the-same-again"),
        named(&with(&one, "endpoints", json!([])), "c-no-endpoints"),
        named(&with(&one, "endpoints", Value::Null), "d-null-endpoints"),
        named(&with(&slice("web", "10.244.1.2"), "ports", json!([])), "e-no-ports"),
        named(&with(&slice("web", "10.244.1.2"), "ports", Value::Null), "f-null-ports"),
        named(
            &with(&slice("web", "10.244.1.2"), "ports", json!([{"name": "web", "port": null}])),
            "g-null-port",
        ),
        named(&with(&slice("web", "10.244.1.2"), "ports", json!([null])), "h-null-element"),
        named(&two_ports, "i-ports-twice"),
        service("good", "10.96.0.2"),
        slice("good", "10.244.1.9"),
    ];
    source.replace_all(&objects.concat());
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    let wanted = "\
        -A -t 10.96.0.1:80 -s rr\n\
        -a -t 10.96.0.1:80 -r 10.244.1.1:8080 -m -w 1\n\
        -a -t 10.96.0.1:80 -r 10.244.1.3:8080 -m -w 1\n\
        -a -t 10.96.0.1:80 -r 10.244.1.3:8081 -m -w 1\n\
        -A -t 10.96.0.2:80 -s rr\n\
        -a -t 10.96.0.2:80 -r 10.244.1.9:8080 -m -w 1\n";
    becomes(&node, wanted);
    assert_eq!(proxy.said("EndpointSlice shop/g-null-port: ports[0].port: ").len(), 1);
    assert_eq!(proxy.said("ERROR"), [""; 0]);
}

#[test]
fn an_affinity_timeout_beyond_a_day_or_below_a_second_is_three_hours() {
    let node = Node::conformance("sticky");
    let source = Source::manifests();
    let mut objects = String::new();
    let mut wanted = String::new();
    let timeouts = [
        (json!(1), 1),
        (json!(86_400), 86_400),
        (json!(-1), 10_800),
        (json!(0), 10_800),
        (json!(86_401), 10_800),
        (json!(4_294_967_297_u64), 10_800),
        (json!("ten"), 10_800),
        (json!(1e30), 10_800),
        (Value::Null, 10_800),
    ];
    for (number, (given, used)) in timeouts.iter().enumerate() {
        let (name, address) = (format!("s{number}"), format!("10.96.0.{}", number + 1));
        let affinity = json!({"clientIP": {"timeoutSeconds": given}});
        let service = with(&service(&name, &address), "spec.sessionAffinity", json!("ClientIP"));
        objects += &with(&service, "spec.sessionAffinityConfig", affinity);
        wanted += &format!("-A -t {address}:80 -s rr -p {used}\n");
    }
    source.replace_all(&objects);
    let proxy = Proxy::start(&node, &source, &config(json!({})));
    becomes(&node, &wanted);
    let reported = proxy.said("spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    assert_eq!(reported.len(), 6, "{reported:#?}");
}

#[test]
fn a_timeout_that_is_none_ends_it_before_anything_is_done() {
    let node = Node::conformance("timeouts");
    let kernel = Kernel::of(&node);
    let untouched = kernel.dumps();
    let source = Source::manifests();
    source.replace_all(&(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    for (setting, value) in [("tcpTimeout", "-1s"), ("udpTimeout", "-1s"), ("tcpFinTimeout", "x")] {
        let config = config(json!({"ipvs": {setting: value}}));
        let mut proxy = Proxy::start(&node, &source, &config);
        assert_eq!(proxy.wait(Duration::from_secs(20)).code(), Some(1), "{setting}: {value}");
        let field = setting.to_lowercase();
        let said = proxy.log().to_lowercase();
        assert!(said.contains(&field), "{said}");
    }
    kernel.is(&untouched);
}

/// The kernel counts in ticks, and refuses a number of seconds whose ticks do not fit.
#[test]
fn a_timeout_that_the_kernel_refuses_is_told_with_its_name() {
    let node = Node::conformance("huge");
    let source = Source::manifests();
    source.replace_all(&(service("a", "10.96.0.1") + &slice("a", "10.244.1.1")));
    let config = config(json!({"ipvs": {"udpTimeout": "2147483647s"}}));
    let proxy = Proxy::start(&node, &source, &config);
    proxy.wait_until_says("imeout");
    thread::sleep(Duration::from_secs(1));
    println!("{}\n{}", proxy.log(), node.run("ipvsadm -Sn; ipvsadm -L --timeout"));
    assert_eq!(proxy.said("imeout").len(), 1);
}

/// Waits until `ipvsadm` prints this.
fn becomes(node: &Namespace, wanted: &str) {
    let found = || virtual_servers(&node.run("ipvsadm -Sn"));
    if until(PATIENCE, || (found() == wanted).then_some(())).is_none() {
        assert_eq!(found(), wanted);
    }
}
