//! Tests that no moment of a round treats a client worse than the desired states before, within and after it
//! do.
//!
//! Takes histories with and without faults. Finds what a client meets at any moment and in no desired state.
//! Does not check the end of a round.

use proptest::prelude::*;

use super::super::*;
use super::worlds::{ip, slice_port, some_history};
use super::{after, complete_with, connect_everywhere, has, is_guarded, local_detection};
use crate::apply::fake::FakeKernel;
use crate::model::{Net, PerFamily, Protocol, Service, SourceRanges, TrafficPolicy, Update};
use crate::plan::{Entry, SetName};
use crate::testing::packet::{Client, Moment as Packets, moments};
use crate::testing::{now, ready, service, service_port, slice};
use std::net::IpAddr;

/// True if an entry shows that a Service has this address, protocol and port.
fn has_entry(state: &Observed, key: &VirtualServerKey) -> bool {
    let own = Entry::AddressPort(key.address, key.protocol, key.port);
    let names = [
        SetName::ClusterIp,
        SetName::ExternalIp,
        SetName::ExternalIpLocal,
        SetName::LoadBalancer,
        SetName::NodePortSctpHash,
    ];
    names.into_iter().any(|name| has(state, key, name, own))
}

/// The difference between two moments, as far as packets can see it.
struct Step {
    rules: PerFamily<bool>,
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Step {
    fn between(before: &Observed, after: &Observed) -> Self {
        let rules = PerFamily::from_fn(|family| before.rules.of(family) != after.rules.of(family));
        let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for set in before.sets.keys().chain(after.sets.keys()) {
            let (none, other) = (BTreeSet::new(), BTreeSet::new());
            let was = before.sets.get(set).unwrap_or(&none);
            let is = after.sets.get(set).unwrap_or(&other);
            for entry in was.symmetric_difference(is) {
                addresses.extend(entry.address());
                if let Entry::Port(port) = entry {
                    ports.insert(*port);
                }
            }
        }
        addresses.extend(before.addresses.symmetric_difference(&after.addresses));
        for (one, other) in [(before, after), (after, before)] {
            let servers = one.servers.iter();
            let changed = servers.filter(|(key, server)| other.servers.get(*key) != Some(*server));
            addresses.extend(changed.map(|(key, _)| key.address));
        }
        Self { rules, addresses, ports }
    }

    fn is_of(&self, key: &VirtualServerKey) -> bool {
        *self.rules.of(key.family())
            || self.addresses.contains(&key.address)
            || self.ports.contains(&key.port)
    }
}

/// Clients of each kind, and a node with all addresses that occur in histories.
struct Clients {
    node: [IpAddr; 4],
    near: [Net; 2],
}

impl Clients {
    fn new() -> Self {
        let node = ["192.0.2.11", "192.0.2.12", "203.0.113.1", "2001:db8:1::11"].map(ip);
        let near = ["10.244.1.0/24", "fd00:10:244:1::/64"];
        Self { node, near: near.map(net) }
    }

    fn at<'a>(&'a self, state: &'a Observed) -> Packets<'a> {
        Packets { state, node: &self.node, near: &self.near }
    }

    fn of(family: Family) -> [Client; 5] {
        let [a, b, c, pod] = match family {
            Family::V4 => ["198.51.100.7", "192.0.2.100", "203.0.113.200", "10.244.1.9"].map(ip),
            Family::V6 => {
                ["2001:db8:a::7", "2001:db8:1::9", "2001:db8::9", "fd00:10:244:1::9"].map(ip)
            }
        };
        let outside = [a, b, c].map(Client::Outside);
        [outside[0], outside[1], outside[2], Client::Pod(pod), Client::Node]
    }

