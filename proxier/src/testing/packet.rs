//! A model of the kernel that says what happens to the first packet of a new connection, for tests.
//!
//! Takes kernel state (rules, sets, virtual servers), a client and a frontend. Says whether the client is
//! served. Reads rules as the kernel does, word by word. An unknown word fails the test.
//!
//! A packet from a client outside or from a pod is marked in `PREROUTING`, passes `INPUT` and is scheduled. A
//! packet that the node sends to a service address has that address as its source. It is marked in `OUTPUT`,
//! scheduled, and then passes the filter of `OUTPUT`. Every answer must come back through the node, with or
//! without masquerading.

#![allow(clippy::panic, reason = "what cannot be read fails the test")]

use std::net::{IpAddr, SocketAddr};

use crate::diff::{Observed, ObservedServer};
use crate::model::{Family, Net};
use crate::plan::{ChainKey, Entry, Jump, SetKey, SetName, Table, VirtualServerKey};

/// The client that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// A host outside the cluster, with this address.
    Outside(IpAddr),
    /// A pod of this node, with this address.
    Pod(IpAddr),
    /// This node itself.
    Node,
}

/// The state of a node's kernel at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The objects that this proxy has made.
    pub state: &'a Observed,
    /// The addresses that the node has in any case.
    pub node: &'a [IpAddr],
    /// The networks of pods whose answers pass this node even without masquerading.
    pub near: &'a [Net],
}

/// The fate of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The first packet is dropped without an answer to the client.
    Lost,
    /// The client gets an answer that refuses the connection.
    Refused,
    /// No virtual server takes the packet: a process of the node may answer.
    ReachesHost,
    /// An endpoint is asked.
    Reaches(Delivery),
}

/// The way in which a connection reaches an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The chosen endpoint.
    pub endpoint: SocketAddr,
    /// The source address that the client has sent from.
    pub source: IpAddr,
    /// True if the endpoint sees an address of the node in its place.
    pub is_masqueraded: bool,
    /// True if the answer comes back through the node; otherwise it does not reach the client.
    pub comes_back: bool,
}

/// Where a walk through a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    Rejected,
    Masqueraded,
    Returned,
}

impl End {
    /// True if the packet goes no further.
    fn is_shut(self) -> bool {
        matches!(self, Self::Dropped | Self::Rejected)
    }
}

/// A packet on its way.
struct Packet<'a> {
    moment: Moment<'a>,
    /// The frontend that the client has sent it to.
    key: &'a VirtualServerKey,
    source: IpAddr,
    /// The frontend, or the endpoint once one is chosen.
    destination: SocketAddr,
    mark: u32,
}

impl<'a> Packet<'a> {
    fn first(moment: Moment<'a>, client: Client, key: &'a VirtualServerKey) -> Self {
        let source = match client {
            Client::Outside(address) | Client::Pod(address) => address,
            Client::Node => key.address,
        };
        let destination = SocketAddr::new(key.address, key.port);
        Self { moment, key, source, destination, mark: 0 }
    }
}

impl Client {
    /// The chains of the `nat` and of the `filter` table that its packets meet first.
    fn chains(self) -> (&'static str, &'static str) {
        match self {
            Self::Outside(_) | Self::Pod(_) => ("PREROUTING", "INPUT"),
            Self::Node => ("OUTPUT", "OUTPUT"),
        }
    }
}

