//! The rules of the `filter` table: what service addresses let in.
//!
//! In: the settings and which sets have entries. Out: rules of the six filter chains. Never: an
//! order among the rules of `KUBE-IPVS-OUT-FILTER` that anybody may rely on.

use std::collections::BTreeMap;

use super::{ChainKey, Facts, OUT_FILTER, filter};
use crate::model::Family;
use crate::plan::server::VirtualServerKey;
use crate::plan::set::SetName;
use crate::plan::settings::Settings;

pub(super) fn fill(
    chains: &mut BTreeMap<ChainKey, Vec<String>>,
    settings: &Settings,
    facts: &Facts<'_>,
) {
    chains.insert(filter("KUBE-FORWARD"), forward(settings));
    chains.insert(filter("KUBE-NODE-PORT"), node_port(facts));
    chains.insert(filter("KUBE-PROXY-FIREWALL"), proxy_firewall(facts));
    chains.insert(filter("KUBE-SOURCE-RANGES-FIREWALL"), source_ranges_firewall(facts));
    chains.insert(filter("KUBE-IPVS-FILTER"), ipvs_filter(facts));
    chains.insert(OUT_FILTER, ipvs_out_filter(settings, facts));
}

fn forward(settings: &Settings) -> Vec<String> {
    let mark = settings.masquerade_mark();
    vec![
        format!(
            "-m comment --comment \"kubernetes forwarding rules\" \
             -m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"
        ),
        "-m comment --comment \"kubernetes forwarding conntrack rule\" \
         -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            .into(),
    ]
}

fn node_port(facts: &Facts<'_>) -> Vec<String> {
    vec![format!("{} -j ACCEPT", facts.in_set_with_comment(SetName::HealthCheckNodePort, "dst"))]
}

fn proxy_firewall(facts: &Facts<'_>) -> Vec<String> {
    let guarded = SetName::LoadBalancerFw;
    if !facts.is_filled(guarded) {
        return Vec::new();
    }
    let matched = facts.in_set_with_comment(guarded, "dst,dst");
    vec![format!("{matched} -j KUBE-SOURCE-RANGES-FIREWALL")]
}

fn source_ranges_firewall(facts: &Facts<'_>) -> Vec<String> {
    let mut rules: Vec<_> = [SetName::LoadBalancerSourceCidr, SetName::LoadBalancerSourceIp]
        .into_iter()
        .filter(|name| facts.is_filled(*name))
        .map(|name| format!("{} -j RETURN", facts.in_set_with_comment(name, "dst,dst,src")))
        .collect();
    rules.push("-j DROP".into());
    rules
}

/// What the node itself sends to a load balancer that does not admit it. IPVS has rewritten such a
/// packet before it gets here, and only `-m ipvs` still knows where it was sent to.
fn ipvs_out_filter(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    if !settings.ipvs_match.of(facts.family) {
        return Vec::new();
    }
    let mut rules: Vec<_> = facts.refused.iter().map(refuse_node).collect();
    rules.sort();
    rules
}

fn refuse_node(key: &VirtualServerKey) -> String {
    let (address, protocol, port) = (key.address, key.protocol.number(), key.port);
    let prefix = key.family().host_prefix();
    format!(
        "-s {address}/{prefix} -m ipvs --vproto {protocol} --vaddr {address} --vport {port} -j DROP"
    )
}

/// A service address lets its service ports and health checks in and refuses every other new
/// connection, so that the host's own ports are not reachable through it.
fn ipvs_filter(facts: &Facts<'_>) -> Vec<String> {
    let refusal = match facts.family {
        Family::V4 => "icmp-port-unreachable",
        Family::V6 => "icmp6-port-unreachable",
    };
    let mut rules: Vec<_> = [
        (SetName::LoadBalancer, "dst,dst"),
        (SetName::ClusterIp, "dst,dst"),
        (SetName::ExternalIp, "dst,dst"),
        (SetName::ExternalIpLocal, "dst,dst"),
        (SetName::HealthCheckNodePort, "dst"),
    ]
    .into_iter()
    .map(|(name, directions)| format!("{} -j RETURN", facts.in_set(name, directions)))
    .collect();
    rules.push(format!(
        "-m conntrack --ctstate NEW {} -j REJECT --reject-with {refusal}",
        facts.in_set(SetName::IpvsIps, "dst")
    ));
    rules
}
