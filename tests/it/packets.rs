//! The packet cases of `tests/cases` without a kernel: packets walk through what the proxy has made in memory.
//!
//! The objects of each case are read by the same code as manifests, planned and applied by the core to the fake kernel.
//! [`proxier::testing::packet`] follows packets through its rules, sets and virtual servers; this file adds what IPVS
//! itself does, which is to take turns and to keep clients at their endpoint, and the pods behind it. What cannot be
//! told in this way fails the case; no case passes for that reason.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipvs_proxy::folder;
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::diff::{Observed, ObservedServer};
use proxier::model::{Event, InterfaceAddress, Net, PerFamily, Protocol};
use proxier::plan::{LocalDetection, ServerFlags, ServerSettings, Settings, VirtualServerKey};
use proxier::testing::now;
use proxier::testing::packet::{self, Fate, Moment};
use serde_json::{Value, json};

use crate::cases::{
    Client, Cluster, Driver, Expect, Heard, Kind, Outcome, Place, Run, Way, holds, runs, table,
};
use crate::scenarios::uncommented;

/// The interfaces of the node that is asked: its network, and the bridge to its pods.
const INTERFACES: [(&str, &str); 4] = [
    ("eth0", "192.0.2.11/24"),
    ("eth0", "2001:db8:1::11/64"),
    ("cni0", "10.244.1.1/24"),
    ("cni0", "fd00:10:244:1::1/64"),
];
/// The networks of the node's pods.
const PODS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

/// A node in memory, with a proxy that has brought it to what the cases need.
struct Node {
    proxier: RefCell<Proxier>,
    kernel: RefCell<FakeKernel>,
    /// The number of connections that each virtual server has scheduled.
    turns: RefCell<BTreeMap<VirtualServerKey, usize>>,
    /// Where persistent virtual servers keep their clients.
    kept: RefCell<BTreeMap<(VirtualServerKey, IpAddr), SocketAddr>>,
}

impl Node {
    /// A node whose proxy was given the Services of these cases.
    fn with(runs: &[Run]) -> Self {
        let pods = ["10.244.0.0/16", "fd00:10:244::/56"].map(parse::<Net>);
        let proxier = Proxier::new(Settings {
            node_name: "node1".into(),
            local_detection: LocalDetection::ClusterCidr(PerFamily {
                v4: Some(pods[0]),
                v6: Some(pods[1]),
            }),
            ..Settings::default()
        });
        let node = Self {
            proxier: RefCell::new(proxier),
            kernel: RefCell::default(),
            turns: RefCell::default(),
            kept: RefCell::default(),
        };
        let interfaces = INTERFACES
            .map(|(device, net)| InterfaceAddress { device: device.into(), address: parse(net) });
        node.proxier.borrow_mut().fold(Event::Addresses(interfaces.into_iter().collect()));
        let objects = runs.iter().flat_map(|run| run.objects(|place| endpoint(place, run.kind)));
        node.apply(&objects.collect::<Vec<_>>());
        node
    }

    /// Has the proxy read these objects, which are all that there are, and bring the kernel to what they say.
    fn apply(&self, objects: &[Value]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        fs::write(file.path(), list.to_string()).unwrap();
        let (events, problems) = folder::load(file.path(), "node1").unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        events.into_iter().for_each(|event| self.proxier.borrow_mut().fold(event));
        self.round();
    }

    fn round(&self) {
        let (mut proxier, mut kernel) = (self.proxier.borrow_mut(), self.kernel.borrow_mut());
        let outcome = proxier.round(&mut *kernel, now());
        assert!(outcome.is_success(), "{:?}", outcome.failed);
    }

