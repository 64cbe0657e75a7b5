//! What kube-proxy's iptables mode leaves behind when IPVS mode takes over.
//!
//! In: a listing of `iptables-save`. Out: its chains and the jumps to them, and the input of
//! `iptables-restore` that takes them away. Never: one of our chains, which iptables mode shares
//! names with and our own rules have rewritten; kubelet's chains; a chain that somebody else's rule
//! leads to: that one is only emptied.
//!
//! Sources: spec 14.1, 14.2 and Q-53.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proxier::plan::ChainKey;

/// Chains by table and name.
type Chains<'a> = BTreeSet<(&'a str, &'a str)>;

/// Traces of iptables mode in one family.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leftovers<'a> {
    /// Table, chain and rule of jumps that go.
    jumps: Vec<(&'a str, &'a str, &'a str)>,
    /// Chains that go.
    gone: Chains<'a>,
    /// Chains that are emptied and stay, because others lead to them.
    emptied: Chains<'a>,
}

impl<'a> Leftovers<'a> {
    /// Reads a listing.
    pub(super) fn find(listing: &'a str) -> Self {
        let mut found = Self::default();
        let mut rules: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        let mut table = "";
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(declared) = line.strip_prefix(':') {
                let chain = declared.split(' ').next().unwrap_or_default();
                if is_of_iptables_mode(table, chain) {
                    found.gone.insert((table, chain));
                }
            } else if let Some((chain, rule)) =
                line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
            {
                rules.entry((table, chain)).or_default().push(rule);
            }
        }
        for ((table, chain), rules) in &rules {
            if found.gone.contains(&(table, chain)) || is_ours(table, chain) {
                continue;
            }
            for rule in rules {
                found.judge(table, chain, rule);
            }
        }
        found.keep_what_stays_in_use(&rules);
        found
    }

    /// Decides about a rule outside the chains of both modes.
    fn judge(&mut self, table: &'a str, chain: &'a str, rule: &'a str) {
        let Some(target) = target(rule) else { return };
        let leads_there = self.gone.contains(&(table, target));
        let is_kube_proxys = rule.contains("--comment \"kubernetes ");
        // The same chain that IPVS mode has, but only for new connections.
        let is_old_firewall = table == "filter"
            && target == "KUBE-PROXY-FIREWALL"
            && rule.contains("--comment \"kubernetes load balancer firewall\"");
        if is_built_in(chain) && (leads_there && is_kube_proxys || is_old_firewall) {
            self.jumps.push((table, chain, rule));
        } else if leads_there {
            self.emptied.insert((table, target));
        }
    }

    /// A chain that others lead to stays; if it is empty already, nothing is left to do about it.
    fn keep_what_stays_in_use(&mut self, rules: &BTreeMap<(&str, &str), Vec<&str>>) {
        for chain in &self.emptied {
            self.gone.remove(chain);
        }
        self.emptied.retain(|chain| rules.contains_key(chain));
    }

    /// True if there is nothing to take away.
    pub(super) fn is_empty(&self) -> bool {
        self.jumps.is_empty() && self.gone.is_empty() && self.emptied.is_empty()
    }

    /// Chains that cannot go, for the operator.
    pub(super) fn in_use(&self) -> impl Iterator<Item = String> {
        self.emptied.iter().map(|(table, chain)| format!("{table} {chain}"))
    }

    /// The input of `iptables-restore --noflush`: declaring a chain empties it.
    pub(super) fn payload(&self) -> String {
        let mut tables: BTreeSet<&str> = self.jumps.iter().map(|(table, ..)| *table).collect();
        tables.extend(self.gone.iter().chain(&self.emptied).map(|(table, _)| *table));
        let mut text = String::new();
        for table in tables {
            let of = |chains: &Chains<'a>| -> Vec<&'a str> {
                chains.iter().filter(|(of, _)| *of == table).map(|(_, chain)| *chain).collect()
            };
            let (gone, emptied) = (of(&self.gone), of(&self.emptied));
            let _ = writeln!(text, "*{table}");
            for chain in gone.iter().chain(&emptied) {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for (_, chain, rule) in self.jumps.iter().filter(|(of, ..)| *of == table) {
                let _ = writeln!(text, "-D {chain} {rule}");
            }
            for chain in gone {
                let _ = writeln!(text, "-X {chain}");
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

/// Chains that only iptables mode makes.
fn is_of_iptables_mode(table: &str, chain: &str) -> bool {
    const PREFIXES: [&str; 6] =
        ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-"];
    let is_of_a_service = PREFIXES.iter().any(|prefix| chain.starts_with(prefix));
    match table {
        "nat" => is_of_a_service || ["KUBE-NODEPORTS", "KUBE-PROXY-CANARY"].contains(&chain),
        "filter" => {
            let chains =
                ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY"];
            is_of_a_service || chains.contains(&chain)
        }
        "mangle" => chain == "KUBE-PROXY-CANARY",
        _ => false,
    }
}

fn is_ours(table: &str, chain: &str) -> bool {
    ChainKey::ALL.iter().any(|key| key.table.to_string() == table && key.chain == chain)
}

fn is_built_in(chain: &str) -> bool {
    ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"].contains(&chain)
}

/// Where a rule leads.
fn target(rule: &str) -> Option<&str> {
    let mut words = rule.split(' ').skip_while(|word| !["-j", "-g"].contains(word));
    words.next()?;
    words.next()
}

#[cfg(test)]
mod tests;
