//! The complete Linux IPVS generic-netlink family: virtual servers, destinations, timeouts, sync daemons.