    /// What becomes of a new connection.
    fn connect(&self, client: Client, kind: Kind, to: SocketAddr) -> Result<Fate, String> {
        let key = key(kind, to);
        let source = match client {
            Client::Pod | Client::Outside => self.address_of(client, kind),
            Client::Node => to.ip(),
        };
        let client = match client {
            Client::Pod => packet::Client::Pod(source),
            Client::Outside => packet::Client::Outside(source),
            Client::Node => packet::Client::Node,
        };
        let kernel = self.kernel.borrow();
        if let Some(server) = kernel.state.servers.get(&key)
            && &*server.settings.scheduler != "rr"
        {
            return Err(format!("cannot tell whom {} chooses", server.settings.scheduler));
        }
        let node = INTERFACES.map(|(_, net)| parse::<Net>(net).addr());
        let moment = Moment { state: &kernel.state, node: &node, near: &PODS.map(parse) };
        Ok(moment.connect(client, &key, |server| self.schedule(&key, source, server)))
    }

    /// The destination that IPVS chooses: the one that the client had before, if the virtual server is persistent and
    /// the destination takes new connections; otherwise each in its turn.
    fn schedule(
        &self,
        key: &VirtualServerKey,
        client: IpAddr,
        server: &ObservedServer,
    ) -> Option<SocketAddr> {
        let takes = |found: &SocketAddr| {
            server.destinations.get(found).is_some_and(|found| found.weight > 0)
        };
        let is_persistent = server.settings.flags.has(ServerFlags::PERSISTENT);
        let mut kept = self.kept.borrow_mut();
        if is_persistent && let Some(last) = kept.get(&(*key, client)).filter(|last| takes(last)) {
            return Some(*last);
        }
        let takers: Vec<_> = server.destinations.keys().copied().filter(takes).collect();
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(*key).or_default();
        *turn += 1;
        let chosen = *takers.get(*turn % takers.len().max(1))?;
        kept.insert((*key, client), chosen);
        Some(chosen)
    }

    /// The name of the pod that listens there.
    fn listener(kind: Kind, at: SocketAddr) -> Option<String> {
        let places = [Place::Here, Place::Elsewhere].into_iter();
        let found = places
            .map(|place| (place, endpoint(place, kind).0))
            .find(|(_, address)| SocketAddr::new(*address, kind.target()) == at)?;
        Some(format!("{}0", found.0.prefix()))
    }
}

fn key(kind: Kind, to: SocketAddr) -> VirtualServerKey {
    let protocol = match kind.words().0 {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => Protocol::Sctp,
    };
    VirtualServerKey { protocol, address: to.ip(), port: to.port() }
}

/// The address of an endpoint, and its node.
fn endpoint(place: Place, kind: Kind) -> (IpAddr, String) {
    let (address, node) = match (place, kind.is_ipv6()) {
        (Place::Here, false) => ("10.244.1.2", "node1"),
        (Place::Here, true) => ("fd00:10:244:1::2", "node1"),
        (Place::Elsewhere, false) => ("10.244.2.2", "node2"),
        (Place::Elsewhere, true) => ("fd00:10:244:2::2", "node2"),
    };
    (parse(address), node.to_owned())
}

impl Cluster for Node {
    fn ask(
        &self,
        from: Client,
        kind: Kind,
        to: SocketAddr,
        count: usize,
        _: Duration,
    ) -> Result<Vec<Heard>, String> {
        let once = || {
            Ok(match self.connect(from, kind, to)? {
                Fate::Lost => Heard::Silence,
                Fate::Refused => Heard::Refused,
                // A process of the node listens at every address and port, which no case wants to hear of.
                Fate::ReachesHost => {
                    Heard::Answer { name: "a process of the node".into(), source: to.ip() }
                }
                Fate::Reaches(delivery) if !delivery.comes_back => Heard::Silence,
                Fate::Reaches(delivery) => match Self::listener(kind, delivery.endpoint) {
                    None => Heard::Refused,
                    Some(name) => {
                        let is_here = name.starts_with(Place::Here.prefix());
                        let place = if is_here { Place::Here } else { Place::Elsewhere };
                        let node = self.sources_of_node(place, kind)[0];
                        let source = if delivery.is_masqueraded { node } else { delivery.source };
                        Heard::Answer { name, source }
                    }
                },
            })
        };
        (0..count).map(|_| once()).collect()
    }

