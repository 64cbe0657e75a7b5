//! Translates the configuration into the settings of the core and of the kernel.
//!
//! Takes a checked [`Config`] and the node's capabilities. Returns the settings of the plan and of the kernel, and the
//! periods of rounds. Does not apply defaults, which the configuration does.

use std::time::Duration;

use ipvs_netlink::Timeouts;
use proxier::model::PerFamily;
use proxier::plan::{self, LocalDetection, Settings};

use crate::config::{Config, DetectLocal, INTERFACE_NAME_MAX, NodePortAddresses, gates};
use crate::kernel::{node_setup, sysctl};
use crate::sync::pace::Periods;

/// Returns the settings of the plan.
pub(super) fn planning(config: &Config, families: PerFamily<bool>, random_fully: bool) -> Settings {
    let (local_detection, locality) = local_detection(&config.detect_local);
    Settings {
        node_name: config.node_name.clone(),
        families,
        scheduler: config.ipvs.scheduler.as_str().into(),
        masquerade_bit: config.masquerade_bit,
        masquerade_all: config.masquerade_all || locality == Locality::Nothing,
        local_detection,
        random_fully,
        exclude_nets: config.ipvs.exclude_cidrs.clone(),
        node_ports: match &config.node_port_addresses {
            NodePortAddresses::Primary => plan::NodePortAddresses::Primary,
            NodePortAddresses::Nets(nets) => plan::NodePortAddresses::In(nets.clone()),
        },
        bind_address: Some(config.serving.bind_address).filter(|ip| !ip.is_unspecified()),
        external_ips: config.gates.is_on(gates::EXTERNAL_IPS),
        ip_mode_proxy: config.ip_mode_proxy.clone(),
        policy: config.policy,
        // Known only after the kernel has been prepared.
        missing: PerFamily::default(),
        drain: config.drain,
    }
}

/// Tells if any traffic can count as traffic from this node's pods.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locality {
    Possible,
    /// No interface can have the configured name.
    Nothing,
}

/// Returns the detection of local traffic. Drops a name that is too long for an interface: `iptables` would refuse the
/// name, and every other rule with it.
fn local_detection(wanted: &DetectLocal) -> (LocalDetection, Locality) {
    let detection = match wanted {
        DetectLocal::ClusterCidr(nets) => LocalDetection::ClusterCidr(nets.clone()),
        DetectLocal::NodeCidr => LocalDetection::NodeCidr,
        DetectLocal::BridgeInterface(name) | DetectLocal::InterfaceNamePrefix(name)
            if name.len() > INTERFACE_NAME_MAX =>
        {
            return (LocalDetection::default(), Locality::Nothing);
        }
        // A prefix of full length matches only itself, and `NAME+` would be too long for `iptables`.
        DetectLocal::InterfaceNamePrefix(name) if name.len() == INTERFACE_NAME_MAX => {
            LocalDetection::BridgeInterface(name.clone())
        }
        DetectLocal::BridgeInterface(name) => LocalDetection::BridgeInterface(name.clone()),
        DetectLocal::InterfaceNamePrefix(name) => LocalDetection::InterfaceNamePrefix(name.clone()),
    };
    (detection, Locality::Possible)
}

/// Returns what the kernel needs before the first virtual server.
pub(super) fn node_setup(config: &Config) -> node_setup::NodeSetup {
    let conntrack = &config.conntrack;
    node_setup::NodeSetup {
        scheduler: config.ipvs.scheduler.clone(),
        timeouts: Timeouts {
            tcp: config.ipvs.tcp_timeout,
            tcp_fin: config.ipvs.tcp_fin_timeout,
            udp: config.ipvs.udp_timeout,
        },
        sysctls: sysctl::Wanted {
            strict_arp: config.ipvs.strict_arp,
            conntrack_max: sysctl::conntrack_max(
                conntrack.max_per_core.into(),
                conntrack.min.into(),
                sysctl::online_cores(),
            ),
            tcp_established: seconds(conntrack.tcp_established_timeout),
            tcp_close_wait: seconds(conntrack.tcp_close_wait_timeout),
            tcp_be_liberal: conntrack.tcp_be_liberal,
            udp: seconds(conntrack.udp_timeout),
            udp_stream: seconds(conntrack.udp_stream_timeout),
        },
    }
}

/// The longest wait for the Node. Until it is known `primary` means every address, so kube-proxy waits too.
pub(super) fn wait_for_node(config: &Config) -> Duration {
    match config.node_port_addresses {
        NodePortAddresses::Primary => Duration::from_secs(30),
        NodePortAddresses::Nets(_) => Duration::ZERO,
    }
}

/// Returns the shortest and longest time between rounds.
pub(super) fn periods(config: &Config) -> Periods {
    Periods { min: config.ipvs.min_sync_period, max: config.ipvs.sync_period }
}

/// Whole seconds, as the kernel counts them. The rest is cut off, as in kube-proxy.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

#[cfg(test)]
mod tests {
    use super::{DetectLocal, LocalDetection, Locality, local_detection};

    #[test]
    fn no_rule_has_a_name_that_iptables_refuses() {
        let bridge = |name: &str| local_detection(&DetectLocal::BridgeInterface(name.to_owned()));
        let prefix =
            |name: &str| local_detection(&DetectLocal::InterfaceNamePrefix(name.to_owned()));
        let (longest, too_long) = ("fifteen-bytes-x", "sixteen-bytes-xy");
        let by_name = LocalDetection::BridgeInterface(longest.to_owned());
        assert!(matches!(bridge(longest), (found, Locality::Possible) if found == by_name));
        assert!(matches!(prefix(longest), (found, Locality::Possible) if found == by_name));
        let by_prefix = LocalDetection::InterfaceNamePrefix("veth".to_owned());
        assert!(matches!(prefix("veth"), (found, Locality::Possible) if found == by_prefix));
        for found in [bridge(too_long), prefix(too_long)] {
            assert!(matches!(found, (LocalDetection::ClusterCidr(_), Locality::Nothing)));
        }
    }
}
