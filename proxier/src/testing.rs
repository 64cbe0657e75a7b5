//! Builders and the address plan of fixtures, for tests only.
//!
//! Takes a few strings. Gives Services, slices, endpoints and settings.
//!
//! | what | IPv4 | IPv6 |
//! | --- | --- | --- |
//! | cluster IPs | 10.96.0.0/16 | fd00:10:96::/112 |
//! | pods of node1, which is this node | 10.244.1.0/24 | fd00:10:244:1::/64 |
//! | pods of node2 | 10.244.2.0/24 | fd00:10:244:2::/64 |

pub mod packet;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{
    Affinity, Endpoint, Family, LastChange, PerFamily, Protocol, Service, ServiceName, ServicePort,
    Slice, SliceName, SlicePort, SourceRanges, TrafficPolicy,
};
use crate::plan::Settings;

/// The name of this node.
pub const NODE: &str = "node1";

/// Returns the current time, for tests whose result does not depend on it.
#[expect(clippy::disallowed_methods, reason = "tests have to begin somewhere")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns default settings with this node's name.
pub fn settings() -> Settings {
    Settings { node_name: NODE.into(), ..Settings::default() }
}

/// Returns a Service `default/NAME` with one TCP port 80 and the given cluster IPs.
pub fn service(name: &str, cluster_ips: &[&str]) -> Service {
    let ips: Vec<IpAddr> = cluster_ips.iter().filter_map(|text| text.parse().ok()).collect();
    Service {
        name: ServiceName::new("default", name),
        created: 0,
        cluster_ips: PerFamily::from_fn(|family| {
            ips.iter().copied().find(|ip| Family::of(*ip) == family)
        }),
        ports: vec![service_port("http", Protocol::Tcp, 80)],
        affinity: Affinity::None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: SourceRanges::Unrestricted,
        health_check_node_port: None,
    }
}

/// Returns a Service port without a node port.
pub fn service_port(name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol, port, node_port: None }
}

/// Returns the slice `default/NAME` of a Service, with port 8080 named `http`. Its family is that of the
/// first endpoint; IPv4 without endpoints.
pub fn slice(name: &str, service: &str, endpoints: Vec<Endpoint>) -> Slice {
    Slice {
        name: SliceName::new("default", name),
        service: ServiceName::new("default", service),
        family: endpoints.first().map_or(Family::V4, |endpoint| Family::of(endpoint.address)),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints,
        last_change: LastChange::default(),
    }
}

/// Returns a ready endpoint. Its node follows from the address plan.
pub fn ready(address: &str) -> Endpoint {
    let node =
        if address.contains("244.1.") || address.contains("244:1:") { NODE } else { "node2" };
    Endpoint {
        address: address.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        node: Some(Arc::from(node)),
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    }
}

/// Returns an endpoint that is terminating but still serves.
pub fn terminating(address: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..ready(address) }
}

/// Returns an endpoint that neither is ready nor serves.
pub fn unready(address: &str) -> Endpoint {
    Endpoint { ready: false, serving: false, ..ready(address) }
}
