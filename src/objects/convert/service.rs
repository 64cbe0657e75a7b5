//! Converts `core/v1 Service` into [`model::Service`].
//!
//! Takes a Service. Returns the facts, or `None` if this proxy does not serve it: headless, of type
//! ExternalName, without an address of either family, or served by another proxy. Does not look at
//! endpoints or the node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use proxier::model::{
    self, Affinity, Completeness, Family, PerFamily, ServiceName, ServicePort, SourceRanges,
    TrafficPolicy,
};

use super::{OBJECT, Reader};
use crate::objects::field::{Field, List, quoted};
use crate::objects::problem::{Kind, Problem};
use crate::objects::service::{Port, Service, Spec};

/// The API server's default if a Service sets `ClientIP` and no timeout: three hours, in seconds.
const DEFAULT_AFFINITY_TIMEOUT: u32 = 10_800;

/// The range that API validation admits: one second to one day.
const AFFINITY_TIMEOUTS: std::ops::RangeInclusive<u32> = 1..=86_400;

/// Converts a Service. Appends problems and leaves out what they concern.
pub fn service(object: &Service, problems: &mut Vec<Problem>) -> Option<model::Service> {
    let reader = &mut Reader::open(Kind::Service, &object.metadata, problems)?;
    let metadata = object.metadata.given()?;
    let labels = reader.value(&metadata.labels, "metadata.labels", OBJECT);
    if labels.is_some_and(|labels| labels.has_proxy_name) {
        return None;
    }
    let spec = match (&object.spec, reader.value(&object.spec, "spec", OBJECT)) {
        (_, Some(spec)) => spec,
        (Field::Wrong(_), None) => return reader.unreadable(),
        (Field::Absent | Field::Given(_), None) => return None,
    };
    let kind = Type::read(spec, reader)?;
    let cluster_ips = cluster_ips(spec, reader)?;
    let external_policy = external_policy(spec, kind, reader);
    Some(model::Service {
        name: ServiceName::new(&*reader.object.namespace, &*reader.object.name),
        created: created(&metadata.creation_timestamp, reader),
        cluster_ips,
        ports: ports(spec, reader),
        affinity: affinity(spec, reader),
        internal_policy: scope(&spec.internal_traffic_policy, "spec.internalTrafficPolicy", reader),
        external_policy,
        external_ips: reader.host_addresses(&spec.external_ips, "spec.externalIPs"),
        load_balancer_ips: load_balancer_ips(object, reader),
        source_ranges: source_ranges(&spec.load_balancer_source_ranges, reader),
        health_check_node_port: match (kind, external_policy) {
            (Type::LoadBalancer, TrafficPolicy::Local) => health_check_node_port(spec, reader),
            (Type::LoadBalancer, TrafficPolicy::Cluster)
            | (Type::ClusterIp | Type::NodePort, _) => None,
        },
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    ClusterIp,
    NodePort,
    LoadBalancer,
}

impl Type {
    /// Reads the type. `None` for a Service without addresses of its own: ExternalName, or an
    /// unknown type.
    fn read(spec: &Spec, reader: &mut Reader<'_>) -> Option<Self> {
        match reader.text(&spec.kind, "spec.type") {
            None | Some("ClusterIP") => Some(Self::ClusterIp),
            Some("NodePort") => Some(Self::NodePort),
            Some("LoadBalancer") => Some(Self::LoadBalancer),
            Some("ExternalName") => None,
            Some(other) => {
                let message = format!("{} is not a type of Service", quoted(other));
                reader.report("spec.type", message);
                reader.unreadable()
            }
        }
    }
}

/// Returns the cluster IP of each family. `None` for a headless Service or one without an address.
/// An API server always writes both `clusterIP` and `clusterIPs`; in a manifest one of them is
/// enough.
fn cluster_ips(spec: &Spec, reader: &mut Reader<'_>) -> Option<PerFamily<Option<IpAddr>>> {
    let listed = reader.items(&spec.cluster_ips, "spec.clusterIPs", "an IP address");
    let mut addresses: Vec<_> = listed.iter().map(|(at, text)| (*at, text.as_str())).collect();
    let single = reader.text(&spec.cluster_ip, "spec.clusterIP");
    let Some(first) = single.or(addresses.first().map(|(_, text)| *text)) else {
        reader
            .report("spec.clusterIP", "missing: where no API server assigns one, it must be given");
        return reader.unreadable();
    };
    if first == "None" {
        return None;
    }
    if addresses.is_empty() {
        addresses.push((0, first));
    }
    let mut found = PerFamily::default();
    let families = reader.items(&spec.ip_families, "spec.ipFamilies", "IPv4 or IPv6");
    if families.is_empty() {
        let Some(address) = reader.any_host_address(first, "spec.clusterIP") else {
            return reader.unreadable();
        };
        *found.of_mut(Family::of(address)) = Some(address);
    }
    for (at, text) in families {
        let Some(family) = family(text, at, reader) else { continue };
        let slot = found.of_mut(family);
        let address = addresses.iter().find(|(place, _)| *place == at);
        if let (None, Some((_, text))) = (&slot, address) {
            *slot = reader.host_address(family, text, format_args!("spec.clusterIPs[{at}]"));
        }
    }
    if found == PerFamily::default() { reader.unreadable() } else { Some(found) }
}

fn family(text: &str, at: usize, reader: &mut Reader<'_>) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        other => {
            let message = format!("{} is not IPv4 or IPv6", quoted(other));
            reader.report(format_args!("spec.ipFamilies[{at}]"), message);
            None
        }
    }
}

