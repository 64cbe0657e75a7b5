//! Reads the table of packet cases, which two drivers run: one in the VM and one in a cluster of
//! kind.
//!
//! Takes `packets.yaml`. Returns a [`Run`] for each case and kind that a driver has, with its
//! Service as a manifest and its addresses. A case that leaves out a driver has to give a reason.

#![allow(dead_code, unreachable_pub, reason = "shared by several binaries")]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;
use serde_json::{Map, Value, json};

mod judge;

pub use self::judge::{Cluster, Heard, holds};

/// The text of the table.
const TABLE: &str = include_str!("packets.yaml");
/// The port of every Service.
const PORT: u16 = 80;

/// One case of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default = "all")]
    pub drivers: Vec<Driver>,
    pub because: Option<String>,
    #[serde(default = "four")]
    pub kinds: Vec<Kind>,
    /// The parts of the Service's spec that do not depend on the driver.
    pub service: Map<String, Value>,
    pub endpoints: Vec<Place>,
    pub from: Vec<Client>,
    pub to: Way,
    pub expect: Expect,
}

/// The drivers that can run cases.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Vm,
    Kind,
    Fake,
}

impl Driver {
    pub const ALL: [Self; 3] = [Self::Vm, Self::Kind, Self::Fake];
}

/// The protocol and the family of the packets.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Kind {
    #[serde(rename = "TCP/IPv4")]
    Tcp4,
    #[serde(rename = "TCP/IPv6")]
    Tcp6,
    #[serde(rename = "UDP/IPv4")]
    Udp4,
    #[serde(rename = "UDP/IPv6")]
    Udp6,
    #[serde(rename = "SCTP/IPv4")]
    Sctp4,
    #[serde(rename = "SCTP/IPv6")]
    Sctp6,
}

/// The place of an endpoint.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Here,
    Elsewhere,
}

/// The place of a client.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Client {
    Pod,
    Node,
    Outside,
}

/// The kind of address to which the client connects.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

/// The expected result.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Expect {
    Answers(Answers),
    Else(Outcome),
}

/// The endpoints that answer: all of these and no others.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Answers {
    pub answers: Vec<Place>,
    pub seen_as: Seen,
}

/// The source address that an endpoint sees.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    Client,
    Node,
}

/// The other expected results.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Stays,
    Refused,
    Dropped,
    Drains,
}

/// A case of one kind. Its Service has addresses that no other Service has.
#[derive(Clone, Debug)]
pub struct Run {
    pub case: Case,
    pub kind: Kind,
    number: u16,
}

fn all() -> Vec<Driver> {
    Driver::ALL.to_vec()
}

fn four() -> Vec<Kind> {
    vec![Kind::Tcp4, Kind::Udp4, Kind::Tcp6, Kind::Udp6]
}

/// Returns every case of the table.
pub fn table() -> Vec<Case> {
    let table: Value = serde_saphyr::from_str(TABLE).expect("packets.yaml is YAML");
    serde_path_to_error::deserialize(table).expect("packets.yaml is a table of cases")
}

/// Returns the runs of a driver, in the order of the table.
pub fn runs(driver: Driver) -> Vec<Run> {
    let kinds = |case: Case| {
        let kinds = case.kinds.clone().into_iter();
        kinds.map(move |kind| (case.clone(), kind))
    };
    let all = table().into_iter().flat_map(kinds).zip(1..);
    let all = all.map(|((case, kind), number)| Run { case, kind, number });
    all.filter(|run| run.case.drivers.contains(&driver)).collect()
}

impl Run {
    /// Returns the cluster IP. It is below .0.255, where an API server assigns none by itself, and
    /// above those that every cluster uses.
    pub fn cluster_ip(&self) -> IpAddr {
        self.address([10, 96], [0xfd00, 0x10, 0x96], 100 + self.number)
    }

    fn external_ip(&self) -> IpAddr {
        self.address([198, 18], [0x2001, 0xdb8, 0x18], self.number)
    }

    fn ingress_ip(&self) -> IpAddr {
        self.address([198, 19], [0x2001, 0xdb8, 0x19], self.number)
    }

    fn node_port(&self) -> u16 {
        30_100 + self.number
    }

    fn address(&self, v4: [u8; 2], v6: [u16; 3], number: u16) -> IpAddr {
        if self.kind.is_ipv6() {
            return Ipv6Addr::new(v6[0], v6[1], v6[2], 0, 0, 0, 0, number).into();
        }
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(v4[0], v4[1], high, low).into()
    }

