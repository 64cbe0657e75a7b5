//! EndpointSlices, reduced to the fields that determine kernel state.
//!
//! Takes a checked `discovery/v1 EndpointSlice` of address type IPv4 or IPv6. Gives plain values; every
//! endpoint's address is of the slice's family. Does not decide which endpoints are local or chosen: that
//! needs the node and the Service, and belongs to the plan.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::{Family, Protocol};
use super::name::{ServiceName, SliceName};

/// One EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The slice's namespace and name.
    pub name: SliceName,
    /// The Service that owns the slice, from the slice's namespace and its label
    /// `kubernetes.io/service-name`.
    pub service: ServiceName,
    /// The address family (`addressType`).
    pub family: Family,
    /// The ports with a name and a number, in the order of the object.
    pub ports: Vec<SlicePort>,
    /// The endpoints with a usable address, in the order of the object.
    pub endpoints: Vec<Endpoint>,
    /// The time of the change that caused this version of the slice.
    pub last_change: LastChange,
}

/// The time at which a pod or Service changed and caused the slice to be written, in nanoseconds since 1970.
/// `None` if the slice does not say. No kernel state depends on the time, so any two values compare equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastChange(pub Option<i64>);

impl PartialEq for LastChange {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LastChange {}

impl Slice {
    /// True if any endpoint has zone or node hints, so that topology may decide which endpoints are used.
    pub fn has_hints(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| !endpoint.zone_hints().is_empty() || !endpoint.node_hints().is_empty())
    }
}

/// One element of a slice's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The port's name; may be empty. Name and protocol identify the Service ports that it serves.
    pub name: Arc<str>,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port that the endpoints listen on, 1–65535.
    pub port: u16,
}

/// One element of a slice's `endpoints`, with the first of its addresses only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The endpoint's address, of the slice's family.
    pub address: IpAddr,
    /// The name of the node that the endpoint runs on (`nodeName`).
    pub node: Option<Arc<str>>,
    /// The condition `conditions.ready`; true if absent.
    pub ready: bool,
    /// The condition `conditions.serving`; true if absent.
    pub serving: bool,
    /// The condition `conditions.terminating`; false if absent.
    pub terminating: bool,
    /// The topology hints (`hints`). Shared and optional because few endpoints have any.
    pub hints: Option<Arc<Hints>>,
}

/// The zones and nodes whose traffic should go to an endpoint (KEP-2433, KEP-3015).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The zone names in `forZones`.
    pub zones: Vec<Arc<str>>,
    /// The node names in `forNodes`.
    pub nodes: Vec<Arc<str>>,
}

impl Endpoint {
    /// Returns the zones whose traffic should go to the endpoint; empty without hints.
    pub fn zone_hints(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.zones)
    }

    /// Returns the nodes whose traffic should go to the endpoint; empty without hints.
    pub fn node_hints(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.nodes)
    }
}
