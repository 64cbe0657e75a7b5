//! Writes the manifests of a Service and its EndpointSlice.
//!
//! Takes a [`Spec`] that a test has filled in. Returns the objects as JSON. Uses only defaults that
//! the API server would set too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use super::Kind;
use crate::node::{Family, Pod};
use crate::traffic::Protocol;

/// A Service with one port of one family.
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) cluster_ip: IpAddr,
    pub(super) port: u16,
    /// The port of the endpoints.
    pub(super) target: u16,
    /// The `internalTrafficPolicy`.
    pub(super) internal: Policy,
    /// The `externalTrafficPolicy`.
    pub(super) external: Policy,
    pub(super) node_port: Option<u16>,
    pub(super) external_ips: Vec<IpAddr>,
    /// The addresses in the load balancer's status. If there is a list, the Service is of type
    /// LoadBalancer.
    pub(super) ingress: Option<Vec<Ingress>>,
    pub(super) source_ranges: Vec<String>,
    pub(super) health_check_port: Option<u16>,
    /// The time for which a client stays with an endpoint, in seconds.
    pub(super) affinity: Option<u32>,
}

/// A traffic policy: the endpoints that may be used.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// The endpoints of every node.
    Cluster,
    /// The endpoints of the node at which the client's packets arrive.
    Local,
}

/// An address in a load balancer's status.
#[derive(Clone, Copy)]
pub(super) enum Ingress {
    /// The nodes see packets to this address.
    Vip(IpAddr),
    /// The load balancer ends connections and opens its own to the nodes.
    Proxy(IpAddr),
    /// The load balancer has only a name.
    Hostname,
}

/// A kind of address of a Service. The node has the Service's own addresses only from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

impl Way {
    /// The kinds for clients outside the cluster.
    pub(super) const EXTERNAL: [Self; 3] = [Self::NodePort, Self::ExternalIp, Self::LoadBalancer];
    /// Every kind.
    pub(super) const ALL: [Self; 4] =
        [Self::ClusterIp, Self::NodePort, Self::ExternalIp, Self::LoadBalancer];
}

/// The conditions of an endpoint in an EndpointSlice.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Ready,
    /// Neither ready nor terminating.
    Unready,
    /// Terminating and still serving.
    Terminating,
}

