//! Tests of what is concluded from messages of iptables.

use super::*;

fn failed(message: &str) -> Error {
    Error::failed("iptables-restore", message, "", Some(2))
}

#[test]
fn only_what_says_that_it_is_not_there_counts_as_missing() {
    for message in [
        "Warning: Extension physdev revision 0 not supported, missing kernel module?; iptables-restore v1.8.9 \
         (nf_tables):; line 3: RULE_APPEND failed (No such file or directory): rule in chain X",
        "iptables-restore v1.8.9 (nf_tables): Couldn't load match `comment':No such file or directory",
        "iptables-restore v1.8.7 (nf_tables): Couldn't load target `MASQUERADE':No such file or directory",
        "Warning: Extension MARK revision 0 not supported, missing kernel module?; iptables-restore v1.8.9 \
         (nf_tables): unknown option \"--set-xmark\"",
        "iptables: No chain/target/match by that name.",
        "iptables-restore: line 4 failed",
        "ip6tables-restore v1.6.1: unrecognized option '--random-fully'",
    ] {
        assert!(failed(message).is_of_missing_feature(), "{message}");
    }
    for message in [
        "Another app is currently holding the xtables lock; still 5s 0us time ahead",
        "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
        "iptables-restore v1.8.9 (nf_tables): Can't open socket to ipset. CAP_NET_RAW is needed",
        "iptables-restore v1.8.9 (nf_tables): Set X doesn't exist.",
        "line 3: RULE_APPEND failed (Cannot allocate memory): rule in chain X",
        "did not end within 60 s and was killed",
    ] {
        assert!(!failed(message).is_of_missing_feature(), "{message}");
    }
}

#[test]
fn the_operator_is_told_what_is_lost_and_which_module_has_it() {
    let lacks =
        failed("Warning: Extension physdev revision 0 not supported, missing kernel module?");
    let said = sentence(Family::V4, false, Feature::Physdev, Some(&lacks));
    assert!(said.starts_with("IPv4: the node has no `-m physdev`: "), "{said}");
    assert!(said.contains("`modprobe xt_physdev`"), "{said}");
    let said = sentence(Family::V6, false, Feature::Reject, Some(&lacks));
    assert!(said.contains("`modprobe ip6t_REJECT`"), "{said}");
    let said = sentence(Family::V6, true, Feature::SetType(SetKind::HashIpPortNet), None);
    assert!(said.contains("`modprobe ip_set_hash_ipportnet`"), "{said}");
    for (feature, message) in [
        (Feature::Comment, "Couldn't load match `comment':No such file or directory"),
        (Feature::Reject, "iptables-restore v1.8.9 (nf_tables): unknown option \"--reject-with\""),
    ] {
        let said = sentence(Family::V4, false, feature, Some(&failed(message)));
        let is_it = said.contains("install the package iptables") && !said.contains("modprobe");
        assert!(is_it, "{said}");
    }
}

#[test]
fn every_feature_of_rules_is_tried_by_a_rule_that_has_its_words() {
    for family in Family::BOTH {
        for feature in Feature::OF_RULES {
            let (_, rule) = rule(feature, family, Some(SetKind::HashIp)).unwrap();
            let words = feature.to_string();
            assert!(words.split(' ').all(|word| rule.contains(word)), "{feature}: {rule}");
        }
    }
}
