//! The rules of the `nat` table: who is masqueraded.
//!
//! In: the settings and which sets have entries. Out: rules of the five nat chains. Never: a rule
//! that matches a set nobody has filled, but for the ones that upstream always writes.

use std::collections::BTreeMap;

use super::{ChainKey, Facts, nat, not_local};
use crate::model::{Family, Protocol};
use crate::plan::set::SetName;
use crate::plan::settings::Settings;

/// Node-port sets with the direction of their match, a Local set before its Cluster twin.
const NODE_PORTS: [(Protocol, SetName, SetName, &str); 3] = [
    (Protocol::Tcp, SetName::NodePortLocalTcp, SetName::NodePortTcp, "dst"),
    (Protocol::Udp, SetName::NodePortLocalUdp, SetName::NodePortUdp, "dst"),
    (Protocol::Sctp, SetName::NodePortLocalSctpHash, SetName::NodePortSctpHash, "dst,dst"),
];

pub(super) fn fill(
    chains: &mut BTreeMap<ChainKey, Vec<String>>,
    settings: &Settings,
    facts: &Facts<'_>,
) {
    chains.insert(nat("KUBE-SERVICES"), services(settings, facts));
    chains.insert(nat("KUBE-LOAD-BALANCER"), load_balancer(facts));
    chains.insert(nat("KUBE-NODE-PORT"), node_port(facts));
    chains.insert(nat("KUBE-POSTROUTING"), postrouting(settings, facts));
    chains.insert(nat("KUBE-MARK-MASQ"), mark_masq(settings));
}

fn services(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let loopback = match facts.family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    };
    let mut rules = vec![format!("-s {loopback} -j RETURN")];
    if facts.is_filled(SetName::LoadBalancer) {
        let matched = facts.in_set_with_comment(SetName::LoadBalancer, "dst,dst");
        rules.push(format!("{matched} -j KUBE-LOAD-BALANCER"));
    }
    if facts.is_filled(SetName::ClusterIp) {
        rules.push(mark_cluster_ip(settings, facts));
    }
    if facts.is_filled(SetName::ExternalIp) {
        let matched = facts.in_set_with_comment(SetName::ExternalIp, "dst,dst");
        rules.push(format!("{matched} -j KUBE-MARK-MASQ"));
        rules.extend(accept_external(facts, SetName::ExternalIp));
    }
    if facts.is_filled(SetName::ExternalIpLocal) {
        rules.extend(accept_external(facts, SetName::ExternalIpLocal));
    }
    rules.push("-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT".into());
    for name in [SetName::ClusterIp, SetName::LoadBalancer] {
        if facts.is_filled(name) {
            rules.push(format!("{} -j ACCEPT", facts.in_set(name, "dst,dst")));
        }
    }
    rules
}

/// `Quirk:` where local traffic cannot be told, only traffic that comes from a service address is
/// marked, which is what a node's own connection to a service address looks like.
fn mark_cluster_ip(settings: &Settings, facts: &Facts<'_>) -> String {
    let matched = |directions| facts.in_set_with_comment(SetName::ClusterIp, directions);
    if settings.masquerade_all {
        return format!("{} -j KUBE-MARK-MASQ", matched("dst,dst"));
    }
    match not_local(settings, facts) {
        Some(not_local) => format!("{not_local} {} -j KUBE-MARK-MASQ", matched("dst,dst")),
        None => format!("{} -j KUBE-MARK-MASQ", matched("src,dst")),
    }
}

/// Traffic that neither comes over a bridge nor from this node, and traffic to this node.
fn accept_external(facts: &Facts<'_>, name: SetName) -> [String; 2] {
    let matched = facts.in_set_with_comment(name, "dst,dst");
    [
        format!("{matched} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT"),
        format!("{matched} -m addrtype --dst-type LOCAL -j ACCEPT"),
    ]
}

fn load_balancer(facts: &Facts<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    if facts.is_filled(SetName::LoadBalancerLocal) {
        let matched = facts.in_set_with_comment(SetName::LoadBalancerLocal, "dst,dst");
        rules.push(format!("{matched} -j RETURN"));
    }
    rules.push("-j KUBE-MARK-MASQ".into());
    rules
}

fn node_port(facts: &Facts<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    for (protocol, local, cluster, directions) in NODE_PORTS {
        for (name, target) in [(local, "RETURN"), (cluster, "KUBE-MARK-MASQ")] {
            if facts.is_filled(name) {
                let matched = facts.in_set_with_comment(name, directions);
                rules.push(format!("-p {protocol} {matched} -j {target}"));
            }
        }
    }
    rules
}

fn postrouting(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let mark = settings.masquerade_mark();
    let mut rules = Vec::new();
    if facts.is_filled(SetName::LoopBack) {
        let matched = facts.in_set_with_comment(SetName::LoopBack, "dst,dst,src");
        rules.push(format!("{matched} -j MASQUERADE"));
    }
    rules.push(format!("-m mark ! --mark {mark:#x}/{mark:#x} -j RETURN"));
    rules.push(format!("-j MARK --set-xmark {mark:#x}/0x0"));
    let fully = if settings.random_fully { " --random-fully" } else { "" };
    rules.push(format!(
        "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE{fully}"
    ));
    rules
}

fn mark_masq(settings: &Settings) -> Vec<String> {
    let mark = settings.masquerade_mark();
    vec![format!("-j MARK --set-xmark {mark:#x}/{mark:#x}")]
}
