//! EndpointSlices, reduced to what decides kernel state.
//!
//! In: a checked `discovery/v1 EndpointSlice` of address type IPv4 or IPv6. Out: plain values;
//! every endpoint's address is of the slice's family. Never: locality or choice of endpoints,
//! which need the node and the Service and belong to the plan.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Family, Protocol};
use super::name::{ServiceName, SliceName};

/// One EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Namespace and name of the slice.
    pub name: SliceName,
    /// The Service it belongs to: its namespace and its label `kubernetes.io/service-name`.
    pub service: ServiceName,
    /// `addressType`.
    pub family: Family,
    /// Ports with a name and a number, in the order of the object.
    pub ports: Vec<SlicePort>,
    /// Endpoints with a usable address, in the order of the object.
    pub endpoints: Vec<Endpoint>,
    /// When what made it change has happened.
    pub last_change: LastChange,
}

/// When the pod or Service changed that made a slice be written, in nanoseconds since 1970, if the
/// slice says so. No state of the kernel depends on it: slices that differ in nothing else are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastChange(pub Option<i64>);

impl PartialEq for LastChange {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LastChange {}

impl Slice {
    /// True if topology may decide which of its endpoints are used.
    pub fn has_hints(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| !endpoint.zone_hints().is_empty() || !endpoint.node_hints().is_empty())
    }
}

/// One element of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name; may be empty. With the protocol it says which Service port is served.
    pub name: Arc<str>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port the endpoints listen on, 1–65535.
    pub port: u16,
}

/// One element of `endpoints`; only the first of its addresses counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, of the slice's family.
    pub address: IpAddr,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
    /// `conditions.serving`; absent means true.
    pub serving: bool,
    /// `conditions.terminating`; absent means false.
    pub terminating: bool,
    /// `hints`; few endpoints have any.
    pub hints: Option<Arc<Hints>>,
}

/// Where an endpoint should be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `forZones[].name`.
    pub zones: Vec<Arc<str>>,
    /// `forNodes[].name`.
    pub nodes: Vec<Arc<str>>,
}

impl Endpoint {
    /// The zones in which it should be used; none if it does not say.
    pub fn zone_hints(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.zones)
    }

    /// The nodes on which it should be used; none if it does not say.
    pub fn node_hints(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.nodes)
    }
}
