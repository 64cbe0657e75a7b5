//! What the manifests of a Service and its EndpointSlice say.
//!
//! In: a [`Spec`], filled in by a test. Out: the objects as JSON. Never: a default that the API server would
//! not fill in.

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
    /// The port of its endpoints.
    pub(super) target: u16,
    /// `internalTrafficPolicy`.
    pub(super) internal: Policy,
    /// `externalTrafficPolicy`.
    pub(super) external: Policy,
    pub(super) node_port: Option<u16>,
    pub(super) external_ips: Vec<IpAddr>,
    /// What the status says of load balancers; anything makes it a Service of that type.
    pub(super) ingress: Option<Vec<Ingress>>,
    pub(super) source_ranges: Vec<String>,
    pub(super) health_check_port: Option<u16>,
    /// How long a client stays with an endpoint, in seconds.
    pub(super) affinity: Option<u32>,
}

/// Which endpoints may be used.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// Those of every node.
    Cluster,
    /// Those of the node that the client came to.
    Local,
}

/// What a load balancer's status says of an address.
#[derive(Clone, Copy)]
pub(super) enum Ingress {
    /// The nodes see packets to this address.
    Vip(IpAddr),
    /// The load balancer ends connections and makes its own to the nodes.
    Proxy(IpAddr),
    /// It has a name only.
    Hostname,
}

/// A way to a Service. The node does not know the Service's own addresses but by the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

impl Way {
    /// Those from outside the cluster.
    pub(super) const EXTERNAL: [Self; 3] = [Self::NodePort, Self::ExternalIp, Self::LoadBalancer];
    /// Every one.
    pub(super) const ALL: [Self; 4] =
        [Self::ClusterIp, Self::NodePort, Self::ExternalIp, Self::LoadBalancer];
}

/// What an EndpointSlice says of an endpoint.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Ready,
    /// Neither ready nor on its way out.
    Unready,
    /// On its way out and still serving.
    Terminating,
}

/// For whom an endpoint is meant (`hints`).
#[derive(Clone, Copy)]
pub(super) enum Hint {
    Zone(&'static str),
    Node(&'static str),
}

impl Spec {
    /// A ClusterIP whose addresses and ports belong to this number alone.
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

    /// Opens these ways to it as well.
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

    /// The ports of all ways, on a node with this address.
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

    /// Both objects.
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

    /// One endpoint of a slice.
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

/// `PREFIX.0.0/16` or `2001:db8:PREFIX::/112`, at a number; cluster IPs have their own network of IPv6.
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