    /// Collects the findings of `look` for each client and moment. `look` compares a moment with the desired
    /// states.
    fn find(
        &self,
        wishes: &[Observed],
        moments: &[Observed],
        look: impl Fn(&[Packets<'_>], Packets<'_>, Client, &VirtualServerKey) -> Option<&'static str>,
    ) -> Vec<String> {
        let states = || wishes.iter().chain(moments);
        let keys: BTreeSet<_> = states().flat_map(|state| state.servers.keys()).collect();
        let wishes: Vec<_> = wishes.iter().map(|wish| self.at(wish)).collect();
        let steps = moments.iter().zip(moments.iter().skip(1));
        let steps: Vec<_> = steps.map(|(before, after)| Step::between(before, after)).collect();
        let mut found = vec![];
        for key in keys {
            let is_news = |at: &usize| *at == 0 || steps[at - 1].is_of(key);
            let news: Vec<_> = (0..moments.len()).filter(is_news).collect();
            for client in Self::of(key.family()) {
                let seen = news.iter().map(|at| self.at(&moments[*at]));
                let seen = seen.filter_map(|moment| look(&wishes, moment, client, key));
                found.extend(seen.map(|what| format!("{client:?} {what} {key}")));
            }
        }
        found.dedup();
        found
    }

    /// Clients that every desired state serves and a moment does not.
    fn unserved(&self, wishes: &[Observed], moments: &[Observed]) -> Vec<String> {
        self.find(wishes, moments, |wishes, moment, client, key| {
            let is_lost =
                !moment.serves(client, key) && wishes.iter().all(|wish| wish.serves(client, key));
            is_lost.then_some("is not served at")
        })
    }

    /// Clients that a moment lets in although every desired state turns them away. Also clients whose replies get
    /// lost, or that reach a process of the node at a service address.
    fn unprotected(&self, wishes: &[Observed], moments: &[Observed]) -> Vec<String> {
        self.find(wishes, moments, |wishes, moment, client, key| {
            let is_shut = || {
                wishes.iter().all(|wish| !wish.stands(key) || wish.turns_away(client, key))
                    && wishes.iter().any(|wish| wish.turns_away(client, key))
            };
            // A process of the node may answer at the node's own address if no Service has the port.
            let is_service =
                || moment.state.addresses.contains(&key.address) || has_entry(moment.state, key);
            if moment.serves(client, key) && is_shut() {
                Some("is let in at")
            } else if moment.strays(client, key)
                && !wishes.iter().any(|wish| wish.strays(client, key))
            {
                Some("is answered from elsewhere at")
            } else if moment.reaches_host(client, key) && is_service() {
                Some("reaches a process of the node at")
            } else {
                None
            }
        })
    }

    fn wronged(&self, wishes: &[Observed], moments: &[Observed]) -> Vec<String> {
        let mut wronged = self.unserved(wishes, moments);
        wronged.extend(self.unprotected(wishes, moments));
        wronged
    }
}

/// Two proxiers. The rounds of one are cut; the other carries each event out at once, for the desired states.
struct Twins {
    proxier: Proxier,
    kernel: FakeKernel,
    whole: Proxier,
    wished: FakeKernel,
}

impl Twins {
    fn new(faults: BTreeSet<usize>) -> Self {
        Self {
            proxier: complete_with(local_detection()),
            kernel: FakeKernel { keep_history: true, faults, ..FakeKernel::default() },
            whole: complete_with(local_detection()),
            wished: FakeKernel::default(),
        }
    }