/// Returns the time of creation in seconds since 1970; 0 if it is absent or invalid.
fn created(timestamp: &Field<String>, reader: &mut Reader<'_>) -> i64 {
    let field = "metadata.creationTimestamp";
    let Some(text) = reader.text(timestamp, field) else { return 0 };
    text.parse::<Timestamp>().map_or_else(
        |_| {
            reader.report(field, format_args!("{} is not an RFC 3339 time", quoted(text)));
            0
        },
        Timestamp::as_second,
    )
}

/// Returns the ports that can be served. Endpoints are found by name and protocol, and a virtual
/// server is identified by number and protocol. So a port that repeats either pair is left out.
fn ports(spec: &Spec, reader: &mut Reader<'_>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (at, port) in reader.items(&spec.ports, "spec.ports", OBJECT) {
        let Some(port) = service_port(port, at, reader) else { continue };
        let (name, number) = ((port.protocol, Arc::clone(&port.name)), (port.protocol, port.port));
        if names.contains(&name) {
            let message =
                format!("{:?} is the name of an earlier {} port", port.name, port.protocol);
            reader.report(format_args!("spec.ports[{at}].name"), message);
        } else if numbers.contains(&number) {
            let message =
                format!("{} is the number of an earlier {} port", port.port, port.protocol);
            reader.report(format_args!("spec.ports[{at}].port"), message);
        } else {
            names.insert(name);
            numbers.insert(number);
            ports.push(port);
        }
    }
    ports
}

fn service_port(port: &Port, at: usize, reader: &mut Reader<'_>) -> Option<ServicePort> {
    let name = match &port.name {
        Field::Wrong(found) => {
            let message = format!("{found} is not a string");
            reader.report(format_args!("spec.ports[{at}].name"), message);
            return None;
        }
        Field::Absent => "",
        Field::Given(name) => name,
    };
    Some(ServicePort {
        name: name.into(),
        protocol: reader.protocol(&port.protocol, format_args!("spec.ports[{at}].protocol"))?,
        port: reader.required_port(&port.port, format_args!("spec.ports[{at}].port"))?,
        node_port: reader.port(&port.node_port, format_args!("spec.ports[{at}].nodePort")),
    })
}

fn affinity(spec: &Spec, reader: &mut Reader<'_>) -> Affinity {
    match reader.text(&spec.session_affinity, "spec.sessionAffinity") {
        None | Some("None") => Affinity::None,
        Some("ClientIP") => Affinity::ClientIp { timeout: affinity_timeout(spec, reader) },
        Some(other) => {
            let message = format!("{} is not None or ClientIP", quoted(other));
            reader.report("spec.sessionAffinity", message);
            Affinity::None
        }
    }
}

