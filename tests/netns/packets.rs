//! Tests packets through Services that the real binary has programmed from a folder of manifests.
//!
//! Runs `ipvs-proxy --manifests` in the namespace of `node1`. Takes clients in a pod, on the node
//! and outside the cluster, and servers in pods of both nodes. Checks which server answered, and
//! which source address it saw. Does not use the proxy's internals, only packets and the kernel's
//! tools.

mod affinity;
mod changes;
mod check;
mod drain;
mod external;
mod external_policy;
mod fixed_port;
mod hints;
mod load_balancer;
mod node_port;
mod paths;
mod policy;
mod reboot;
mod refusal;
mod restart;
mod service;
mod settings;
mod source_ranges;
mod spec;
mod table;
mod tracked;
mod world;

/// Makes a test `FUNCTION::KIND` of each function for each of the named kinds. Without names these
/// are every protocol over every family.
macro_rules! for_each_kind {
    ($($test:ident),+ $(,)?) => {
        $(crate::packets::for_each_kind! {
            $test: tcp_over_ipv4 tcp_over_ipv6 udp_over_ipv4 udp_over_ipv6 sctp_over_ipv4 sctp_over_ipv6
        })+
    };
    ($test:ident: $($kind:ident)+) => {
        mod $test {
            $(#[test]
            fn $kind() {
                super::$test(crate::packets::kind::$kind);
            })+
        }
    };
}
use for_each_kind;

/// A transport protocol over an IP family.
#[derive(Clone, Copy, Debug)]
struct Kind {
    protocol: Protocol,
    family: Family,
}

/// Every kind, by the name that its tests have.
#[expect(non_upper_case_globals, reason = "the names of tests")]
mod kind {
    use super::{Family, Kind, Protocol};

    pub(super) const tcp_over_ipv4: Kind = Kind { protocol: Protocol::Tcp, family: Family::V4 };
    pub(super) const tcp_over_ipv6: Kind = Kind { protocol: Protocol::Tcp, family: Family::V6 };
    pub(super) const udp_over_ipv4: Kind = Kind { protocol: Protocol::Udp, family: Family::V4 };
    pub(super) const udp_over_ipv6: Kind = Kind { protocol: Protocol::Udp, family: Family::V6 };
    pub(super) const sctp_over_ipv4: Kind = Kind { protocol: Protocol::Sctp, family: Family::V4 };
    pub(super) const sctp_over_ipv6: Kind = Kind { protocol: Protocol::Sctp, family: Family::V6 };
}

use crate::node::Family;
use crate::traffic::Protocol;