impl Moment<'_> {
    /// True if a new connection from this client to the frontend reaches an endpoint and the answer comes
    /// back. This must hold for every endpoint that may be chosen.
    pub fn serves(self, client: Client, key: &VirtualServerKey) -> bool {
        if !self.stands(key) {
            return false;
        }
        let (end, mark) = self.send(client, key);
        let answers = self.answers(client, key, mark);
        !end.is_shut() && !answers.is_empty() && answers.iter().all(|is_back| *is_back)
    }

    /// True if an endpoint may be chosen whose answer to this client does not come back through the node,
    /// because the connection is not masqueraded although it should be. Ignores whether the address is local
    /// yet, and whether the filter admits the client.
    pub fn strays(self, client: Client, key: &VirtualServerKey) -> bool {
        let node = [key.address];
        let here = Moment { node: &node, ..self };
        let (_, mark) = here.send(client, key);
        here.answers(client, key, mark).contains(&false)
    }

    /// Follows the first packet of a new connection to its end. `choose` is the scheduler: it picks an endpoint of
    /// the virtual server, if there is one that takes new connections.
    pub fn connect(
        self,
        client: Client,
        key: &VirtualServerKey,
        choose: impl FnOnce(&ObservedServer) -> Option<SocketAddr>,
    ) -> Fate {
        let fate = |end| if end == End::Rejected { Fate::Refused } else { Fate::Lost };
        if !self.is_local(key.address) {
            return Fate::Lost;
        }
        let (end, mark) = self.send(client, key);
        // IPVS schedules what the node sends before the filter sees it, and all else afterwards.
        if end.is_shut() && client != Client::Node {
            return fate(end);
        }
        let Some(server) = self.state.servers.get(key) else {
            let end = self.arrive(client, key);
            return if end.is_shut() { fate(end) } else { Fate::ReachesHost };
        };
        let Some(endpoint) = choose(server) else { return Fate::Refused };
        if end.is_shut() {
            return fate(end);
        }
        let source = Packet::first(self, client, key).source;
        let is_masqueraded = self.masquerades(client, key, endpoint, mark);
        let comes_back = self.comes_back(client, endpoint, is_masqueraded);
        Fate::Reaches(Delivery { endpoint, source, is_masqueraded, comes_back })
    }

    /// Returns, for each endpoint that may be chosen, true if its answer to this client comes back.
    fn answers(self, client: Client, key: &VirtualServerKey, mark: u32) -> Vec<bool> {
        let found = self.state.servers.get(key).into_iter();
        let destinations = found.flat_map(|server| server.destinations.iter());
        let takers = destinations.filter(|(_, found)| found.weight > 0);
        let comes_back =
            |taker| self.comes_back(client, taker, self.masquerades(client, key, taker, mark));
        takers.map(|(taker, _)| comes_back(*taker)).collect()
    }

    /// True if a packet with this mark gets an address of the node for its source on its way to the endpoint.
    fn masquerades(
        self,
        client: Client,
        key: &VirtualServerKey,
        endpoint: SocketAddr,
        mark: u32,
    ) -> bool {
        let first = Packet::first(self, client, key);
        let mut packet = Packet { destination: endpoint, mark, ..first };
        packet.pass(Table::Nat, "POSTROUTING") == End::Masqueraded
    }

    fn comes_back(self, client: Client, endpoint: SocketAddr, is_masqueraded: bool) -> bool {
        let is_near = || self.near.iter().any(|net| net.contains(&endpoint.ip()));
        is_masqueraded || matches!(client, Client::Pod(_)) || is_near()
    }

    /// True if the virtual server can be reached but the rules reject the client.
    pub fn turns_away(self, client: Client, key: &VirtualServerKey) -> bool {
        self.stands(key) && self.send(client, key).0.is_shut()
    }

    /// True if there is a virtual server at an address that is local.
    pub fn stands(self, key: &VirtualServerKey) -> bool {
        self.is_local(key.address) && self.state.servers.contains_key(key)
    }

    /// True if a new connection from this client reaches a process of the node that listens on every address,
    /// because no virtual server takes it.
    pub fn reaches_host(self, client: Client, key: &VirtualServerKey) -> bool {
        let is_taken = self.state.servers.contains_key(key);
        self.is_local(key.address) && !is_taken && !self.arrive(client, key).is_shut()
    }

    /// Returns where a packet ends that no virtual server takes. What the node sends to itself meets both filters.
    fn arrive(self, client: Client, key: &VirtualServerKey) -> End {
        let (end, _) = self.send(client, key);
        if end.is_shut() {
            return end;
        }
        Packet::first(self, client, key).pass(Table::Filter, "INPUT")
    }

    /// Where a first packet ends, and the mark that it has then.
    fn send(self, client: Client, key: &VirtualServerKey) -> (End, u32) {
        let (nat, filter) = client.chains();
        let mut packet = Packet::first(self, client, key);
        // What one of our chains accepts in the nat table has passed that table, not the other.
        packet.pass(Table::Nat, nat);
        (packet.pass(Table::Filter, filter), packet.mark)
    }

    fn is_local(self, address: IpAddr) -> bool {
        self.state.addresses.contains(&address) || self.node.contains(&address)
    }
}