fn affinity_timeout(spec: &Spec, reader: &mut Reader<'_>) -> u32 {
    const CLIENT_IP: &str = "spec.sessionAffinityConfig.clientIP";
    const TIMEOUT: &str = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
    let seconds = reader
        .value(&spec.session_affinity_config, "spec.sessionAffinityConfig", OBJECT)
        .and_then(|config| reader.value(&config.client_ip, CLIENT_IP, OBJECT))
        .and_then(|client| reader.value(&client.timeout_seconds, TIMEOUT, "a number of seconds"));
    let Some(&seconds) = seconds else { return DEFAULT_AFFINITY_TIMEOUT };
    match u32::try_from(seconds) {
        Ok(seconds) if AFFINITY_TIMEOUTS.contains(&seconds) => seconds,
        Ok(_) | Err(_) => {
            let (first, last) = AFFINITY_TIMEOUTS.into_inner();
            let message = format!("{seconds} is not from {first} to {last} seconds");
            reader.report(TIMEOUT, message);
            DEFAULT_AFFINITY_TIMEOUT
        }
    }
}

fn scope(policy: &Field<String>, field: &str, reader: &mut Reader<'_>) -> TrafficPolicy {
    match reader.text(policy, field) {
        None | Some("Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            reader.report(field, format_args!("{} is not Cluster or Local", quoted(other)));
            TrafficPolicy::Cluster
        }
    }
}

/// Returns the external traffic policy. `Local` has a meaning only for traffic from outside: for
/// the types NodePort and LoadBalancer, or if there is any external IP, valid or not.
fn external_policy(spec: &Spec, kind: Type, reader: &mut Reader<'_>) -> TrafficPolicy {
    let policy = scope(&spec.external_traffic_policy, "spec.externalTrafficPolicy", reader);
    match kind {
        Type::NodePort | Type::LoadBalancer => policy,
        Type::ClusterIp if !spec.external_ips.items().is_empty() => policy,
        Type::ClusterIp => TrafficPolicy::Cluster,
    }
}

/// Returns the addresses on which a load balancer delivers packets unchanged. They count for any
/// type of Service, but not if the balancer is a proxy that opens its own connections.
fn load_balancer_ips(object: &Service, reader: &mut Reader<'_>) -> Vec<IpAddr> {
    let ingress = reader
        .value(&object.status, "status", OBJECT)
        .and_then(|status| reader.value(&status.load_balancer, "status.loadBalancer", OBJECT));
    let Some(ingress) = ingress.map(|balancer| &balancer.ingress) else { return Vec::new() };
    let field = "status.loadBalancer.ingress";
    let mut addresses = Vec::new();
    for (at, ingress) in reader.items(ingress, field, OBJECT) {
        let mode = reader.text(&ingress.ip_mode, format_args!("{field}[{at}].ipMode"));
        let ip = reader.text(&ingress.ip, format_args!("{field}[{at}].ip"));
        match (mode, ip) {
            (None | Some("VIP"), Some(ip)) => {
                addresses.extend(reader.any_host_address(ip, format_args!("{field}[{at}].ip")));
            }
            (None | Some("VIP" | "Proxy"), _) => {}
            (Some(other), _) => {
                let message = format!("{} is not VIP or Proxy", quoted(other));
                reader.report(format_args!("{field}[{at}].ipMode"), message);
            }
        }
    }
    addresses
}

/// Returns the source ranges. The list is there to keep clients out, so an unreadable part admits
/// no client rather than every client.
fn source_ranges(list: &List<String>, reader: &mut Reader<'_>) -> SourceRanges {
    const FIELD: &str = "spec.loadBalancerSourceRanges";
    if list == &List::default() {
        return SourceRanges::Unrestricted;
    }
    let nets = reader.nets(list, FIELD);
    for (at, _) in list.items().iter().enumerate().filter(|(_, item)| *item == &Field::Absent) {
        reader.report(format_args!("{FIELD}[{at}]"), "null is not a CIDR");
    }
    let is_complete = !nets.is_empty() && nets.len() == list.items().len();
    if is_complete {
        return nets.into_iter().collect();
    }
    let closed = if nets.is_empty() {
        "no client is admitted"
    } else {
        "a family without any other range admits no client"
    };
    reader.report(FIELD, format_args!("what cannot be read admits no client: {closed}"));
    SourceRanges::Listed { nets, completeness: Completeness::PartlyUnreadable }
}

fn health_check_node_port(spec: &Spec, reader: &mut Reader<'_>) -> Option<u16> {
    let field = "spec.healthCheckNodePort";
    if !matches!(spec.health_check_node_port, Field::Wrong(_) | Field::Given(1..)) {
        reader.report(field, "a load balancer with externalTrafficPolicy Local needs one");
        return None;
    }
    reader.port(&spec.health_check_node_port, field)
}

#[cfg(test)]
mod tests;
