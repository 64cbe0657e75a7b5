//! Counters of a virtual server or a destination, in the kernel's two widths.
//!
//! Takes a nested `IPVS_*_ATTR_STATS` or `IPVS_*_ATTR_STATS64`. Gives the counters. Rates are averages over
//! the last seconds (`net/netfilter/ipvs/ip_vs_est.c`). A counter that the kernel leaves out reads as zero.

use netlink_batch::attribute::{Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::uapi::{
    IPVS_STATS_ATTR_CONNS, IPVS_STATS_ATTR_CPS, IPVS_STATS_ATTR_INBPS, IPVS_STATS_ATTR_INBYTES,
    IPVS_STATS_ATTR_INPKTS, IPVS_STATS_ATTR_INPPS, IPVS_STATS_ATTR_OUTBPS,
    IPVS_STATS_ATTR_OUTBYTES, IPVS_STATS_ATTR_OUTPKTS, IPVS_STATS_ATTR_OUTPPS,
};

/// Defines one kind of counters: the struct, its reader and its writer, from one table of fields.
macro_rules! counters {
    (
        $(#[$struct_doc:meta])* $name:ident {
            $($(#[$doc:meta])* $field:ident: $ty:ident = $kind:ident,)*
        }
    ) => {
        $(#[$struct_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $ty,)*
        }

        impl $name {
            pub(crate) fn read(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
                let mut stats = $name::default();
                for attribute in attributes {
                    let attribute = attribute?;
                    match attribute.kind {
                        $($kind => stats.$field = attribute.$ty().context(stringify!($kind))?,)*
                        _ => {} // Padding, or a counter of a later kernel.
                    }
                }
                Ok(stats)
            }

            pub(crate) fn write(&self, writer: &mut Writer<'_>) {
                $(writer.$ty($kind, self.$field);)*
            }
        }
    };
}

counters! {
    /// The counters that every kernel has: 32 bits that wrap, except for bytes.
    Stats {
        /// The number of scheduled connections.
        connections: u32 = IPVS_STATS_ATTR_CONNS,
        /// The number of incoming packets.
        packets_in: u32 = IPVS_STATS_ATTR_INPKTS,
        /// The number of outgoing packets. Zero if replies do not pass this host (direct routing, tunnels).
        packets_out: u32 = IPVS_STATS_ATTR_OUTPKTS,
        /// The number of incoming bytes.
        bytes_in: u64 = IPVS_STATS_ATTR_INBYTES,
        /// The number of outgoing bytes.
        bytes_out: u64 = IPVS_STATS_ATTR_OUTBYTES,
        /// Connections per second.
        connection_rate: u32 = IPVS_STATS_ATTR_CPS,
        /// Incoming packets per second.
        packet_rate_in: u32 = IPVS_STATS_ATTR_INPPS,
        /// Outgoing packets per second.
        packet_rate_out: u32 = IPVS_STATS_ATTR_OUTPPS,
        /// Incoming bytes per second.
        byte_rate_in: u32 = IPVS_STATS_ATTR_INBPS,
        /// Outgoing bytes per second.
        byte_rate_out: u32 = IPVS_STATS_ATTR_OUTBPS,
    }
}

counters! {
    /// The counters of Linux 4.1 and later: 64 bits each.
    Stats64 {
        /// The number of scheduled connections.
        connections: u64 = IPVS_STATS_ATTR_CONNS,
        /// The number of incoming packets.
        packets_in: u64 = IPVS_STATS_ATTR_INPKTS,
        /// The number of outgoing packets. Zero if replies do not pass this host (direct routing, tunnels).
        packets_out: u64 = IPVS_STATS_ATTR_OUTPKTS,
        /// The number of incoming bytes.
        bytes_in: u64 = IPVS_STATS_ATTR_INBYTES,
        /// The number of outgoing bytes.
        bytes_out: u64 = IPVS_STATS_ATTR_OUTBYTES,
        /// Connections per second.
        connection_rate: u64 = IPVS_STATS_ATTR_CPS,
        /// Incoming packets per second.
        packet_rate_in: u64 = IPVS_STATS_ATTR_INPPS,
        /// Outgoing packets per second.
        packet_rate_out: u64 = IPVS_STATS_ATTR_OUTPPS,
        /// Incoming bytes per second.
        byte_rate_in: u64 = IPVS_STATS_ATTR_INBPS,
        /// Outgoing bytes per second.
        byte_rate_out: u64 = IPVS_STATS_ATTR_OUTBPS,
    }
}
