//! The desired state as text, in the formats of the kernel's own tools.
//!
//! Takes [`Desired`]. Gives what `ipvsadm -Sn`, `ipset save`, `iptables-save`, `ip6tables-save` and `ip addr`
//! would print on a node that holds nothing else. The text is sorted, so that equal states give equal bytes.
//! Does not read the kernel. Used by the dry run and the golden tests.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::desired::Desired;
use super::rules::{ChainKey, Jump, Rules, Table};
use super::server::{ServerFlags, ServerSettings, VirtualServerKey};
use super::set::{SetKey, SetKind, SetName};
use super::settings::Settings;
use crate::model::{Family, Protocol};

/// Returns the built-in chains of a table, which every listing declares.
fn built_in_chains(table: Table) -> &'static [&'static str] {
    match table {
        Table::Filter => &["FORWARD", "INPUT", "OUTPUT"],
        Table::Nat => &["INPUT", "OUTPUT", "POSTROUTING", "PREROUTING"],
    }
}

impl Desired {
    /// Returns the virtual servers as `ipvsadm -Sn` prints them, sorted by line, each with its destinations.
    pub fn ipvs_text(&self) -> String {
        let mut blocks: Vec<(String, Vec<String>)> = self
            .servers()
            .map(|(key, server)| {
                let options = settings_options(&server.settings);
                let of = |destination: &SocketAddr| {
                    format!("-a {} -r {destination} -m -w 1", service_option(key))
                };
                let mut destinations: Vec<_> = server.destinations.iter().map(of).collect();
                destinations.sort();
                (format!("-A {} {options}", service_option(key)), destinations)
            })
            .collect();
        blocks.sort();
        let lines = blocks.into_iter().flat_map(|(head, rest)| std::iter::once(head).chain(rest));
        text(lines)
    }

    /// Returns the 17 sets of each enabled family as `ipset save` prints them.
    pub fn ipset_text(&self, settings: &Settings) -> String {
        let mut keys: Vec<SetKey> = Family::BOTH
            .into_iter()
            .filter(|family| *settings.families.of(*family))
            .flat_map(|family| SetName::ALL.map(|name| SetKey { family, name }))
            .collect();
        keys.sort_by_key(SetKey::to_string);
        text(keys.into_iter().flat_map(|key| {
            let mut entries: Vec<_> =
                self.entries(key).map(|entry| format!("add {key} {entry}")).collect();
            entries.sort();
            std::iter::once(create_line(key)).chain(entries)
        }))
    }

    /// Returns the rules of one family as `iptables-save` prints them on a node without other rules.
    pub fn iptables_text(&self, family: Family) -> String {
        let Some(rules) = self.rules(family) else { return String::new() };
        text([Table::Filter, Table::Nat].into_iter().flat_map(|table| table_lines(rules, table)))
    }

    /// Returns the dummy device and its addresses.
    pub fn addresses_text(&self) -> String {
        let mut lines: Vec<_> = self
            .addresses()
            .map(|address| format!("{address}/{} scope global", Family::of(*address).host_prefix()))
            .collect();
        lines.sort();
        lines.insert(0, "link kube-ipvs0 BROADCAST,NOARP".into());
        text(lines)
    }
}

fn service_option(key: &VirtualServerKey) -> String {
    let option = match key.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
        Protocol::Sctp => "--sctp-service",
    };
    format!("{option} {}", SocketAddr::new(key.address, key.port))
}

fn settings_options(settings: &ServerSettings) -> String {
    let mut options = format!("-s {}", settings.scheduler);
    if settings.flags.has(ServerFlags::PERSISTENT) {
        let _ = write!(options, " -p {}", settings.timeout);
    }
    if settings.flags.has(ServerFlags::MH_PORT) {
        options.push_str(" -b mh-port");
    }
    options
}

fn create_line(key: SetKey) -> String {
    let kind = key.name.kind();
    match kind {
        SetKind::BitmapPort => format!("create {key} {} range 0-65535", kind.name()),
        SetKind::HashIp | SetKind::HashIpPort | SetKind::HashIpPortIp | SetKind::HashIpPortNet => {
            let family = match key.family {
                Family::V4 => "inet",
                Family::V6 => "inet6",
            };
            format!("create {key} {} family {family} hashsize 1024 maxelem 65536", kind.name())
        }
    }
}

/// Returns the chain declarations sorted, then the rules of the chains in the same order.
fn table_lines(rules: &Rules, table: Table) -> Vec<String> {
    let mut chains: Vec<&str> = built_in_chains(table).to_vec();
    chains.extend(rules.chains.keys().filter(|key| key.table == table).map(|key| key.chain));
    chains.sort_unstable();
    let mut lines = vec![format!("*{table}")];
    for chain in &chains {
        let policy = if built_in_chains(table).contains(chain) { "ACCEPT" } else { "-" };
        lines.push(format!(":{chain} {policy}"));
    }
    for chain in &chains {
        let jumps = Jump::ALL.iter().rev().filter(|jump| rules.jumps.contains(jump));
        for jump in jumps.filter(|jump| jump.table == table && jump.from == *chain) {
            lines.push(format!("-A {chain} {}", jump.rule()));
        }
        let own = rules.chains.iter().filter(|(key, _)| is_chain(key, table, chain));
        for rule in own.flat_map(|(_, rules)| rules) {
            lines.push(format!("-A {chain} {rule}"));
        }
    }
    lines
}

fn is_chain(key: &ChainKey, table: Table, chain: &str) -> bool {
    key.table == table && key.chain == chain
}

fn text(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}
