//! Makes the cluster in which states change: node1 as in the recorded cases, and all pods.
//!
//! Takes objects. Returns a [`World`] in which every endpoint of the objects answers. Those of
//! 10.244.1.0/24 and fd00:10:244:1::/64 are behind node1, all others on node2. From there an answer
//! to a client outside passes node1 only if the client was masqueraded. Does not add devices or
//! addresses to node1 that the recorded node does not have, except for the route to its pods, which
//! serves no Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::traffic::{Callers, Place, Servers, SourcePorts, Transport, survey};
use crate::node::{Lab, Namespace};

/// The hosts, and servers at all endpoints.
pub(super) struct World {
    pub(super) lab: Lab,
    _pods: Namespace,
    _servers: [Servers; 2],
    ports: [Arc<SourcePorts>; 2],
}

/// The place of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Client {
    Outside,
    Node,
}

impl Client {
    pub(super) const ALL: [Self; 2] = [Self::Outside, Self::Node];
}

/// A client and a frontend.
pub(super) type Pair = (Client, Place);

impl World {
    /// Makes a world with the endpoints of these objects.
    pub(super) fn new<'o>(name: &str, objects: impl Iterator<Item = &'o str>) -> Self {
        let lab = Lab::new(name);
        for host in [&*lab.node1, &*lab.node2, &lab.client] {
            // Every refusal must reach the client, not only the first ones of a second.
            host.sysctl("net.ipv4.icmp_ratelimit", "0");
            host.sysctl("net.ipv6.icmp.ratelimit", "0");
        }
        let pods = Namespace::new(&format!("{name}-pods"));
        lab.node1.feed("ip -batch -", &NODE.replace("PODS", pods.name()));
        pods.feed("ip -batch -", PODS);
        let endpoints: BTreeSet<_> = objects.flat_map(endpoints).collect();
        let (near, far): (BTreeSet<_>, _) =
            endpoints.into_iter().partition(|place| is_near(place.address.ip()));
        let servers = [(&pods, near), (&*lab.node2, far)].map(|(host, places)| {
            let addresses: BTreeSet<_> = places.iter().map(|place| place.address.ip()).collect();
            let line = |address: &IpAddr| match address {
                IpAddr::V4(address) => format!("addr add {address}/32 dev lo\n"),
                IpAddr::V6(address) => format!("addr add {address}/128 dev lo nodad\n"),
            };
            host.feed("ip -batch -", &addresses.iter().map(line).collect::<String>());
            Servers::start(host, &places)
        });
        Self { lab, _pods: pods, _servers: servers, ports: Default::default() }
    }

    /// Returns which clients are served at which frontends now, by all of the destinations.
    pub(super) fn served(&self) -> BTreeSet<Pair> {
        let frontends = self.frontends();
        // This is often enough for a round robin to reach every destination.
        let times = frontends.iter().map(|(place, count)| (*place, 2 * count + 1)).collect();
        let of = |client| survey(self.host(client), &self.ports[client as usize], &times);
        // Both run at the same time, because a dropped client takes long.
        thread::scope(|scope| {
            let both = Client::ALL.map(|client| (client, scope.spawn(move || of(client))));
            both.into_iter()
                .flat_map(|(client, served)| {
                    served.join().unwrap().into_iter().map(move |place| (client, place))
                })
                .collect()
        })
    }

    /// Starts clients that connect repeatedly, in the order of [`Client::ALL`].
    pub(super) fn call(&self, pairs: &BTreeSet<Pair>) -> [Callers; 2] {
        Client::ALL.map(|client| {
            let places =
                pairs.iter().filter(|(whose, _)| *whose == client).map(|(_, place)| *place);
            Callers::start(self.host(client), &self.ports[client as usize], places)
        })
    }

    /// Returns the virtual servers of node1 that have destinations for new connections, and how
    /// many each has.
    pub(super) fn frontends(&self) -> BTreeMap<Place, usize> {
        frontends(&self.lab.node1.run("ipvsadm -Sn"))
    }

    fn host(&self, client: Client) -> &Namespace {
        match client {
            Client::Outside => &self.lab.client,
            Client::Node => &self.lab.node1,
        }
    }
}

const NODE: &str = "\
    link add pods type veth peer name eth0 netns PODS
    link set pods addrgenmode none
    link set pods up
    addr add fe80::1/64 dev pods nodad
    route add 169.254.0.2 dev pods
    route add 10.244.1.0/24 via 169.254.0.2 dev pods
    route add fd00:10:244:1::/64 via fe80::2 dev pods
    link add eth1 type dummy
    link set eth1 addrgenmode none
    link set eth1 up
    addr add 198.51.100.11/24 dev eth1";

const PODS: &str = "\
    link set eth0 addrgenmode none
    link set eth0 up
    addr add 169.254.0.2/32 dev eth0
    addr add fe80::2/64 dev eth0 nodad
    route add 192.0.2.11 dev eth0
    route add default via 192.0.2.11 dev eth0
    route add default via fe80::1 dev eth0";

fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[..3] == [10, 244, 1],
        IpAddr::V6(address) => address.segments()[..4] == [0xfd00, 0x10, 0x244, 1],
    }
}

/// Returns every address and port at which the slices of these objects have a pod.
fn endpoints(objects: &str) -> BTreeSet<Place> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(objects).unwrap();
    let mut places = BTreeSet::new();
    for slice in documents.iter().filter(|object| object["kind"] == "EndpointSlice") {
        for address in slice["endpoints"].as_array().into_iter().flatten() {
            let address: IpAddr = address["addresses"][0].as_str().unwrap().parse().unwrap();
            let is_pod = match address {
                IpAddr::V4(address) => address.octets()[..2] == [10, 244],
                IpAddr::V6(address) => address.segments()[..3] == [0xfd00, 0x10, 0x244],
            };
            for port in slice["ports"].as_array().into_iter().flatten().filter(|_| is_pod) {
                let protocol = match port["protocol"].as_str() {
                    Some("UDP") => Transport::Udp,
                    Some("SCTP") => Transport::Sctp,
                    _ => Transport::Tcp,
                };
                let number = port["port"].as_u64().unwrap().try_into().unwrap();
                places.insert(Place { protocol, address: SocketAddr::new(address, number) });
            }
        }
    }
    places
}

/// Returns the virtual servers in the output of `ipvsadm -Sn` that take new connections, with the
/// number of their destinations.
pub(super) fn frontends(saved: &str) -> BTreeMap<Place, usize> {
    let mut found = BTreeMap::new();
    for line in saved.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["-a", flag, address, .., weight] = words[..] else { continue };
        let protocol = match flag {
            "-t" => Transport::Tcp,
            "-u" => Transport::Udp,
            "--sctp-service" => Transport::Sctp,
            // This proxy does not make firewall marks.
            _ => continue,
        };
        if weight != "0" {
            let place = Place { protocol, address: address.parse().unwrap() };
            *found.entry(place).or_default() += 1;
        }
    }
    found
}
