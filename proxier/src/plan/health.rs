//! Health checks of Services at their health-check node ports.
//!
//! Contains the port and, for each family, the number of the Service's endpoint addresses on this node. Also
//! says on which addresses health checks are answered. Does not open a socket; the health-check servers of
//! `ipvs-proxy` answer.
//!
//! Source: spec 10.2.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::PerFamily;

/// The health check of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The health-check node port (`spec.healthCheckNodePort`), 1–65535.
    pub port: u16,
    /// The number of distinct addresses among the ready endpoints on this node, over all ports of the
    /// Service. `None` in a family in which the Service does not exist.
    pub local_endpoints: PerFamily<Option<usize>>,
}

/// The addresses on which health checks of one family are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckAddresses {
    /// Every address.
    Every,
    /// These addresses, of which there may be none.
    These(BTreeSet<IpAddr>),
}
