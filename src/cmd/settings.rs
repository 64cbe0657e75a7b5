//! The configuration in the core's words.
//!
//! In: a checked [`Config`] and what the node can do. Out: the planner's settings, the kernel's,
//! and the periods. Never: a default; those are the configuration's.

use std::time::Duration;

use ipvs_netlink::Timeouts;
use proxier::model::PerFamily;
use proxier::plan::{self, LocalDetection, Settings};

use crate::config::{Config, DetectLocal, INTERFACE_NAME_MAX, NodePortAddresses, gates};
use crate::kernel::{node_setup, sysctl};
use crate::sync::pace::Periods;

/// What the plan needs to know.
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
        // Found out when the kernel is prepared.
        missing: PerFamily::default(),
        drain: config.drain,
    }
}

/// Whether any traffic can count as coming from pods of this node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locality {
    Possible,
    /// What is to be detected does not exist.
    Nothing,
}

/// `iptables` refuses a name that no interface can have, and with it every rule, so such a name is in none.
fn local_detection(wanted: &DetectLocal) -> (LocalDetection, Locality) {
    let detection = match wanted {
        DetectLocal::ClusterCidr(nets) => LocalDetection::ClusterCidr(nets.clone()),
        DetectLocal::NodeCidr => LocalDetection::NodeCidr,
        DetectLocal::BridgeInterface(name) | DetectLocal::InterfaceNamePrefix(name)
            if name.len() > INTERFACE_NAME_MAX =>
        {
            return (LocalDetection::default(), Locality::Nothing);
        }
        // The longest names begin with nothing but themselves, and `NAME+` would be too long for `iptables`.
        DetectLocal::InterfaceNamePrefix(name) if name.len() == INTERFACE_NAME_MAX => {
            LocalDetection::BridgeInterface(name.clone())
        }
        DetectLocal::BridgeInterface(name) => LocalDetection::BridgeInterface(name.clone()),
        DetectLocal::InterfaceNamePrefix(name) => LocalDetection::InterfaceNamePrefix(name.clone()),
    };
    (detection, Locality::Possible)
}

/// What the kernel needs before the first virtual server.
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

/// Without the Node's addresses `primary` is every address: worth a wait, as upstream's.
pub(super) fn wait_for_node(config: &Config) -> Duration {
    match config.node_port_addresses {
        NodePortAddresses::Primary => Duration::from_secs(30),
        NodePortAddresses::Nets(_) => Duration::ZERO,
    }
}

/// How often rounds may and must be.
pub(super) fn periods(config: &Config) -> Periods {
    Periods { min: config.ipvs.min_sync_period, max: config.ipvs.sync_period }
}

/// The kernel counts whole seconds; what is left over is cut off, as upstream does.
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