    fn address_of(&self, client: Client, kind: Kind) -> IpAddr {
        parse(match (client, kind.is_ipv6()) {
            (Client::Pod, false) => "10.244.1.9",
            (Client::Pod, true) => "fd00:10:244:1::9",
            (Client::Node, false) => "192.0.2.11",
            (Client::Node, true) => "2001:db8:1::11",
            (Client::Outside, false) => "192.0.2.100",
            (Client::Outside, true) => "2001:db8:1::100",
        })
    }

    /// The address on the interface towards the endpoint.
    fn sources_of_node(&self, towards: Place, kind: Kind) -> Vec<IpAddr> {
        let device = match towards {
            Place::Here => "cni0",
            Place::Elsewhere => "eth0",
        };
        let found = INTERFACES.iter().filter(|(name, _)| *name == device);
        let found = found.map(|(_, net)| parse::<Net>(net).addr());
        found.filter(|address| address.is_ipv6() == kind.is_ipv6()).collect()
    }

    fn drains(&self, run: &Run) -> Result<(), String> {
        self.drains_with(run, 1)
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

impl Node {
    /// The endpoint of a connection ends and is gone; its destination stays as long as the kernel counts connections.
    fn drains_with(&self, run: &Run, connections: u32) -> Result<(), String> {
        let to = run.at(Way::ClusterIp, run.cluster_ip());
        let key = key(run.kind, to);
        let Fate::Reaches(first) = self.connect(Client::Pod, run.kind, to)? else {
            return Err("nobody answered".to_owned());
        };
        let has_destination = || {
            let kernel = self.kernel.borrow();
            let server = kernel.state.servers.get(&key);
            server.is_some_and(|server| server.destinations.contains_key(&first.endpoint))
        };
        self.kernel.borrow_mut().connections.insert((key, first.endpoint), connections);
        for removal in [end_endpoint as fn(&mut Value, IpAddr), remove_endpoint] {
            let [service, mut slice] = run.objects(|place| endpoint(place, run.kind));
            removal(&mut slice["endpoints"], first.endpoint.ip());
            self.apply(&[service, slice]);
            if !has_destination() {
                return Err(format!("the connection to {} is cut", first.endpoint));
            }
            for _ in 0..6 {
                match self.connect(Client::Pod, run.kind, to)? {
                    Fate::Reaches(other) if other.endpoint != first.endpoint => {}
                    fate => return Err(format!("a new connection: {fate:?}")),
                }
            }
        }
        self.kernel.borrow_mut().connections.clear();
        self.proxier.borrow_mut().look_at_draining();
        self.round();
        if has_destination() { Err(format!("{} stays for ever", first.endpoint)) } else { Ok(()) }
    }
}

fn end_endpoint(endpoints: &mut Value, address: IpAddr) {
    let all = endpoints.as_array_mut().unwrap().iter_mut();
    for endpoint in all.filter(|endpoint| has_address(endpoint, address)) {
        endpoint["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
    }
}

fn remove_endpoint(endpoints: &mut Value, address: IpAddr) {
    endpoints.as_array_mut().unwrap().retain(|endpoint| !has_address(endpoint, address));
}

fn has_address(endpoint: &Value, address: IpAddr) -> bool {
    endpoint["addresses"] == json!([address])
}

fn parse<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

/// The cases that do not hold on a node, and what was seen.
fn failures(node: &Node, runs: &[Run]) -> Vec<String> {
    let failed = runs.iter().filter_map(|run| Some(format!("{run}: {}", holds(node, run).err()?)));
    failed.collect()
}

#[test]
fn no_case_of_the_table_needs_a_kernel() {
    let all: usize = table().iter().map(|case| case.kinds.len()).sum();
    assert_eq!(runs(Driver::Fake).len(), all);
    assert!(all > 80, "only {all} cases");
}

#[test]
fn every_case_holds_on_a_node_that_serves_nothing_else() {
    let runs = runs(Driver::Fake);
    let failed = runs.chunks(1).flat_map(|alone| failures(&Node::with(alone), alone));
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
}

/// The rules of a node depend on what all of its Services need.
#[test]
fn every_case_holds_beside_all_others() {
    let runs = runs(Driver::Fake);
    // A pod that ends would leave the other cases.
    let runs: Vec<_> =
        runs.into_iter().filter(|run| run.case.expect != Expect::Else(Outcome::Drains)).collect();
    let node = Node::with(&runs);
    assert_eq!(failures(&node, &runs), [""; 0]);
}

#[test]
fn a_connection_that_is_cut_is_noticed() {
    let is_drained = |run: &Run| run.case.expect == Expect::Else(Outcome::Drains);
    let runs: Vec<_> = runs(Driver::Fake).into_iter().filter(is_drained).collect();
    assert!(!runs.is_empty());
    for run in &runs {
        let node = Node::with(std::slice::from_ref(run));
        let seen = node.drains_with(run, 0).expect_err("nobody counts its connections");
        assert!(seen.ends_with(" is cut"), "{seen}");
    }
}

/// A state from which something is missing, and what that is.
type Damage = (String, Observed);

/// Every state that lacks one thing of this one.
fn damages(state: &Observed) -> Vec<Damage> {
    let mut damages = Vec::new();
    let mut without = |what: String, remove: &dyn Fn(&mut Observed)| {
        let mut state = state.clone();
        remove(&mut state);
        damages.push((what, state));
    };
    for address in &state.addresses {
        without("the address".into(), &|state| {
            state.addresses.remove(address);
        });
    }
    for (key, server) in &state.servers {
        without("the virtual server".into(), &|state| {
            state.servers.remove(key);
        });
        if server.settings.flags.has(ServerFlags::PERSISTENT) {
            without("persistence".into(), &|state| {
                let server = state.servers.get_mut(key).unwrap();
                let scheduler = server.settings.scheduler.clone();
                let flags = ServerFlags::default();
                server.settings = ServerSettings { scheduler, flags, timeout: 0 };
            });
        }
        for destination in server.destinations.keys() {
            without("a destination".into(), &|state| {
                state.servers.get_mut(key).unwrap().destinations.remove(destination);
            });
        }
    }
    for (set, entries) in &state.sets {
        for entry in entries {
            without(format!("an entry of {set}"), &|state| {
                state.sets.get_mut(set).unwrap().remove(entry);
            });
        }
    }
    for jump in &state.rules.v4.jumps {
        without(format!("the jump {} {} {}", jump.table, jump.from, jump.to), &|state| {
            state.rules.v4.jumps.remove(jump);
        });
    }
    for (chain, rules) in &state.rules.v4.chains {
        for (place, rule) in rules.iter().enumerate() {
            // Its rules are of single addresses, which are others whenever the table grows.
            let is_of_address = chain.chain == "KUBE-IPVS-OUT-FILTER";
            let rule = if is_of_address { "-s ADDRESS".into() } else { uncommented(rule) };
            without(format!("{chain} {rule}"), &|state| {
                state.rules.v4.chains.get_mut(chain).unwrap().remove(place);
            });
        }
    }
    damages
}

/// What a case over IPv4 misses when it is not there, of everything that its node has.
fn missed(run: &Run) -> (BTreeSet<String>, BTreeSet<String>) {
    let node = Node::with(std::slice::from_ref(run));
    let state = node.kernel.borrow().state.clone();
    let (mut missed, mut all) = (BTreeSet::new(), BTreeSet::new());
    for (what, damaged) in damages(&state) {
        node.kernel.borrow_mut().state = damaged;
        if holds(&node, run).is_err() {
            missed.insert(what.clone());
        }
        all.insert(what);
    }
    (missed, all)
}

#[test]
fn a_case_does_not_hold_without_what_it_needs() {
    let runs = runs(Driver::Fake);
    let over_ipv4 = runs.iter().filter(|run| run.kind == Kind::Tcp4 || run.kind == Kind::Sctp4);
    let is_judged = |run: &&Run| run.case.expect != Expect::Else(Outcome::Drains);
    let (mut missed_by_any, mut everything) = (BTreeSet::new(), BTreeSet::new());
    for run in over_ipv4.filter(is_judged) {
        let (missed, mut all) = missed(run);
        for needed in needed(&run.case.name) {
            assert!(missed.iter().any(|what| what.starts_with(needed)), "{run} without {needed}");
        }
        assert!(!missed.is_empty(), "{run} holds whatever is missing");
        missed_by_any.extend(missed);
        everything.append(&mut all);
    }
    let unmissed: BTreeSet<_> = everything.difference(&missed_by_any).map(String::as_str).collect();
    assert_eq!(unmissed, UNMISSED.into());
}

/// What the case is about, and must notice.
fn needed(case: &str) -> &'static [&'static str] {
    match case {
        "cluster-ip" => &["the address", "a destination", "an entry of KUBE-CLUSTER-IP"],
        "cluster-ip-from-outside" => &["nat KUBE-MARK-MASQ", "nat KUBE-SERVICES ! -s"],
        "node-port" => &["an entry of KUBE-NODE-PORT-TCP", "nat KUBE-NODE-PORT"],
        "external-ip" => &["an entry of KUBE-EXTERNAL-IP"],
        "load-balancer" => &["an entry of KUBE-LOAD-BALANCER", "nat KUBE-LOAD-BALANCER"],
        "node-port-local" => &["an entry of KUBE-NODE-PORT-LOCAL-TCP"],
        "load-balancer-local" => &["an entry of KUBE-LOAD-BALANCER-LOCAL"],
        "source-ranges-that-admit-by-entries" => &["an entry of KUBE-LOAD-BALANCER-SOURCE-CIDR"],
        "source-ranges-that-shut-out" => {
            &["an entry of KUBE-LOAD-BALANCER-FW", "filter KUBE-SOURCE-RANGES-FIREWALL -j DROP"]
        }
        "affinity" | "affinity-from-outside" => &["persistence"],
        _ => &[],
    }
}

/// What no case misses.
const UNMISSED: [&str; 25] = [
    // No endpoint asks its own Service.
    "an entry of KUBE-LOOP-BACK",
    "nat KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE",
    // No case asks a service address for a port that no Service has.
    "an entry of KUBE-IPVS-IPS",
    "filter KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with icmp-port-unreachable",
    "the jump filter INPUT KUBE-IPVS-FILTER",
    // No load balancer asks for health.
    "an entry of KUBE-HEALTH-CHECK-NODE-PORT",
    "filter KUBE-IPVS-FILTER -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN",
    "filter KUBE-NODE-PORT -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT",
    "the jump filter INPUT KUBE-NODE-PORT",
    // The node does not ask a load balancer that has source ranges.
    "an entry of KUBE-LOAD-BALANCER-SOURCE-IP",
    "filter KUBE-SOURCE-RANGES-FIREWALL -m set --match-set KUBE-LOAD-BALANCER-SOURCE-IP dst,dst,src -j RETURN",
    "filter KUBE-IPVS-OUT-FILTER -s ADDRESS",
    "the jump filter OUTPUT KUBE-IPVS-OUT-FILTER",
    // Other rules of a node decide about what is forwarded and accepted; there are none in memory.
    "filter KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "filter KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
    "the jump filter FORWARD KUBE-FORWARD",
    "the jump filter FORWARD KUBE-PROXY-FIREWALL",
    "nat KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
    "nat KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
    "nat KUBE-SERVICES -m set --match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT",
    "nat KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP dst,dst -m addrtype --dst-type LOCAL -j ACCEPT",
    "nat KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
    "nat KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -m addrtype --dst-type LOCAL -j ACCEPT",
    "nat KUBE-SERVICES -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
    "nat KUBE-SERVICES -s 127.0.0.0/8 -j RETURN",
];
