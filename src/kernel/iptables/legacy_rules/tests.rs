//! Tests of which chains and jumps count as iptables mode's, and of how they are removed.

use super::*;

/// A listing of kube-proxy 1.36 in iptables mode, shortened, with chains of kubelet and others.
const LISTING: &str = r#"*mangle
:PREROUTING ACCEPT [0:0]
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
:MINE - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment "ns/web has no endpoints" -j REJECT
-A INPUT -s 192.0.2.1/32 -m comment --comment "kubernetes of mine" -j KUBE-NODEPORTS
-A MINE -s 192.0.2.0/24 -j KUBE-EXTERNAL-SERVICES
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SEP-AAAA - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-BBBB - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-BBBB
-A KUBE-SVC-BBBB -j KUBE-SEP-AAAA
-A KUBE-SEP-AAAA -p tcp -j DNAT --to-destination 10.244.1.2:80
COMMIT
"#;

fn removal(found: &[StandingTable]) -> String {
    found.iter().map(|table| table.removal.as_str()).collect()
}

#[test]
fn chains_and_jumps_of_iptables_mode_go_and_all_others_stay() {
    let payload = removal(&find(LISTING, Whose::IptablesMode, Family::V4));
    let lines: Vec<_> = payload.lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(
        lines,
        [
            "-D FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
            "-D INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL",
            "-D INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS",
            "-D INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES",
            "-X KUBE-PROXY-CANARY",
            "-X KUBE-SERVICES",
            "-X KUBE-PROXY-CANARY",
            "-X KUBE-NODEPORTS",
            "-X KUBE-SEP-AAAA",
            "-X KUBE-SVC-BBBB",
        ]
    );
    let touched = |chain: &str| payload.contains(&format!(":{chain} "));
    for chain in ["KUBE-FIREWALL", "KUBE-FORWARD", "KUBE-MARK-MASQ", "KUBE-PROXY-FIREWALL", "MINE"]
    {
        assert!(!touched(chain), "{chain}");
    }
}

#[test]
fn a_chain_that_somebody_else_uses_is_emptied_once() {
    let rule = "-A KUBE-EXTERNAL-SERVICES -j REJECT\n-A MINE";
    let listing = LISTING.replace("-A MINE", rule);
    let found = find(&listing, Whose::IptablesMode, Family::V4);
    let kept: Vec<_> = found.iter().flat_map(|table| &table.kept).collect();
    assert_eq!(kept, ["filter KUBE-EXTERNAL-SERVICES"]);
    assert!(removal(&found).contains(":KUBE-EXTERNAL-SERVICES"));
    let after = "*filter\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:MINE - [0:0]\n\
                 -A MINE -s 192.0.2.0/24 -j KUBE-EXTERNAL-SERVICES\nCOMMIT\n";
    assert!(find(after, Whose::IptablesMode, Family::V4).is_empty());
}

#[test]
fn without_iptables_mode_there_is_nothing_to_do() {
    let ours = "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n\
                *filter\n:KUBE-PROXY-FIREWALL - [0:0]\n:KUBE-NODE-PORT - [0:0]\n\
                -A INPUT -m comment --comment \"kube-proxy firewall rules\" -j KUBE-PROXY-FIREWALL\nCOMMIT\n";
    assert!(find(ours, Whose::IptablesMode, Family::V4).is_empty());
    assert!(find("", Whose::IptablesMode, Family::V4).is_empty());
}

#[test]
fn of_every_mode_our_own_go_too_and_each_table_by_itself() {
    let found = find(LISTING, Whose::EveryMode, Family::V4);
    let tables: Vec<_> = found.iter().map(|found| found.table.as_str()).collect();
    assert_eq!(tables, ["filter", "mangle", "nat"]);
    assert_eq!(
        found[2].removal,
        "*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-SEP-AAAA - [0:0]\n\
         :KUBE-SERVICES - [0:0]\n:KUBE-SVC-BBBB - [0:0]\n\
         -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -X KUBE-MARK-MASQ\n-X KUBE-NODEPORTS\n-X KUBE-SEP-AAAA\n-X KUBE-SERVICES\n\
         -X KUBE-SVC-BBBB\nCOMMIT\n"
    );
    let filter = &found[0].removal;
    assert!(filter.contains("-D INPUT -m comment --comment \"kube-proxy firewall rules\""));
    assert!(filter.contains("-X KUBE-FORWARD\n-X KUBE-PROXY-CANARY\n-X KUBE-PROXY-FIREWALL\n"));
    // A chain of kubelet, a chain of others, and a rule of others that looks like kube-proxy's.
    for kept in ["KUBE-FIREWALL", "MINE", "of mine"] {
        assert!(!filter.contains(kept), "{kept}");
    }
    let names = &found[0].names;
    assert!(names.contains(&"jump from INPUT to KUBE-PROXY-FIREWALL".to_owned()), "{names:?}");
    assert!(names.contains(&"chain KUBE-FORWARD".to_owned()), "{names:?}");
}