    /// Takes in events and runs one piece of a round after each. Returns the kernel state before them and the
    /// desired state after each. The kernel's history then has only the changes of these pieces.
    fn take_in(&mut self, events: Vec<Event>, budget: Budget, is_busy: bool) -> Vec<Observed> {
        let mut wishes = vec![self.kernel.state.clone()];
        self.kernel.history.clear();
        for event in events {
            self.whole.fold(event.clone());
            self.whole.round(&mut self.wished, now());
            wishes.push(self.wished.state.clone());
            self.proxier.fold(event);
            if is_busy {
                connect_everywhere(&mut self.kernel);
            }
            self.proxier.step(&mut self.kernel, now(), budget);
        }
        wishes
    }
}

proptest! {
    // Each case looks at every moment for every client.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_moment_of_any_transition_treats_a_client_otherwise_than_both_its_ends(
        history in some_history(), budget in 1..60u32, is_busy in prop::bool::ANY
    ) {
        let clients = Clients::new();
        let mut proxier = complete_with(local_detection());
        let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
        for events in history {
            events.into_iter().for_each(|event| proxier.fold(event));
            if is_busy {
                connect_everywhere(&mut kernel);
            }
            let before = kernel.state.clone();
            kernel.history.clear();
            while proxier.step(&mut kernel, now(), Budget(budget)).is_none() {}
            let moments = moments(&before, &kernel.history);
            let ends = [before, kernel.state.clone()];
            prop_assert_eq!(clients.wronged(&ends, &moments), [""; 0]);
            prop_assert!(kernel.history.iter().all(is_guarded));
        }
    }

    #[test]
    fn no_moment_of_a_round_with_facts_in_its_midst_treats_a_client_otherwise_than_every_wish(
        history in some_history(), budget in 1..60u32, is_busy in prop::bool::ANY
    ) {
        let clients = Clients::new();
        let mut twins = Twins::new(BTreeSet::new());
        for events in history {
            let wishes = twins.take_in(events, Budget(budget), is_busy);
            let Twins { proxier, kernel, .. } = &mut twins;
            while proxier.is_at_work() || proxier.is_dirty() {
                proxier.step(kernel, now(), Budget(budget));
            }
            let moments = moments(&wishes[0], &kernel.history);
            prop_assert_eq!(clients.wronged(&wishes, &moments), [""; 0]);
        }
    }

