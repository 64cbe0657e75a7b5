//! Checks `conntrack` of the configuration file.
//!
//! Takes the settings of the file and the flags. Returns sizes and times within their bounds. Does not compute the
//! table size for this node, which depends on its CPUs.

use std::time::Duration;

use super::Check;
use crate::config::document;

/// Limits of connection tracking (`conntrack`); 0 keeps the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections per CPU.
    pub max_per_core: u32,
    /// The least number of connections, unless `max_per_core` is 0.
    pub min: u32,
    /// Idle timeout of established TCP connections.
    pub tcp_established_timeout: Duration,
    /// Timeout of TCP connections in CLOSE_WAIT.
    pub tcp_close_wait_timeout: Duration,
    /// True if the kernel accepts packets outside the TCP window.
    pub tcp_be_liberal: bool,
    /// Timeout of UDP flows without an answer.
    pub udp_timeout: Duration,
    /// Timeout of UDP flows with answers.
    pub udp_stream_timeout: Duration,
}

impl Check {
    pub(super) fn conntrack(&mut self, raw: &document::Conntrack) -> Conntrack {
        const AT: &str = "KubeProxyConntrackConfiguration";
        let path = |field| format!("{AT}.{field}");
        let mut time = |field, value| self.time(&path(field), value);
        Conntrack {
            tcp_established_timeout: time("TCPEstablishedTimeout", raw.tcp_established_timeout),
            tcp_close_wait_timeout: time("TCPCloseWaitTimeout", raw.tcp_close_wait_timeout),
            udp_timeout: time("UDPTimeout", raw.udp_timeout),
            udp_stream_timeout: time("UDPStreamTimeout", raw.udp_stream_timeout),
            tcp_be_liberal: raw.tcp_be_liberal,
            max_per_core: self.int(&path("MaxPerCore"), raw.max_per_core, (0, i32::MAX)),
            min: self.int(&path("Min"), raw.min, (0, i32::MAX)),
        }
    }
}
