//! Makes Services of three ports in both families, which change a little from one state to the
//! next.
//!
//! Takes a few values. Returns manifests. The ports are `http` TCP 80, `dns` UDP 53 and `m3ua` SCTP
//! 132.

use serde_json::{Value, json};

/// A Service and its endpoints.
#[derive(Clone)]
pub(super) struct Service {
    name: &'static str,
    spec: Value,
    status: Value,
    pods: Vec<(u8, u8)>,
    targets: [u16; 3],
}

/// The name, protocol and number of each port.
const PORTS: [(&str, &str, u16); 3] =
    [("http", "TCP", 80), ("dns", "UDP", 53), ("m3ua", "SCTP", 132)];

impl Service {
    /// Makes a Service at the cluster IPs 10.96.2.N and fd00:10:96::2:N, with a pod on each node.
    pub(super) fn new(name: &'static str, number: u8) -> Self {
        let ports = PORTS.map(
            |(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}),
        );
        let spec = json!({"type": "ClusterIP", "ipFamilies": ["IPv4", "IPv6"], "ports": ports});
        let service =
            Self { name, spec, status: json!({}), pods: Vec::new(), targets: [8080, 5353, 9132] };
        service.cluster_ips(number).pods(&[(1, number), (2, number)])
    }

    /// Sets other cluster IPs.
    pub(super) fn cluster_ips(self, number: u8) -> Self {
        let ips = [format!("10.96.2.{number}"), format!("fd00:10:96::2:{number:x}")];
        self.set("clusterIP", &ips[0]).set("clusterIPs", &ips)
    }

    /// Sets a field of the `spec`.
    pub(super) fn set(mut self, field: &str, value: impl serde::Serialize) -> Self {
        self.spec[field] = json!(value);
        self
    }

    /// Sets these node ports.
    pub(super) fn node_ports(mut self, numbers: [u16; 3]) -> Self {
        for (at, number) in numbers.into_iter().enumerate() {
            self.spec["ports"][at]["nodePort"] = number.into();
        }
        self.set("type", "NodePort")
    }

    /// Adds the load-balancer addresses 203.0.113.N and 2001:db8:f::N, with node ports.
    pub(super) fn load_balancer(mut self, number: u8) -> Self {
        let ips = outside(number).map(|ip| json!({"ip": ip}));
        self.status = json!({"loadBalancer": {"ingress": ips}});
        self.node_ports(node_ports(number)).set("type", "LoadBalancer")
    }

    /// Sets the external traffic policy `Local`.
    pub(super) fn local(self) -> Self {
        self.set("externalTrafficPolicy", "Local").set("healthCheckNodePort", 32_000)
    }

    /// Sets the pods, as `(NODE, HOST)`.
    pub(super) fn pods(mut self, pods: &[(u8, u8)]) -> Self {
        self.pods = pods.to_vec();
        self
    }

    /// Sets the ports on which the pods listen.
    pub(super) fn targets(mut self, targets: [u16; 3]) -> Self {
        self.targets = targets;
        self
    }

    /// Keeps only the first ports.
    pub(super) fn first_ports(mut self, count: usize) -> Self {
        self.spec["ports"].as_array_mut().unwrap().truncate(count);
        self
    }

    /// Adds a value to each port's number.
    pub(super) fn shifted(mut self, by: u64) -> Self {
        for port in self.spec["ports"].as_array_mut().unwrap() {
            port["port"] = (port["port"].as_u64().unwrap() + by).into();
        }
        self
    }

    fn documents(&self) -> String {
        let metadata = json!({"name": self.name, "namespace": "shop"});
        let (spec, status) = (&self.spec, &self.status);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": status,
        });
        let slices = ["IPv4", "IPv6"].map(|family| self.slice(family));
        format!("{service}\n---\n{}\n---\n{}\n---\n", slices[0], slices[1])
    }

    fn slice(&self, family: &str) -> Value {
        let endpoints = self.pods.iter().map(|(node, host)| {
            let address = match family {
                "IPv4" => format!("10.244.{node}.{host}"),
                _ => format!("fd00:10:244:{node}::{host:x}"),
            };
            json!({
                "addresses": [address], "nodeName": format!("node{node}"), "conditions": {"ready": true},
            })
        });
        let ports = PORTS.into_iter().zip(self.targets).map(|((name, protocol, _), target)| {
            json!({"name": name, "protocol": protocol, "port": target})
        });
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, family.to_lowercase()),
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family,
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": ports.collect::<Vec<_>>(),
        })
    }
}

/// Returns the addresses outside the cluster that have this number.
pub(super) fn outside(number: u8) -> [String; 2] {
    [format!("203.0.113.{number}"), format!("2001:db8:f::{number:x}")]
}

/// Returns the node ports that belong to the addresses with this number.
pub(super) fn node_ports(number: u8) -> [u16; 3] {
    [30_080, 30_053, 30_132].map(|base| base + 200 * u16::from(number))
}

/// Returns all objects of a state.
pub(super) fn state<const N: usize>(services: [&Service; N]) -> String {
    services.map(Service::documents).concat()
}
