//! Converts between rules and the text of `iptables-save` and `iptables-restore`.
//!
//! Takes a listing and returns rules, or takes rules and returns the input of `iptables-restore`. Skips other
//! chains and other jumps.

use std::fmt::Write as _;

use proxier::diff::RulesStep;
use proxier::plan::{ChainKey, Jump, Rules, Table};

/// Reads this proxy's chains and jumps from a listing.
pub(super) fn parse(listing: &str) -> Rules {
    let mut rules = Rules::default();
    let mut table = None;
    for line in listing.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = [Table::Filter, Table::Nat].into_iter().find(|t| t.to_string() == name);
            continue;
        }
        let Some(table) = table else { continue };
        if let Some(declaration) = line.strip_prefix(':') {
            let name = declaration.split(' ').next().unwrap_or_default();
            if let Some(chain) = our_chain(table, name) {
                rules.chains.entry(chain).or_default();
            }
        } else if let Some((name, rule)) =
            line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
        {
            if let Some(chain) = our_chain(table, name) {
                rules.chains.entry(chain).or_default().push(rule.into());
            } else if let Some(jump) = our_jump(table, name, rule) {
                rules.jumps.insert(jump);
            }
        }
    }
    rules
}

fn our_chain(table: Table, name: &str) -> Option<ChainKey> {
    ChainKey::ALL.into_iter().find(|key| key.table == table && key.chain == name)
}

fn our_jump(table: Table, from: &str, rule: &str) -> Option<Jump> {
    Jump::ALL
        .into_iter()
        .find(|jump| jump.table == table && jump.from == from && is_rule_of(jump, rule))
}

/// True if the rule is the jump as this proxy writes it, with its comment or without one.
pub(super) fn is_rule_of(jump: &Jump, rule: &str) -> bool {
    rule == jump.rule() || rule == jump.bare_rule()
}

/// Writes the input of `iptables-restore --noflush`. Declaring a chain empties it, so that each table is
/// rewritten in one transaction. Missing jumps are inserted at the front, in their order.
pub(super) fn payload(step: &RulesStep) -> String {
    let RulesStep { rules, missing_jumps, has_comments, .. } = step;
    let mut text = String::new();
    for table in [Table::Nat, Table::Filter] {
        let _ = writeln!(text, "*{table}");
        let chains = || ChainKey::ALL.into_iter().filter(|key| key.table == table);
        for key in chains() {
            let _ = writeln!(text, ":{} - [0:0]", key.chain);
        }
        for jump in Jump::ALL.iter().filter(|jump| missing_jumps.contains(jump)) {
            if jump.table == table {
                let rule = if *has_comments { jump.rule() } else { jump.bare_rule() };
                let _ = writeln!(text, "-I {} {rule}", jump.from);
            }
        }
        for key in chains() {
            for rule in rules.chains.get(&key).into_iter().flatten() {
                let _ = writeln!(text, "-A {} {rule}", key.chain);
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}
