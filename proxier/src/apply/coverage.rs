//! Finds what the standing rules do not cover while the planned rules cannot be written.
//!
//! Takes the planned and the standing rules of a family. Returns the sets and load-balancer frontends whose
//! rules are missing, or `None` if nothing counts as covered. Rules in another order do not count as covered.
//!
//! A rule that matches a set concerns only the entries of that set. A Service is therefore fully protected
//! once all rules of its sets stand, whichever other rules are missing.

use std::collections::BTreeSet;

use crate::plan::{OUT_FILTER, Rules, VirtualServerKey, refused_by};

/// Objects for which rules are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uncovered {
    /// Names of sets that a missing rule matches.
    pub(super) sets: BTreeSet<String>,
    /// Load-balancer frontends whose rule that refuses this node is missing.
    pub(super) servers: BTreeSet<VirtualServerKey>,
}

/// Compares the planned with the standing rules. Returns `None` if rules differ that do not belong to one set
/// or frontend.
pub(super) fn uncovered(wanted: &Rules, standing: &Rules) -> Option<Uncovered> {
    let mut uncovered = Uncovered::default();
    if !wanted.jumps.is_subset(&standing.jumps) {
        return None;
    }
    for (chain, wanted) in &wanted.chains {
        let standing = standing.chains.get(chain)?;
        let missing = wanted.iter().filter(|rule| !standing.contains(rule));
        if *chain == OUT_FILTER {
            for rule in missing {
                uncovered.servers.insert(refused_by(rule)?);
            }
            continue;
        }
        for rule in missing {
            uncovered.sets.insert(matched_set(rule)?.into());
        }
        // An old rule of a set that is empty by now matches nothing. Any other may concern all packets.
        if standing.iter().any(|rule| !wanted.contains(rule) && matched_set(rule).is_none()) {
            return None;
        }
        let common = wanted.iter().filter(|rule| standing.contains(rule));
        if !common.eq(standing.iter().filter(|rule| wanted.contains(rule))) {
            return None;
        }
    }
    Some(uncovered)
}

fn matched_set(rule: &str) -> Option<&str> {
    rule.split_once("--match-set ").and_then(|(_, rest)| rest.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ChainKey, Jump};

    fn rules(of: &[(usize, &[&str])]) -> Rules {
        let chain = |(at, rules): &(usize, &[&str])| {
            (ChainKey::ALL[*at], rules.iter().map(ToString::to_string).collect())
        };
        Rules { chains: of.iter().map(chain).collect(), jumps: Jump::ALL.into_iter().collect() }
    }

    const BASE: &str = "-s 127.0.0.0/8 -j RETURN";
    const A: &str = "-m set --match-set A dst,dst -j KUBE-MARK-MASQ";
    const B: &str = "-m set --match-set B dst,dst -j KUBE-MARK-MASQ";
    const LAST: &str = "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT";

    #[test]
    fn a_rule_that_is_missing_uncovers_its_set_and_no_other() {
        let found = |standing: &[&str]| {
            let wanted = rules(&[(0, &[BASE, A, B, LAST])]);
            uncovered(&wanted, &rules(&[(0, standing)])).map(|found| found.sets)
        };
        let sets = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        assert_eq!(found(&[BASE, A, B, LAST]), sets(&[]));
        assert_eq!(found(&[BASE, A, LAST]), sets(&["B"]));
        assert_eq!(found(&[BASE, LAST]), sets(&["A", "B"]));
        let old = "-m set --match-set C dst -j ACCEPT";
        assert_eq!(found(&[BASE, old, A, LAST]), sets(&["B"]));
        for standing in [
            &[BASE, A, B][..],
            &[A, BASE, B, LAST],
            &[BASE, B, A, LAST],
            &[BASE, "-j ACCEPT", A, B, LAST],
            &[],
        ] {
            assert_eq!(found(standing), None, "{standing:?}");
        }
    }

    #[test]
    fn without_a_chain_or_a_jump_nothing_is_covered() {
        let wanted = rules(&[(0, &[BASE]), (1, &[])]);
        assert!(uncovered(&wanted, &rules(&[(0, &[BASE])])).is_none());
        let mut standing = wanted.clone();
        standing.jumps.pop_first();
        assert!(uncovered(&wanted, &standing).is_none());
    }

    #[test]
    fn a_load_balancer_that_the_node_is_not_kept_from_yet_is_uncovered() {
        let key = VirtualServerKey {
            protocol: crate::model::Protocol::Tcp,
            address: std::net::IpAddr::from([203, 0, 113, 1]),
            port: 80,
        };
        let rule = "-s 203.0.113.1/32 -m ipvs --vproto 6 --vaddr 203.0.113.1 --vport 80 -j DROP";
        let wanted = rules(&[(10, &[rule])]);
        let found = uncovered(&wanted, &rules(&[(10, &[])])).expect("the rest stands");
        assert_eq!(found.servers, BTreeSet::from([key]));
    }
}
