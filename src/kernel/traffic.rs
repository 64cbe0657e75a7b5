//! What virtual servers have counted, through `ipvs-netlink`.
//!
//! In: which virtual servers. Out: their counters and connections; one that is not there is left out.
//! One pass over the whole table, however many are asked for. Never: a change; a socket that others use;
//! one left out that stands.

use std::collections::BTreeSet;

use ipvs_netlink::Client;
use proxier::apply::Cause;
use proxier::plan::VirtualServerKey;

use super::servers::our_key;
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
        let mut readings = Vec::with_capacity(of.len());
        for found in self.client.counted_table().map_err(Cause::new)? {
            let Some(server) = our_key(found.service.key).filter(|key| of.contains(key)) else {
                continue;
            };
            let (mut active, mut inactive) = (0, 0);
            for destination in &found.destinations {
                active += u64::from(destination.active_connections);
                inactive += u64::from(destination.inactive_connections);
            }
            let counters = counters(&found.service);
            readings.push(Reading { server, counters, active, inactive });
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
