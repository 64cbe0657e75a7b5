//! Checks `conntrack` of the configuration file.
//!
//! Takes the settings of the file and the flags. Returns sizes and times within their bounds. Does not compute the
//! table size for this node, which depends on its CPUs.

use super::Check;
use crate::config::{Conntrack, defaults, file};

impl Check {
    pub(super) fn conntrack(&mut self, raw: &file::Conntrack) -> Conntrack {
        const AT: &str = "KubeProxyConntrackConfiguration";
        let path = |field| format!("{AT}.{field}");
        Conntrack {
            max_per_core: self.int(
                &path("MaxPerCore"),
                raw.max_per_core.unwrap_or(defaults::CONNTRACK_MAX_PER_CORE),
                (0, i32::MAX),
            ),
            min: self.int(&path("Min"), raw.min.unwrap_or(defaults::CONNTRACK_MIN), (0, i32::MAX)),
            tcp_established_timeout: self.time(
                &path("TCPEstablishedTimeout"),
                raw.tcp_established_timeout,
                defaults::TCP_ESTABLISHED,
            ),
            tcp_close_wait_timeout: self.time(
                &path("TCPCloseWaitTimeout"),
                raw.tcp_close_wait_timeout,
                defaults::TCP_CLOSE_WAIT,
            ),
            tcp_be_liberal: raw.tcp_be_liberal.unwrap_or_default(),
            udp_timeout: self.time(&path("UDPTimeout"), raw.udp_timeout, 0),
            udp_stream_timeout: self.time(&path("UDPStreamTimeout"), raw.udp_stream_timeout, 0),
        }
    }
}
