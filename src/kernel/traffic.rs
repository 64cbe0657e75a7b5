//! Reads the counters of virtual servers through `ipvs-netlink`.
//!
//! Takes the virtual servers to read. Returns their counters and connections; those that do not exist are
//! absent. Reads the whole table in one pass, however many are asked for. Does not change anything, and has
//! its own socket.

use std::collections::BTreeSet;

use ipvs_netlink::Client;
use proxier::apply::Cause;
use proxier::plan::VirtualServerKey;

use super::cause::cause;
use super::servers::core_key;
use crate::traffic::{Counters, Reading};

/// A connection to IPVS that only reads.
pub struct Reader {
    client: Client,
}

impl Reader {
    /// Opens a connection in the network namespace of this thread.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn open() -> Result<Self, Cause> {
        Ok(Self { client: Client::open().map_err(cause)? })
    }

    /// Reads the counters of these virtual servers.
    ///
    /// # Errors
    /// Fails if the table cannot be read in whole.
    pub fn read(&mut self, of: &BTreeSet<VirtualServerKey>) -> Result<Vec<Reading>, Cause> {
        let mut readings = Vec::with_capacity(of.len());
        for found in self.client.counted_table().map_err(cause)? {
            let Some(server) = core_key(found.service.key).filter(|key| of.contains(key)) else {
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

/// Converts the counters of a virtual server. Kernels before 4.1 have only 32-bit ones.
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
