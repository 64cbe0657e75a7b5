//! Which objects in the kernel are ours to change.
//!
//! In: an observed key and the settings. Out: yes or no. Never: state; ownership follows from what
//! an object is, so that a restart owns exactly what the process before it owned.
//!
//! Sources: spec 3.7 and 3.8.

use std::net::IpAddr;

use crate::model::Family;
use crate::plan::{Settings, VirtualServerKey};

/// Every virtual server of an enabled family is ours, unless its address is excluded.
pub(super) fn is_our_server(key: &VirtualServerKey, settings: &Settings) -> bool {
    *settings.families.of(key.family())
        && !settings.exclude_nets.iter().any(|net| net.contains(&key.address))
}

/// Every address on the dummy device is ours, but for loopback and IPv6 link-local ones.
pub(super) fn is_our_address(address: &IpAddr, settings: &Settings) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    *settings.families.of(Family::of(*address)) && !special
}
