//! Makes the cluster that is measured: N Services with M endpoints each, as an API server writes
//! them.
//!
//! Takes a [`Shape`]. Returns objects as JSON with all fields that real ones have, so that readers
//! have to skip what they do not use. No two endpoints have the same address. One pod in fifty is
//! on this node.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The number of Services, and of the endpoints of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) services: u32,
    pub(crate) endpoints: u32,
}

impl std::str::FromStr for Shape {
    type Err = String;

    /// Parses a text such as `1000x10`.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('x').and_then(|(services, endpoints)| {
            Some(Self { services: services.parse().ok()?, endpoints: endpoints.parse().ok()? })
        });
        numbers.ok_or_else(|| format!("{text} is not SERVICESxENDPOINTS"))
    }
}

/// The name of this node.
pub(crate) const NODE: &str = "node1";
/// The port of each Service and the port of each endpoint.
pub(crate) const PORTS: (u16, u16) = (80, 8080);
/// The largest number of endpoints in an EndpointSlice, as the controller fills it.
const SLICE: u32 = 100;
/// One pod of this many is on this node.
const NODES: u32 = 50;

impl Shape {
    pub(crate) fn destinations(self) -> u32 {
        self.services * self.endpoints
    }

    pub(crate) fn slices(self) -> u32 {
        self.endpoints.div_ceil(SLICE)
    }

    /// Returns the pods of a Service.
    pub(crate) fn pods(self, service: u32) -> impl Iterator<Item = u32> {
        service * self.endpoints..(service + 1) * self.endpoints
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.services, self.endpoints)
    }
}

pub(crate) fn cluster_ip(service: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 96, 0, 1)) + service).into()
}

pub(crate) fn pod_ip(pod: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 128, 0, 1)) + pod).into()
}

/// Returns the address of the pod that replaces another one.
pub(crate) fn successor(pod: u32, generation: u32) -> Ipv4Addr {
    (u32::from(pod_ip(pod)) + generation * (1 << 20)).into()
}

pub(crate) fn is_local(pod: u32) -> bool {
    pod % NODES == 1
}

fn node_name(pod: u32) -> String {
    if is_local(pod) { NODE.to_owned() } else { format!("node-{:03}", 100 + pod % NODES) }
}

pub(crate) fn service(number: u32) -> String {
    let (ip, uid) = (cluster_ip(number), uid(number));
    format!(
        r#"{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"svc-{number}","namespace":"bench","uid":"{uid}","resourceVersion":"{}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"svc-{number}","app.kubernetes.io/managed-by":"Helm"}},"annotations":{{"meta.helm.sh/release-name":"svc-{number}","meta.helm.sh/release-namespace":"bench"}},"managedFields":[{{"manager":"helm","operation":"Update","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:meta.helm.sh/release-name":{{}}}},"f:labels":{{".":{{}},"f:app":{{}}}}}},"f:spec":{{"f:internalTrafficPolicy":{{}},"f:ports":{{".":{{}},"k:{{\"port\":80,\"protocol\":\"TCP\"}}":{{".":{{}},"f:name":{{}},"f:port":{{}},"f:protocol":{{}},"f:targetPort":{{}}}}}},"f:selector":{{}},"f:sessionAffinity":{{}},"f:type":{{}}}}}}}}]}},"spec":{{"ports":[{{"name":"http","protocol":"TCP","port":{},"targetPort":{}}}],"selector":{{"app":"svc-{number}"}},"clusterIP":"{ip}","clusterIPs":["{ip}"],"type":"ClusterIP","sessionAffinity":"None","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"}},"status":{{"loadBalancer":{{}}}}}}"#,
        1000 + number,
        PORTS.0,
        PORTS.1,
    )
}

/// Returns a slice of a Service whose pods were each replaced `generation` times.
pub(crate) fn slice(
    shape: Shape,
    service: u32,
    part: u32,
    generation: impl Fn(u32) -> u32,
) -> String {
    let mut text = format!(
        r#"{{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{{"name":"svc-{service}-{part}","generateName":"svc-{service}-","namespace":"bench","uid":"{}","resourceVersion":"{}","generation":4,"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"svc-{service}","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"svc-{service}"}},"ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"svc-{service}","uid":"{}","controller":true,"blockOwnerDeletion":true}}],"managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"discovery.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{{"f:addressType":{{}},"f:endpoints":{{}},"f:metadata":{{"f:generateName":{{}},"f:labels":{{".":{{}},"f:kubernetes.io/service-name":{{}}}}}},"f:ports":{{}}}}}}]}},"addressType":"IPv4","endpoints":["#,
        uid(service * 64 + part + (1 << 24)),
        200_000 + service * 64 + part,
        uid(service),
    );
    let pods = shape.pods(service).skip((part * SLICE) as usize).take(SLICE as usize);
    for (at, pod) in pods.enumerate() {
        let (ip, node, uid) =
            (successor(pod, generation(pod)), node_name(pod), uid(pod + (1 << 28)));
        let comma = if at == 0 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"addresses":["{ip}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"targetRef":{{"kind":"Pod","namespace":"bench","name":"svc-{service}-7c9d8b6f5-{pod}","uid":"{uid}"}},"nodeName":"{node}","zone":"zone-a"}}"#,
        )
        .unwrap();
    }
    write!(text, r#"],"ports":[{{"name":"http","protocol":"TCP","port":{}}}]}}"#, PORTS.1).unwrap();
    text
}

pub(crate) fn node() -> String {
    format!(
        r#"{{"kind":"Node","apiVersion":"v1","metadata":{{"name":"{NODE}","resourceVersion":"7"}},"spec":{{"podCIDR":"10.128.0.0/24"}},"status":{{"addresses":[{{"type":"InternalIP","address":"192.0.2.11"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
    )
}

fn uid(number: u32) -> String {
    format!("{number:08x}-0000-4000-8000-{:012x}", u64::from(number) * 7919)
}
