//! Restores the state that kube-proxy left on a node, from recorded dumps and by the kernel's own
//! tools.
//!
//! Takes a recorded step. Makes a kernel state that equals its dumps. Does not use the proxy under
//! test.

use crate::case::Step;
use crate::node::Namespace;

/// Restores the recorded state on an empty node.
pub(crate) fn leave(step: &Step, node: &Namespace) {
    let text = |file: &str| step.text(file).to_owned();
    // Rules refer to sets; virtual servers need their addresses for nothing.
    node.feed("ipset restore", &text("ipset.txt"));
    node.feed("iptables-restore", &restorable(&text("iptables.txt")));
    node.feed("ip6tables-restore", &restorable(&text("ip6tables.txt")));
    node.feed("ip -batch -", &commands(&text("addrs.txt")));
    node.feed("ipvsadm -R", &text("ipvs.txt"));
}

/// Adds the ends of tables, which the canonical form does not have.
fn restorable(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        if line.starts_with('*') && !text.is_empty() {
            text += "COMMIT\n";
        }
        text += line;
        text += if line.starts_with(':') { " [0:0]\n" } else { "\n" };
    }
    if text.is_empty() { text } else { text + "COMMIT\n" }
}

/// Returns the commands of `ip` that make the recorded device with its addresses.
fn commands(addresses: &str) -> String {
    let mut text = String::new();
    for line in addresses.lines() {
        match *line.split_whitespace().collect::<Vec<_>>() {
            ["link", device, _] => text += &format!("link add {device} type dummy\n"),
            [address, "scope", scope] => {
                text += &format!("addr add {address} dev kube-ipvs0 scope {scope}\n");
            }
            ["none"] => {}
            _ => panic!("an unknown line of addrs.txt: {line}"),
        }
    }
    text
}

#[test]
fn canonical_rules_are_made_restorable_table_by_table() {
    let text = restorable("*filter\n:A -\n-A A -j DROP\n*nat\n:B -\n");
    assert_eq!(text, "*filter\n:A - [0:0]\n-A A -j DROP\nCOMMIT\n*nat\n:B - [0:0]\nCOMMIT\n");
    assert_eq!(restorable(""), "");
}