    #[test]
    fn whatever_fails_no_moment_lets_a_client_in_or_loses_its_protection(
        history in some_history(), budget in 1..60u32,
        faults in prop::collection::btree_set(0..160usize, 1..12)
    ) {
        let clients = Clients::new();
        let mut twins = Twins::new(faults);
        let mut minutes = 0..;
        for events in history {
            let wishes = twins.take_in(events, Budget(budget), false);
            let Twins { proxier, kernel, .. } = &mut twins;
            // Failed changes are tried again when they are due.
            for minute in minutes.by_ref().take(13) {
                while proxier.step(kernel, after(minute), Budget(budget)).is_none() {}
            }
            let moments = moments(&wishes[0], &kernel.history);
            prop_assert_eq!(clients.unprotected(&wishes, &moments), [""; 0]);
        }
    }
}

fn net(text: &str) -> Net {
    text.parse().expect("a network")
}

fn put(service: &Service) -> Event {
    Event::Service(Update::Put(service.clone()))
}

/// The steps of a Service's life: it is created, gets ports, other policies and source ranges, loses them,
/// gets another port number, and is deleted.
fn life() -> Vec<(&'static str, Vec<Event>)> {
    let slice = |hosts: &[&str]| {
        let endpoints = hosts.iter().map(|host| ready(&format!("10.244.{host}"))).collect();
        let mut slice = slice("a", "web", endpoints);
        slice.ports.push(slice_port("more", Protocol::Tcp, 8443));
        slice.ports.push(slice_port("dns", Protocol::Udp, 5353));
        Event::Slice(Update::Put(slice))
    };
    let mut web = service("web", &["10.96.0.1"]);
    web.external_ips = vec![ip("192.0.2.11"), ip("203.0.113.9")];
    web.load_balancer_ips = vec![ip("203.0.113.2")];
    web.ports[0].node_port = Some(30080);
    let mut life = vec![("a new Service", vec![slice(&["1.1", "2.1"]), put(&web)])];
    web.ports.push(service_port("more", Protocol::Tcp, 443));
    web.ports.push(service_port("dns", Protocol::Udp, 53));
    life.push(("ports come", vec![put(&web)]));
    web.external_policy = TrafficPolicy::Local;
    life.push(("only local endpoints", vec![put(&web)]));
    web.source_ranges = ["198.51.100.0/24"].map(net).into_iter().collect();
    life.push(("source ranges come", vec![put(&web)]));
    web.external_policy = TrafficPolicy::Cluster;
    life.push(("all endpoints", vec![put(&web), slice(&["1.1", "2.1", "2.2"])]));
    web.source_ranges = SourceRanges::Unrestricted;
    web.ports.truncate(1);
    life.push(("ports and source ranges go", vec![put(&web)]));
    web.ports[0].port = 8080;
    life.push(("a port changes", vec![put(&web)]));
    life.push(("the Service goes", vec![Event::Service(Update::Gone(web.name.clone()))]));
    life
}

#[test]
fn no_moment_lets_a_process_of_the_host_answer_at_a_service_address() {
    let mut proxier = complete_with(local_detection());
    let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
    let clients = Clients::new();
    for (what, events) in life() {
        let before = kernel.state.clone();
        kernel.history.clear();
        events.into_iter().for_each(|event| proxier.fold(event));
        assert!(proxier.round(&mut kernel, now()).is_success());
        let moments = moments(&before, &kernel.history);
        let ends = [before, kernel.state.clone()];
        assert_eq!(clients.wronged(&ends, &moments), [""; 0], "{what}");
    }
}

#[test]
fn whichever_change_fails_no_moment_lets_a_client_in_or_loses_its_protection() {
    let clients = Clients::new();
    for fault in 0.. {
        let mut proxier = complete_with(local_detection());
        let faults = [fault].into();
        let mut kernel = FakeKernel { keep_history: true, faults, ..FakeKernel::default() };
        for (what, events) in life() {
            let (before, begin) = (kernel.state.clone(), kernel.log.len());
            kernel.history.clear();
            events.into_iter().for_each(|event| proxier.fold(event));
            while !proxier.round(&mut kernel, now()).is_success() {}
            if (begin..kernel.log.len()).contains(&fault) {
                let (failed, _) = &kernel.log[fault];
                let moments = moments(&before, &kernel.history);
                let ends = [before, kernel.state.clone()];
                assert_eq!(clients.unprotected(&ends, &moments), [""; 0], "{what}: {failed}");
            }
        }
        if kernel.log.len() <= fault {
            return;
        }
    }
}

#[test]
fn an_endpoint_that_comes_first_does_not_come_before_the_exemption_that_the_round_takes_away() {
    let mut proxier = complete_with(local_detection());
    let mut kernel = FakeKernel { keep_history: true, ..FakeKernel::default() };
    let mut balancer = service("lb", &["10.96.0.1"]);
    balancer.load_balancer_ips = vec![ip("203.0.113.2")];
    balancer.ports[0].node_port = Some(30080);
    balancer.external_policy = TrafficPolicy::Local;
    proxier.fold(Event::Service(Update::Put(balancer.clone())));
    proxier.fold(Event::Slice(Update::Put(slice("a", "lb", vec![ready("10.244.1.1")]))));
    assert!(proxier.round(&mut kernel, now()).is_success());
    let before = kernel.state.clone();
    kernel.history.clear();
    // The policy changes along with others, which keep the round busy; then a remote endpoint is added.
    for n in 1..=3u8 {
        let other = service(&format!("s{n}"), &[&format!("10.96.1.{n}")]);
        proxier.fold(Event::Service(Update::Put(other)));
    }
    balancer.external_policy = TrafficPolicy::Cluster;
    proxier.fold(Event::Service(Update::Put(balancer)));
    assert!(proxier.step(&mut kernel, now(), Budget(1)).is_none());
    let both = vec![ready("10.244.1.1"), ready("10.244.2.1")];
    proxier.fold(Event::Slice(Update::Put(slice("a", "lb", both))));
    while proxier.step(&mut kernel, now(), Budget(1)).is_none() {}
    let (clients, wishes) = (Clients::new(), [before, kernel.state.clone()]);
    assert_eq!(clients.wronged(&wishes, &kernel.history), [""; 0]);
}