impl Packet<'_> {
    /// Passes the packet through the jumps of a built-in chain. They stand in reverse of [`Jump::ALL`],
    /// because each is inserted in front of the others.
    fn pass(&mut self, table: Table, from: &str) -> End {
        let jumps = &self.moment.state.rules.of(self.key.family()).jumps;
        let mut jumps = Jump::ALL
            .iter()
            .rev()
            .filter(|jump| jump.table == table && jump.from == from && jumps.contains(jump));
        let end = jumps.find_map(|jump| match self.walk(table, jump.to) {
            End::Returned => None,
            end => Some(end),
        });
        end.unwrap_or(End::Returned)
    }

    fn walk(&mut self, table: Table, chain: &str) -> End {
        let key = ChainKey::ALL.into_iter().find(|key| key.table == table && key.chain == chain);
        let key = key.unwrap_or_else(|| panic!("no chain is called {chain}"));
        let rules = self.moment.state.rules.of(self.key.family()).chains.get(&key);
        for rule in rules.into_iter().flatten() {
            if let Some(end) = self.follow(table, rule) {
                return end;
            }
        }
        End::Returned
    }

    /// Applies one rule to the packet. `None` if the packet goes on to the next rule.
    fn follow(&mut self, table: Table, rule: &str) -> Option<End> {
        let (matches, target) =
            rule.split_once("-j ").unwrap_or_else(|| panic!("no target: {rule}"));
        if !self.is_matched(matches) {
            return None;
        }
        let mut words = target.split(' ');
        match words.next() {
            Some("ACCEPT") => Some(End::Accepted),
            Some("DROP") => Some(End::Dropped),
            Some("REJECT") => Some(End::Rejected),
            Some("MASQUERADE") => Some(End::Masqueraded),
            Some("RETURN") => Some(End::Returned),
            Some("MARK") => {
                let (value, mask) = match words.collect::<Vec<_>>()[..] {
                    ["--set-xmark", mark] => value_and_mask(mark),
                    _ => panic!("no mark is set: {rule}"),
                };
                self.mark = (self.mark & !mask) ^ value;
                None
            }
            Some(chain) => match self.walk(table, chain) {
                End::Returned => None,
                end => Some(end),
            },
            None => panic!("no target: {rule}"),
        }
    }

    /// True if the packet satisfies all of these matches.
    fn is_matched(&self, matches: &str) -> bool {
        let unquoted: String = matches.split('"').step_by(2).collect();
        let mut words = unquoted.split_whitespace();
        let (mut all, mut negated) = (true, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("cut short: {matches}"));
            let holds = match word {
                "!" => {
                    negated = true;
                    continue;
                }
                "-m" => {
                    value();
                    continue;
                }
                "--comment" => continue,
                "-s" => value().parse::<Net>().is_ok_and(|net| net.contains(&self.source)),
                "-p" => value() == self.key.protocol.name(),
                "--match-set" => {
                    let name = value();
                    self.is_in_set(name, value())
                }
                "--dst-type" => value() == "LOCAL" && self.moment.is_local(self.destination.ip()),
                "--src-type" => value() == "LOCAL" && self.moment.is_local(self.source),
                "--physdev-is-in" => false,
                "--mark" => {
                    let (value, mask) = value_and_mask(value());
                    self.mark & mask == value
                }
                "--ctstate" => value() == "NEW",
                "--vproto" => value() == self.key.protocol.number().to_string(),
                "--vaddr" => value().parse() == Ok(self.key.address),
                "--vport" => value() == self.key.port.to_string(),
                other => panic!("{other} is unknown: {matches}"),
            };
            all &= holds != negated;
            negated = false;
        }
        all
    }

    fn is_in_set(&self, name: &str, directions: &str) -> bool {
        let family = self.key.family();
        let set = SetName::ALL.into_iter().find(|set| set.kernel_name(family) == name);
        let name = set.unwrap_or_else(|| panic!("no set is called {name}"));
        let (protocol, to, from) = (self.key.protocol, self.destination, self.source);
        let entries = self.moment.state.sets.get(&SetKey { family, name });
        entries.into_iter().flatten().any(|entry| match (*entry, directions) {
            (Entry::Address(address), "dst") => address == to.ip(),
            (Entry::Port(port), "dst") => port == to.port(),
            (Entry::AddressPort(address, of, port), "dst,dst") => {
                (address, of, port) == (to.ip(), protocol, to.port())
            }
            (Entry::AddressPort(address, of, port), "src,dst") => {
                (address, of, port) == (from, protocol, to.port())
            }
            (Entry::AddressPortAddress(address, of, port, source), "dst,dst,src") => {
                (address, of, port, source) == (to.ip(), protocol, to.port(), from)
            }
            (Entry::AddressPortNet(address, of, port, sources), "dst,dst,src") => {
                (address, of, port) == (to.ip(), protocol, to.port()) && sources.contains(&from)
            }
            // Packets here have only protocols that Services can have.
            (Entry::Unplanned(entry), _) if entry.protocol != protocol.number() => false,
            (entry, _) => panic!("{entry} of {name:?} is not matched by {directions}"),
        })
    }
}

/// The two parts of `0x4000/0x4000`.
fn value_and_mask(text: &str) -> (u32, u32) {
    let parse = |part: &str| u32::from_str_radix(part.trim_start_matches("0x"), 16).ok();
    let both = text.split_once('/').and_then(|(value, mask)| Some((parse(value)?, parse(mask)?)));
    both.unwrap_or_else(|| panic!("{text} is no mark with its mask"))
}

/// The moments of a round: each state that the kernel has gone through, and between two of different rules the one in
/// which the `nat` table is new already and the `filter` table not yet, since each is written by itself.
pub fn moments(before: &Observed, history: &[Observed]) -> Vec<Observed> {
    let mut moments = vec![before.clone()];
    for state in history {
        let last = moments.last().unwrap_or(before);
        let mut between = last.clone();
        for family in Family::BOTH {
            let new = state.rules.of(family);
            let rules = between.rules.of_mut(family);
            rules.chains.retain(|key, _| key.table == Table::Filter);
            let nat = new.chains.iter().filter(|(key, _)| key.table == Table::Nat);
            rules.chains.extend(nat.map(|(key, rules)| (*key, rules.clone())));
            rules.jumps.retain(|jump| jump.table == Table::Filter);
            rules.jumps.extend(new.jumps.iter().filter(|jump| jump.table == Table::Nat));
        }
        if between != *last && between != *state {
            moments.push(between);
        }
        moments.push(state.clone());
    }
    moments
}
