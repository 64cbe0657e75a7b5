//! The rules of the `nat` table: which packets are masqueraded.
//!
//! Takes the settings and which sets have entries. Gives the rules of the five nat chains. Makes no rule
//! that matches an empty set.

use std::collections::BTreeMap;

use super::{ChainKey, Facts, nat, not_local};
use crate::model::{Family, Protocol};
use crate::plan::feature::Feature;
use crate::plan::set::SetName;
use crate::plan::settings::Settings;

/// The node-port sets with the direction of their match. A Local set comes before its Cluster counterpart.
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
    chains.insert(nat("KUBE-MARK-MASQ"), mark_masq(settings, facts));
}

fn services(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let loopback = match facts.family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1/128",
    };
    let mut rules = vec![format!("-s {loopback} -j RETURN")];
    if let Some(matched) = facts.in_filled_set(SetName::LoadBalancer, "dst,dst") {
        rules.push(format!("{matched} -j KUBE-LOAD-BALANCER"));
    }
    rules.extend(mark_cluster_ip(settings, facts));
    if let Some(matched) = facts.in_filled_set(SetName::ExternalIp, "dst,dst") {
        rules.push(format!("{matched} -j KUBE-MARK-MASQ"));
    }
    for name in [SetName::ExternalIp, SetName::ExternalIpLocal] {
        rules.extend(accept_external(facts, name));
    }
    if facts.has(Feature::AddressType) {
        rules.push("-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT".into());
    }
    for name in [SetName::ClusterIp, SetName::LoadBalancer] {
        let matched = facts.in_set(name, "dst,dst").filter(|_| facts.is_filled(name));
        rules.extend(matched.map(|matched| format!("{matched} -j ACCEPT")));
    }
    rules
}

/// Marks traffic to cluster IPs that must be masqueraded.
///
/// `Quirk:` if local traffic cannot be told apart, only traffic that comes from a service address is marked.
/// A connection from the node itself to a service address looks like that.
fn mark_cluster_ip(settings: &Settings, facts: &Facts<'_>) -> Option<String> {
    let matched = |directions| facts.in_filled_set(SetName::ClusterIp, directions);
    if settings.masquerade_all {
        return Some(format!("{} -j KUBE-MARK-MASQ", matched("dst,dst")?));
    }
    Some(match not_local(settings, facts) {
        Some(not_local) => format!("{not_local} {} -j KUBE-MARK-MASQ", matched("dst,dst")?),
        None => format!("{} -j KUBE-MARK-MASQ", matched("src,dst")?),
    })
}

/// Accepts traffic that neither comes over a bridge nor from this node, and traffic to this node.
fn accept_external(facts: &Facts<'_>, name: SetName) -> Vec<String> {
    let matched = facts.in_filled_set(name, "dst,dst").filter(|_| facts.has(Feature::AddressType));
    let Some(matched) = matched else { return Vec::new() };
    let from_elsewhere = facts.has(Feature::Physdev).then(|| {
        format!("{matched} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT")
    });
    let to_this_node = format!("{matched} -m addrtype --dst-type LOCAL -j ACCEPT");
    from_elsewhere.into_iter().chain([to_this_node]).collect()
}

fn load_balancer(facts: &Facts<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    if let Some(matched) = facts.in_filled_set(SetName::LoadBalancerLocal, "dst,dst") {
        rules.push(format!("{matched} -j RETURN"));
    }
    rules.push("-j KUBE-MARK-MASQ".into());
    rules
}

fn node_port(facts: &Facts<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    for (protocol, local, cluster, directions) in NODE_PORTS {
        for (name, target) in [(local, "RETURN"), (cluster, "KUBE-MARK-MASQ")] {
            if let Some(matched) = facts.in_filled_set(name, directions) {
                rules.push(format!("-p {protocol} {matched} -j {target}"));
            }
        }
    }
    rules
}

fn postrouting(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let mark = settings.masquerade_mark();
    let mut rules = Vec::new();
    let can_masquerade = facts.has(Feature::Masquerade);
    if can_masquerade && let Some(matched) = facts.in_filled_set(SetName::LoopBack, "dst,dst,src") {
        rules.push(format!("{matched} -j MASQUERADE"));
    }
    // Without the mark match, the rules after this would apply to all packets.
    if !facts.has(Feature::Mark) {
        return rules;
    }
    rules.push(format!("-m mark ! --mark {mark:#x}/{mark:#x} -j RETURN"));
    if facts.has(Feature::SetMark) {
        rules.push(format!("-j MARK --set-xmark {mark:#x}/0x0"));
    }
    let is_fully_random = settings.random_fully && facts.has(Feature::RandomFully);
    let fully = if is_fully_random { " --random-fully" } else { "" };
    let comment = facts.comment("kubernetes service traffic requiring SNAT");
    rules.extend(can_masquerade.then(|| format!("{comment}-j MASQUERADE{fully}")));
    rules
}

fn mark_masq(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let mark = settings.masquerade_mark();
    let can_mark = facts.has(Feature::SetMark);
    can_mark.then(|| format!("-j MARK --set-xmark {mark:#x}/{mark:#x}")).into_iter().collect()
}