    /// Returns the address of the Service for this kind of address; a node port is at `node`.
    pub fn at(&self, way: Way, node: IpAddr) -> SocketAddr {
        match way {
            Way::ClusterIp => SocketAddr::new(self.cluster_ip(), PORT),
            Way::NodePort => SocketAddr::new(node, self.node_port()),
            Way::ExternalIp => SocketAddr::new(self.external_ip(), PORT),
            Way::LoadBalancer => SocketAddr::new(self.ingress_ip(), PORT),
        }
    }

    /// Returns the Service for an API server.
    pub fn service(&self) -> Value {
        let (protocol, family) = self.kind.words();
        let mut port =
            json!({"protocol": protocol, "port": PORT, "targetPort": self.kind.target()});
        let mut spec = self.case.service.clone();
        if spec["type"] != "ClusterIP" {
            port["nodePort"] = self.node_port().into();
        }
        if self.case.to == Way::ExternalIp {
            spec.insert("externalIPs".into(), json!([self.external_ip()]));
        }
        let ip = self.cluster_ip();
        let rest = json!({
            "ipFamilyPolicy": "SingleStack", "ipFamilies": [family],
            "clusterIP": ip, "clusterIPs": [ip], "ports": [port], "selector": self.selector(),
        });
        spec.extend(rest.as_object().cloned().unwrap_or_default());
        json!({
            "apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {"namespace": "cases", "name": self.name()},
        })
    }

    /// Returns the status that a load balancer's controller would write.
    pub fn status(&self) -> Option<Value> {
        let ingress = json!([{"ip": self.ingress_ip(), "ipMode": "VIP"}]);
        (self.case.service["type"] == "LoadBalancer")
            .then(|| json!({"loadBalancer": {"ingress": ingress}}))
    }

    /// The Service as an API server would hold it, and its slice. `endpoint` says the address of an endpoint and the
    /// name of its node.
    pub fn objects(&self, endpoint: impl Fn(Place) -> (IpAddr, String)) -> [Value; 2] {
        let mut service = self.service();
        if let Some(status) = self.status() {
            service["status"] = status;
            if service["spec"]["externalTrafficPolicy"] == "Local" {
                service["spec"]["healthCheckNodePort"] = (31_100 + self.number).into();
            }
        }
        let endpoints = self.case.endpoints.iter().map(|place| {
            let (address, node) = endpoint(*place);
            json!({
                "addresses": [address],
                "nodeName": node,
                "conditions": {"ready": true, "serving": true, "terminating": false},
            })
        });
        let (protocol, family) = self.kind.words();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "cases",
                "name": self.name(),
                "labels": {"kubernetes.io/service-name": self.name()},
            },
            "addressType": family,
            "ports": [{"protocol": protocol, "port": self.kind.target()}],
            "endpoints": endpoints.collect::<Vec<_>>(),
        });
        [service, slice]
    }

    /// The name of its Service.
    pub fn name(&self) -> String {
        let (protocol, family) = self.kind.words();
        format!("{}-{protocol}-{family}", self.case.name).to_lowercase()
    }

    /// Returns the selector, which uses labels of `tests/kind/workload.yaml`.
    fn selector(&self) -> Value {
        match self.case.endpoints[..] {
            [] => json!({"app": "nobody"}),
            [Place::Here] => json!({"app": "echo", "at": "here"}),
            [Place::Elsewhere] => json!({"app": "echo", "at": "elsewhere"}),
            _ => json!({"app": "echo"}),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Kind {
    pub fn is_ipv6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6 | Self::Sctp6)
    }

    /// Returns the protocol and the family in the words of the API.
    pub fn words(self) -> (&'static str, &'static str) {
        let protocol = match self {
            Self::Tcp4 | Self::Tcp6 => "TCP",
            Self::Udp4 | Self::Udp6 => "UDP",
            Self::Sctp4 | Self::Sctp6 => "SCTP",
        };
        (protocol, if self.is_ipv6() { "IPv6" } else { "IPv4" })
    }

    /// Returns the port of an endpoint.
    pub fn target(self) -> u16 {
        match self {
            Self::Tcp4 | Self::Tcp6 => 8080,
            Self::Udp4 | Self::Udp6 => 8081,
            Self::Sctp4 | Self::Sctp6 => 8082,
        }
    }
}

impl Place {
    /// Returns the prefix of the names of endpoints at this place.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Here => "echo-here-",
            Self::Elsewhere => "echo-elsewhere-",
        }
    }
}