/// A hint of an endpoint (`hints`).
#[derive(Clone, Copy)]
pub(super) enum Hint {
    Zone(&'static str),
    Node(&'static str),
}

impl Spec {
    /// Makes a ClusterIP Service whose addresses and ports no other number has.
    pub(super) fn new(kind: Kind, number: u16) -> Self {
        Self {
            kind,
            name: format!("service-{number}"),
            cluster_ip: address(kind, [10, 96], 0x96, number),
            port: 80,
            target: 8000 + number,
            internal: Policy::Cluster,
            external: Policy::Cluster,
            node_port: None,
            external_ips: Vec::new(),
            ingress: None,
            source_ranges: Vec::new(),
            health_check_port: None,
            affinity: None,
        }
    }

    /// Adds these kinds of address.
    pub(super) fn open(&mut self, ways: &[Way]) {
        let number = self.target - 8000;
        for way in ways {
            match way {
                Way::ClusterIp => {}
                Way::NodePort => self.node_port = Some(30_000 + number),
                Way::ExternalIp => {
                    self.external_ips = vec![address(self.kind, [198, 18], 0x18, number)];
                }
                Way::LoadBalancer => {
                    let vip = address(self.kind, [198, 19], 0x19, number);
                    self.ingress = Some(vec![Ingress::Vip(vip)]);
                }
            }
        }
    }

    /// Returns all kinds and addresses, on a node with this address.
    pub(super) fn frontends(&self, node: IpAddr) -> Vec<(Way, SocketAddr)> {
        let mut all = vec![(Way::ClusterIp, SocketAddr::new(self.cluster_ip, self.port))];
        all.extend(self.node_port.map(|port| (Way::NodePort, SocketAddr::new(node, port))));
        let external = self.external_ips.iter();
        all.extend(external.map(|ip| (Way::ExternalIp, SocketAddr::new(*ip, self.port))));
        for ingress in self.ingress.iter().flatten() {
            match ingress {
                Ingress::Vip(ip) => {
                    all.push((Way::LoadBalancer, SocketAddr::new(*ip, self.port)));
                }
                Ingress::Proxy(_) | Ingress::Hostname => {}
            }
        }
        all
    }

    /// Returns both objects.
    pub(super) fn manifest(&self, endpoints: &[Value]) -> Value {
        let (protocol, family) = (protocol(self.kind), family(self.kind));
        let mut port = json!({"protocol": protocol, "port": self.port, "targetPort": self.target});
        let mut spec = json!({
            "type": self.kind_of_service(),
            "ipFamilies": [family],
            "clusterIP": self.cluster_ip,
            "clusterIPs": [self.cluster_ip],
            "internalTrafficPolicy": policy(self.internal),
            "externalIPs": self.external_ips,
            "loadBalancerSourceRanges": self.source_ranges,
        });
        if let Some(number) = self.node_port {
            port["nodePort"] = number.into();
        }
        if self.node_port.is_some() || self.ingress.is_some() || !self.external_ips.is_empty() {
            spec["externalTrafficPolicy"] = policy(self.external).into();
        }
        if let Some(number) = self.health_check_port {
            spec["healthCheckNodePort"] = number.into();
        }
        if let Some(seconds) = self.affinity {
            spec["sessionAffinity"] = "ClientIP".into();
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
        }
        spec["ports"] = json!([port]);
        let ingress: Vec<_> = self.ingress.iter().flatten().map(|one| one.json()).collect();
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": "test", "name": self.name},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "test",
                "name": self.name,
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family,
            "ports": [{"protocol": protocol, "port": self.target}],
            "endpoints": endpoints,
        });
        json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]})
    }

    /// Returns one endpoint of the EndpointSlice.
    pub(super) fn endpoint(&self, pod: &Pod, condition: Condition, hints: &[Hint]) -> Value {
        let mut endpoint = json!({
            "addresses": [pod.address(self.kind.family)],
            "nodeName": pod.node_name(),
            "conditions": conditions(condition),
        });
        for hint in hints {
            let (field, name) = match hint {
                Hint::Zone(name) => ("forZones", name),
                Hint::Node(name) => ("forNodes", name),
            };
            endpoint["hints"][field] = json!([{"name": name}]);
        }
        endpoint
    }

    fn kind_of_service(&self) -> &'static str {
        match (&self.ingress, self.node_port) {
            (Some(_), _) => "LoadBalancer",
            (None, Some(_)) => "NodePort",
            (None, None) => "ClusterIP",
        }
    }
}

impl Ingress {
    fn json(self) -> Value {
        match self {
            Self::Vip(ip) => json!({"ip": ip, "ipMode": "VIP"}),
            Self::Proxy(ip) => json!({"ip": ip, "ipMode": "Proxy"}),
            Self::Hostname => json!({"hostname": "balancer.example"}),
        }
    }
}

/// Returns the address with this number in `PREFIX.0.0/16` or `2001:db8:PREFIX::/112`. Cluster IPs
/// have an IPv6 network of their own.
fn address(kind: Kind, prefix4: [u8; 2], prefix6: u16, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match kind.family {
        Family::V4 => Ipv4Addr::new(prefix4[0], prefix4[1], high, low).into(),
        Family::V6 if prefix6 == 0x96 => {
            Ipv6Addr::new(0xfd00, 0x10, prefix6, 0, 0, 0, 0, number).into()
        }
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, prefix6, 0, 0, 0, 0, number).into(),
    }
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Cluster => "Cluster",
        Policy::Local => "Local",
    }
}

fn family(kind: Kind) -> &'static str {
    match kind.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn protocol(kind: Kind) -> &'static str {
    match kind.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn conditions(condition: Condition) -> Value {
    let (ready, serving, terminating) = match condition {
        Condition::Ready => (true, true, false),
        Condition::Unready => (false, false, false),
        Condition::Terminating => (false, true, true),
    };
    json!({"ready": ready, "serving": serving, "terminating": terminating})
}
