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

use std::net::IpAddr;

use crate::diff::Observed;
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

/// The result of passing a packet through a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Refused,
    Returned,
}

/// A packet on its way through the rules.
struct Packet<'a> {
    moment: Moment<'a>,
    key: &'a VirtualServerKey,
    source: IpAddr,
    is_marked: bool,
}

impl Moment<'_> {
    /// True if a new connection from this client to the frontend reaches an endpoint and the answer comes
    /// back. This must hold for every endpoint that may be chosen.
    pub fn serves(self, client: Client, key: &VirtualServerKey) -> bool {
        if !self.stands(key) {
            return false;
        }
        let (end, is_marked) = self.send(client, key);
        let answers = self.answers(client, key, is_marked);
        end != End::Refused && !answers.is_empty() && answers.iter().all(|is_back| *is_back)
    }

    /// True if an endpoint may be chosen whose answer to this client does not come back through the node,
    /// because the connection is not masqueraded although it should be. Ignores whether the address is local
    /// yet, and whether the filter admits the client.
    pub fn strays(self, client: Client, key: &VirtualServerKey) -> bool {
        let node = [key.address];
        let here = Moment { node: &node, ..self };
        let (_, is_marked) = here.send(client, key);
        here.answers(client, key, is_marked).contains(&false)
    }

    /// Says for each endpoint that may be chosen whether its answer to this client comes back.
    fn answers(self, client: Client, key: &VirtualServerKey, is_marked: bool) -> Vec<bool> {
        let comes_back = |to: IpAddr| {
            let is_near = self.near.iter().any(|net| net.contains(&to));
            is_marked || is_near || matches!(client, Client::Pod(_))
        };
        let found = self.state.servers.get(key).into_iter();
        let destinations = found.flat_map(|server| server.destinations.iter());
        let takers = destinations.filter(|(_, found)| found.weight > 0);
        takers.map(|(taker, _)| comes_back(taker.ip())).collect()
    }

    /// True if the virtual server can be reached but the rules reject the client.
    pub fn turns_away(self, client: Client, key: &VirtualServerKey) -> bool {
        self.stands(key) && self.send(client, key).0 == End::Refused
    }

    /// True if there is a virtual server at an address that is local.
    pub fn stands(self, key: &VirtualServerKey) -> bool {
        self.is_local(key.address) && self.state.servers.contains_key(key)
    }

    /// True if a new connection from this client reaches a process of the node that listens on every address,
    /// because no virtual server takes it.
    pub fn reaches_host(self, client: Client, key: &VirtualServerKey) -> bool {
        let is_taken = self.state.servers.contains_key(key);
        self.is_local(key.address) && !is_taken && self.arrives(client, key)
    }

    /// True if the filter accepts a packet that IPVS has not scheduled. A packet from the node to itself
    /// passes the filters of both `OUTPUT` and `INPUT`.
    fn arrives(self, client: Client, key: &VirtualServerKey) -> bool {
        let source = match client {
            Client::Outside(address) | Client::Pod(address) => address,
            Client::Node => key.address,
        };
        let is_sent = self.send(client, key).0 != End::Refused;
        let mut packet = Packet { moment: self, key, source, is_marked: false };
        is_sent && packet.pass(Table::Filter, "INPUT") != End::Refused
    }

    /// Returns the fate of a first packet, and whether it is marked for masquerading.
    fn send(self, client: Client, key: &VirtualServerKey) -> (End, bool) {
        let (source, nat, filter) = match client {
            Client::Outside(address) | Client::Pod(address) => (address, "PREROUTING", "INPUT"),
            Client::Node => (key.address, "OUTPUT", "OUTPUT"),
        };
        let mut packet = Packet { moment: self, key, source, is_marked: false };
        // A chain that accepts a packet in the nat table ends that table only; the filter table follows.
        packet.pass(Table::Nat, nat);
        (packet.pass(Table::Filter, filter), packet.is_marked)
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
            Some("DROP" | "REJECT") => Some(End::Refused),
            Some("RETURN") => Some(End::Returned),
            Some("MARK") => {
                self.is_marked = true;
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
                "--dst-type" => value() == "LOCAL",
                "--src-type" => value() == "LOCAL" && self.moment.is_local(self.source),
                "--physdev-is-in" => false,
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
        let set = SetName::ALL.into_iter().find(|set| set.in_family(family) == name);
        let name = set.unwrap_or_else(|| panic!("no set is called {name}"));
        let (protocol, port) = (self.key.protocol, self.key.port);
        let entries = self.moment.state.sets.get(&SetKey { family, name });
        entries.into_iter().flatten().any(|entry| match (*entry, directions) {
            (Entry::Address(address), "dst") => address == self.key.address,
            (Entry::Port(found), "dst") => found == port,
            (Entry::AddressPort(address, of, found), "dst,dst" | "src,dst") => {
                let side =
                    if directions.starts_with("src") { self.source } else { self.key.address };
                (address, of, found) == (side, protocol, port)
            }
            (Entry::AddressPortAddress(address, of, found, from), "dst,dst,src") => {
                (address, of, found, from) == (self.key.address, protocol, port, self.source)
            }
            (Entry::AddressPortNet(address, of, found, from), "dst,dst,src") => {
                (address, of, found) == (self.key.address, protocol, port)
                    && from.contains(&self.source)
            }
            // Packets here have only protocols that Services can have.
            (Entry::Unplanned(entry), _) if entry.protocol != protocol.number() => false,
            (entry, _) => panic!("{entry} of {name:?} is not matched by {directions}"),
        })
    }
}

/// Returns the moments of a round: the state before it, each later state, and states in between. Since each
/// table is written separately, there is a moment at which the `nat` table is new and the `filter` table is
/// still old.
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
