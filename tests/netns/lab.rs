//! Tests the laboratory itself, on a node that is programmed by hand.
//!
//! A failure here is a fault of the lab or the kernel, not of the proxy.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::node::{Family, Lab, Namespace, Node, Pod};
use crate::traffic::{Protocol, Server, ask, ask_from};

const PORT: u16 = 80;
const TARGET: u16 = 8080;

#[test]
fn a_service_made_by_hand_spreads_every_protocol_over_its_pods() {
    let lab = Lab::new("spread");
    let (local, remote, inside) = (lab.node1.pod(2), lab.node2.pod(2), lab.node1.pod(3));
    program(&lab.node1, [&local, &remote]);

    for (protocol, family) in every_kind() {
        let _servers =
            [serve(&local, protocol, family, "local"), serve(&remote, protocol, family, "remote")];
        let service = SocketAddr::new(service_address(family), PORT);
        let answers = [(); 4].map(|()| ask(&inside, protocol, service).unwrap());

        let servers: BTreeSet<_> = answers.iter().map(|answer| answer.server.as_str()).collect();
        assert_eq!(servers, BTreeSet::from(["local", "remote"]), "{protocol:?} {family:?}");
        for answer in answers {
            assert_eq!(answer.source.ip(), inside.address(family), "{protocol:?}: {answer}");
        }
    }
}

#[test]
fn a_masqueraded_client_is_seen_as_the_node() {
    let lab = Lab::new("masquerade");
    let remote = lab.node2.pod(2);
    program(&lab.node1, [&remote]);
    lab.node1.run("iptables -t nat -A POSTROUTING -s 192.0.2.100 -j MASQUERADE");
    lab.node1.run("ip6tables -t nat -A POSTROUTING -s 2001:db8:1::100 -j MASQUERADE");

    for (protocol, family) in every_kind() {
        let _server = serve(&remote, protocol, family, "remote");
        let answer =
            ask(&lab.client, protocol, SocketAddr::new(service_address(family), PORT)).unwrap();
        assert_eq!(answer.source.ip(), lab.node1.address(family), "{protocol:?}");
    }
}

#[test]
fn a_pod_reaches_itself_through_a_masqueraded_service() {
    let lab = Lab::new("hairpin");
    let pod = lab.node1.pod(2);
    program(&lab.node1, [&pod]);
    lab.node1.run("iptables -t nat -A POSTROUTING -s 10.244.1.2 -d 10.244.1.2 -j MASQUERADE");
    lab.node1.run(
        "ip6tables -t nat -A POSTROUTING -s fd00:10:244:1::2 -d fd00:10:244:1::2 -j MASQUERADE",
    );

    for (protocol, family) in every_kind() {
        let _server = serve(&pod, protocol, family, "itself");
        let answer = ask(&pod, protocol, SocketAddr::new(service_address(family), PORT)).unwrap();
        assert_eq!(answer.server, "itself");
        assert_ne!(answer.source.ip(), pod.address(family), "{protocol:?}");
    }
}

#[test]
fn the_source_port_is_the_callers_to_choose() {
    let lab = Lab::new("port");
    let pod = lab.node1.pod(2);
    for (protocol, family) in every_kind() {
        let _server = serve(&pod, protocol, family, "pod");
        let from = SocketAddr::new(lab.node2.address(family), 4321);
        let to = SocketAddr::new(pod.address(family), TARGET);
        assert_eq!(ask_from(&lab.node2, protocol, from, to).unwrap().source, from, "{protocol:?}");
    }
}

#[test]
fn nobody_answers_for_a_service_without_a_server() {
    let lab = Lab::new("nobody");
    let pod = lab.node1.pod(2);
    for (protocol, family) in every_kind() {
        let to = SocketAddr::new(pod.address(family), TARGET);
        assert!(ask(&lab.client, protocol, to).is_err(), "{protocol:?}");
    }
}

#[test]
fn the_conformance_node_has_the_recorded_addresses_and_no_others() {
    let node = Node::conformance("conformance");
    assert_eq!(
        node.run("ip -o address show scope global | awk '{print $2, $4}'"),
        "eth0 192.0.2.11/24\neth0 2001:db8:1::11/64\neth1 198.51.100.11/24\n"
    );
    assert_eq!(node.run("ip -6 -o address show scope link"), "");
    assert_eq!(node.run("ip -6 -o address show tentative"), "");
}

#[test]
fn a_namespace_ends_with_its_daemons_and_leaves_no_name() {
    let namespace = Namespace::new("daemon");
    let name = namespace.name().to_owned();
    assert!(!namespace.attempt("false").status.success());
    let daemon = namespace.spawn("sh -c 'ip -o link; exec sleep 600'");
    let process = daemon.id();
    while !daemon.output().contains("lo:") {
        std::thread::yield_now();
    }
    drop(daemon);
    drop(namespace);
    assert!(!std::fs::exists(format!("/proc/{process}")).unwrap());
    assert!(!std::fs::exists(format!("/run/netns/{name}")).unwrap());
}

/// Adds virtual servers of every protocol and family, masquerading to the pods, and their
/// addresses.
fn program<const N: usize>(node: &Node, pods: [&Pod; N]) {
    node.run("ip link add kube-ipvs0 type dummy");
    let mut rules = String::new();
    for family in Family::BOTH {
        let address = service_address(family);
        node.run(&format!("ip address add {address} dev kube-ipvs0"));
        for flag in ["-t", "-u", "--sctp-service"] {
            let service = SocketAddr::new(address, PORT);
            rules += &format!("-A {flag} {service} -s rr\n");
            for pod in pods {
                let server = SocketAddr::new(pod.address(family), TARGET);
                rules += &format!("-a {flag} {service} -r {server} -m -w 1\n");
            }
        }
    }
    node.feed("ipvsadm -R", &rules);
    // Without this sysctl iptables cannot translate packets that IPVS has handled.
    node.sysctl("net.ipv4.vs.conntrack", "1");
}

fn service_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => "10.96.0.10".parse().unwrap(),
        Family::V6 => "fd00:10:96::10".parse().unwrap(),
    }
}

fn serve(pod: &Pod, protocol: Protocol, family: Family, name: &str) -> Server {
    Server::start(pod, protocol, SocketAddr::new(pod.address(family), TARGET), name)
}

fn every_kind() -> impl Iterator<Item = (Protocol, Family)> {
    Protocol::ALL.into_iter().flat_map(|protocol| Family::BOTH.map(|family| (protocol, family)))
}
