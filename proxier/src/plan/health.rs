//! Health-check node ports: which Services have one, and what they answer.
//!
//! In: a Service with its slices. Out: the port and, for each family, on how many addresses of this
//! node it is served. Never: a socket; who asks is answered by the shell.
//!
//! Source: spec 10.2.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::PerFamily;

/// The health check of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`, 1–65535.
    pub port: u16,
    /// In each family in which the Service exists: the number of distinct addresses among its
    /// ready endpoints on this node, over all its ports.
    pub local_endpoints: PerFamily<Option<usize>>,
}

/// Where health checks of a family are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckAddresses {
    /// On every address.
    Every,
    /// On these, which may be none.
    These(BTreeSet<IpAddr>),
}
