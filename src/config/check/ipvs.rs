//! Checks `ipvs`, and the limits of draining.
//!
//! Takes the settings of files and flags. Returns checked values, or adds problems. Does not ask the kernel which
//! schedulers there are.

use std::time::Duration;

use proxier::model::Net;
use proxier::plan::DrainLimits;

use super::Check;
use crate::config::document::{self, ExtensionConfig};

/// Settings of the virtual servers (`ipvs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipvs {
    /// The kernel's name of the scheduler; never empty.
    pub scheduler: String,
    /// Virtual servers with addresses in these networks belong to other programs.
    pub exclude_cidrs: Vec<Net>,
    /// True if the proxy sets `arp_ignore` and `arp_announce`, so that the node does not announce service addresses.
    pub strict_arp: bool,
    /// Idle timeout of IPVS TCP connections in seconds; 0 keeps the kernel's.
    pub tcp_timeout: u32,
    /// Timeout of IPVS TCP connections after a FIN in seconds; 0 keeps the kernel's.
    pub tcp_fin_timeout: u32,
    /// Idle timeout of IPVS UDP connections in seconds; 0 keeps the kernel's.
    pub udp_timeout: u32,
    /// Longest time between two full comparisons with the kernel; more than zero.
    pub sync_period: Duration,
    /// Shortest time between two rounds; at most `sync_period`.
    pub min_sync_period: Duration,
}

impl Check {
    pub(super) fn ipvs(&mut self, raw: &document::Ipvs) -> Ipvs {
        const AT: &str = "KubeProxyIPVSConfiguration";
        let at = format!("{AT}.SyncPeriod");
        let sync_period = self.period(&at, raw.sync_period);
        let min_sync_period = self.time(&format!("{AT}.MinSyncPeriod"), raw.min_sync_period);
        if min_sync_period > sync_period {
            self.refuse(&at, raw.sync_period, "must not be less than MinSyncPeriod");
        }
        Ipvs {
            scheduler: match raw.scheduler.as_str() {
                "" => "rr".to_owned(),
                name => name.to_owned(),
            },
            exclude_cidrs: self.nets(
                &format!("{AT}.ExcludeCidrs"),
                raw.exclude_cidrs.as_deref().unwrap_or_default(),
            ),
            strict_arp: raw.strict_arp,
            tcp_timeout: self.seconds(&format!("{AT}.TCPTimeout"), raw.tcp_timeout),
            tcp_fin_timeout: self.seconds(&format!("{AT}.TCPFinTimeout"), raw.tcp_fin_timeout),
            udp_timeout: self.seconds(&format!("{AT}.UDPTimeout"), raw.udp_timeout),
            sync_period,
            min_sync_period,
        }
    }

    pub(super) fn drain(&mut self, own: &ExtensionConfig) -> DrainLimits {
        let mut limit = |field: &str, value| {
            let time = self.time(&format!("{}.{field}", ExtensionConfig::KIND), value);
            (!time.is_zero()).then_some(time)
        };
        DrainLimits {
            usual: limit("gracefulTerminationTimeout", own.graceful_termination_timeout),
            dead_node: limit(
                "unreachableNodeTerminationTimeout",
                own.unreachable_node_termination_timeout,
            ),
        }
    }
}
