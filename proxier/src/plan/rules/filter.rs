//! The rules of the `filter` table: which packets reach service addresses.
//!
//! Takes the settings and which sets have entries. Gives the rules of the six filter chains. The order of the
//! rules in `KUBE-IPVS-OUT-FILTER` has no meaning.

use std::collections::BTreeMap;

use super::{ChainKey, Facts, OUT_FILTER, filter};
use crate::model::{Family, Protocol};
use crate::plan::feature::Feature;
use crate::plan::server::VirtualServerKey;
use crate::plan::set::SetName;
use crate::plan::settings::Settings;

pub(super) fn fill(
    chains: &mut BTreeMap<ChainKey, Vec<String>>,
    settings: &Settings,
    facts: &Facts<'_>,
) {
    chains.insert(filter("KUBE-FORWARD"), forward(settings, facts));
    chains.insert(filter("KUBE-NODE-PORT"), node_port(facts));
    chains.insert(filter("KUBE-PROXY-FIREWALL"), proxy_firewall(facts));
    chains.insert(filter("KUBE-SOURCE-RANGES-FIREWALL"), source_ranges_firewall(facts));
    chains.insert(filter("KUBE-IPVS-FILTER"), ipvs_filter(facts));
    chains.insert(OUT_FILTER, ipvs_out_filter(facts));
}

fn forward(settings: &Settings, facts: &Facts<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    if facts.has(Feature::Mark) {
        let (comment, mark) =
            (facts.comment("kubernetes forwarding rules"), settings.masquerade_mark());
        rules.push(format!("{comment}-m mark --mark {mark:#x}/{mark:#x} -j ACCEPT"));
    }
    if facts.has(Feature::Conntrack) {
        let comment = facts.comment("kubernetes forwarding conntrack rule");
        rules.push(format!("{comment}-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
    }
    rules
}

fn node_port(facts: &Facts<'_>) -> Vec<String> {
    let matched = facts.in_set_with_comment(SetName::HealthCheckNodePort, "dst");
    matched.into_iter().map(|matched| format!("{matched} -j ACCEPT")).collect()
}

fn proxy_firewall(facts: &Facts<'_>) -> Vec<String> {
    let matched = facts.in_filled_set(SetName::LoadBalancerFw, "dst,dst");
    matched.into_iter().map(|matched| format!("{matched} -j KUBE-SOURCE-RANGES-FIREWALL")).collect()
}

fn source_ranges_firewall(facts: &Facts<'_>) -> Vec<String> {
    let mut rules: Vec<_> = [SetName::LoadBalancerSourceCidr, SetName::LoadBalancerSourceIp]
        .into_iter()
        .filter_map(|name| facts.in_filled_set(name, "dst,dst,src"))
        .map(|matched| format!("{matched} -j RETURN"))
        .collect();
    rules.push("-j DROP".into());
    rules
}

/// Drops packets from the node to load balancers that do not admit it. IPVS has already rewritten such a
/// packet, and only `-m ipvs` still knows its original destination.
fn ipvs_out_filter(facts: &Facts<'_>) -> Vec<String> {
    if !facts.has(Feature::Ipvs) {
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

/// Returns the load-balancer frontend that a rule of `KUBE-IPVS-OUT-FILTER` keeps this node from.
pub(crate) fn refused_by(rule: &str) -> Option<VirtualServerKey> {
    let value = |option: &str| rule.split(' ').skip_while(|word| *word != option).nth(1);
    let protocol = Protocol::of_number(value("--vproto")?.parse().ok()?)?;
    let (address, port) = (value("--vaddr")?.parse().ok()?, value("--vport")?.parse().ok()?);
    Some(VirtualServerKey { protocol, address, port })
}

/// Admits new connections to a service address at its service ports and health-check ports, and rejects all
/// others. So the host's own ports are not reachable through it.
fn ipvs_filter(facts: &Facts<'_>) -> Vec<String> {
    let mut rules: Vec<_> = [
        (SetName::LoadBalancer, "dst,dst"),
        (SetName::ClusterIp, "dst,dst"),
        (SetName::ExternalIp, "dst,dst"),
        (SetName::ExternalIpLocal, "dst,dst"),
        (SetName::HealthCheckNodePort, "dst"),
    ]
    .into_iter()
    .filter_map(|(name, directions)| Some(format!("{} -j RETURN", facts.in_set(name, directions)?)))
    .collect();
    rules.extend(refuse_others(facts));
    rules
}

/// Rejects all other new connections to service addresses. `None` without the rules before it, because then
/// it would reject the service ports as well. Without `REJECT` the connections are dropped.
fn refuse_others(facts: &Facts<'_>) -> Option<String> {
    facts.in_set(SetName::ClusterIp, "dst,dst")?;
    let matched = facts.in_set(SetName::IpvsIps, "dst")?;
    let target = match (facts.has(Feature::Reject), facts.family) {
        (false, _) => "DROP",
        (true, Family::V4) => "REJECT --reject-with icmp-port-unreachable",
        (true, Family::V6) => "REJECT --reject-with icmp6-port-unreachable",
    };
    facts
        .has(Feature::Conntrack)
        .then(|| format!("-m conntrack --ctstate NEW {matched} -j {target}"))
}
