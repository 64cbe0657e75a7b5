//! Rules that kube-proxy's iptables mode leaves behind, or that any of its modes does.
//!
//! Takes a listing of `iptables-save`. Gives chains, the jumps to them, and the input of `iptables-restore`
//! that removes them. In [`Whose::IptablesMode`], does not touch this proxy's chains, some of which have
//! names of iptables mode and have been rewritten. Does not touch kubelet's chains. A chain to which a rule
//! of others jumps is only emptied.
//!
//! Sources: spec 14.1, 14.2 and Q-53.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proxier::diff::StandingTable;
use proxier::model::Family;
use proxier::plan::{ChainKey, Jump};

use super::text::is_rule_of;

/// The chains to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Chains that only iptables mode makes.
    IptablesMode,
    /// Chains of iptables mode and of this proxy.
    EveryMode,
}

/// Chains by table and name.
type Chains<'a> = BTreeSet<(&'a str, &'a str)>;

/// Chains and jumps to remove, in one family.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leftovers<'a> {
    /// Jumps to remove: table, chain and rule.
    jumps: Vec<(&'a str, &'a str, &'a str)>,
    /// Chains to remove.
    gone: Chains<'a>,
    /// Chains that are emptied and stay, because rules of others jump to them.
    emptied: Chains<'a>,
}

/// Finds the chains and jumps to remove in a listing, by table.
pub(super) fn find(listing: &str, whose: Whose, family: Family) -> Vec<StandingTable> {
    Leftovers::find(listing, whose).tables(family)
}

impl<'a> Leftovers<'a> {
    fn find(listing: &'a str, whose: Whose) -> Self {
        let mut found = Self::default();
        let mut rules: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        let mut table = "";
        for line in listing.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name;
            } else if let Some(declared) = line.strip_prefix(':') {
                let chain = declared.split(' ').next().unwrap_or_default();
                let also = whose == Whose::EveryMode;
                if is_of_iptables_mode(table, chain) || also && is_ours_or_probe(table, chain) {
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
        // In iptables mode this chain has the name it has in IPVS mode. The comment tells the two jumps
        // apart.
        let is_old_firewall = table == "filter"
            && target == "KUBE-PROXY-FIREWALL"
            && rule.contains("--comment \"kubernetes load balancer firewall\"");
        if is_built_in(chain)
            && (leads_there || is_old_firewall)
            && (is_jump_of_kube_proxy(rule) || is_our_jump(table, chain, rule))
        {
            self.jumps.push((table, chain, rule));
        } else if leads_there {
            self.emptied.insert((table, target));
        }
    }

    /// Keeps chains to which others jump. If such a chain is already empty, nothing is left to do with it.
    fn keep_what_stays_in_use(&mut self, rules: &BTreeMap<(&str, &str), Vec<&str>>) {
        for chain in &self.emptied {
            self.gone.remove(chain);
        }
        self.emptied.retain(|chain| rules.contains_key(chain));
    }

    /// The chains and jumps of each table in which there are any.
    fn tables(&self, family: Family) -> Vec<StandingTable> {
        let jumps = self.jumps.iter().map(|(table, ..)| *table);
        let chains = self.gone.iter().chain(&self.emptied).map(|(table, _)| *table);
        let tables: BTreeSet<_> = jumps.chain(chains).collect();
        tables.into_iter().map(|table| self.table(family, table)).collect()
    }

    /// Declaring a chain empties it.
    fn table(&self, family: Family, table: &str) -> StandingTable {
        let (gone, emptied) = (in_table(&self.gone, table), in_table(&self.emptied, table));
        let mut removal = format!("*{table}\n");
        for chain in gone.iter().chain(&emptied) {
            let _ = writeln!(removal, ":{chain} - [0:0]");
        }
        let mut names = Vec::new();
        for (_, chain, rule) in self.jumps.iter().filter(|(of, ..)| *of == table) {
            let _ = writeln!(removal, "-D {chain} {rule}");
            names.push(format!("jump from {chain} to {}", target(rule).unwrap_or_default()));
        }
        for chain in gone {
            let _ = writeln!(removal, "-X {chain}");
            names.push(format!("chain {chain}"));
        }
        names.extend(emptied.iter().map(|chain| format!("rules of chain {chain}")));
        removal.push_str("COMMIT\n");
        let kept = emptied.iter().map(|chain| format!("{table} {chain}")).collect();
        StandingTable { family, table: table.into(), names, kept, removal }
    }
}

fn in_table<'a>(chains: &Chains<'a>, table: &str) -> Vec<&'a str> {
    chains.iter().filter(|(of, _)| *of == table).map(|(_, chain)| *chain).collect()
}

/// True for chains that only iptables mode makes.
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

fn is_ours_or_probe(table: &str, chain: &str) -> bool {
    let is_probe = super::TABLES.iter().any(|probed| probed.to_string() == table);
    is_ours(table, chain) || is_probe && chain == super::PROBE
}

fn is_our_jump(table: &str, chain: &str, rule: &str) -> bool {
    let is_it = |jump: &Jump| {
        jump.from == chain && jump.table.to_string() == table && is_rule_of(jump, rule)
    };
    Jump::ALL.iter().any(is_it)
}

/// True for a jump as kube-proxy writes it, which matches at most the state of new connections. A rule that
/// matches more is another program's, whatever its comment.
fn is_jump_of_kube_proxy(rule: &str) -> bool {
    let rule = rule.strip_prefix("-m conntrack --ctstate NEW ").unwrap_or(rule);
    rule.strip_prefix("-m comment --comment \"kubernetes ")
        .and_then(|rest| rest.split_once("\" "))
        .is_some_and(|(_, rest)| rest.starts_with("-j ") && rest.split(' ').count() == 2)
}

fn is_built_in(chain: &str) -> bool {
    ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"].contains(&chain)
}

/// The chain or target to which a rule jumps.
fn target(rule: &str) -> Option<&str> {
    let mut words = rule.split(' ').skip_while(|word| !["-j", "-g"].contains(word));
    words.next()?;
    words.next()
}

#[cfg(test)]
mod tests;
