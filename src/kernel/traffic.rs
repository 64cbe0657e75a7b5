//! What virtual servers have counted, through `ipvs-netlink`.
//!
//! In: which virtual servers. Out: their counters and connections; one that is not there is left out.
//! One dump of all of them, and one of the destinations of each that is asked for. Never: a change; a
//! socket that others use.

use std::collections::BTreeSet;

use ipvs_netlink::Client;
use proxier::apply::Cause;
use proxier::plan::VirtualServerKey;

use super::servers::{our_key, service_key};
use crate::traffic::{Counters, Reading};

/// A connection to IPVS that only reads.
pub struct Reader {
    client: Client,
}

impl Reader {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// If there is no such socket to be had.
    pub fn open() -> Result<Self, Cause> {
        Ok(Self { client: Client::open().map_err(Cause::new)? })
    }

    /// Reads these virtual servers.
    ///
    /// # Errors
    /// If the kernel does not answer as it should.
    pub fn read(&mut self, of: &BTreeSet<VirtualServerKey>) -> Result<Vec<Reading>, Cause> {
        let services = self.client.services().map_err(Cause::new)?;
        let mut readings = Vec::with_capacity(of.len());
        for service in services {
            let Some(server) = our_key(service.key).filter(|key| of.contains(key)) else {
                continue;
            };
            let (mut active, mut inactive) = (0, 0);
            let destinations = self.client.destinations_met(service_key(&server));
            for found in destinations.map_err(Cause::new)? {
                let connections = found.connections.unwrap_or_default();
                active += u64::from(connections.active);
                inactive += u64::from(connections.inactive);
            }
            readings.push(Reading { server, counters: counters(&service), active, inactive });
        }
        Ok(readings)
    }
}

/// Kernels before 4.1 count in 32 bits only.
fn counters(service: &ipvs_netlink::Service) -> Counters {
    if let Some(stats) = &service.stats64 {
        return Counters {
            connections: stats.connections,
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        };
    }
    service.stats.as_ref().map_or_else(Counters::default, |stats| Counters {
        connections: stats.connections.into(),
        packets_in: stats.packets_in.into(),
        packets_out: stats.packets_out.into(),
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
    })
}
