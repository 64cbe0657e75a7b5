//! Counters of a virtual server or a destination, in the kernel's two widths.
//!
//! In: a nested `IPVS_*_ATTR_STATS` or `IPVS_*_ATTR_STATS64`. Out: the counters. Rates are averages
//! over the last seconds (`net/netfilter/ipvs/ip_vs_est.c`). A counter that the kernel leaves out
//! reads as zero.

use netlink_batch::attribute::{Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::uapi::{
    IPVS_STATS_ATTR_CONNS, IPVS_STATS_ATTR_CPS, IPVS_STATS_ATTR_INBPS, IPVS_STATS_ATTR_INBYTES,
    IPVS_STATS_ATTR_INPKTS, IPVS_STATS_ATTR_INPPS, IPVS_STATS_ATTR_OUTBPS,
    IPVS_STATS_ATTR_OUTBYTES, IPVS_STATS_ATTR_OUTPKTS, IPVS_STATS_ATTR_OUTPPS,
};

/// One kind of counters: the struct, its reader and its writer, from one table of fields.
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
    /// Counters as every kernel has them: 32 bits that wrap, but for bytes.
    Stats {
        /// Connections scheduled.
        connections: u32 = IPVS_STATS_ATTR_CONNS,
        /// Packets in.
        packets_in: u32 = IPVS_STATS_ATTR_INPKTS,
        /// Packets out. Zero where replies do not pass here (direct routing, tunnels).
        packets_out: u32 = IPVS_STATS_ATTR_OUTPKTS,
        /// Bytes in.
        bytes_in: u64 = IPVS_STATS_ATTR_INBYTES,
        /// Bytes out.
        bytes_out: u64 = IPVS_STATS_ATTR_OUTBYTES,
        /// Connections a second.
        connection_rate: u32 = IPVS_STATS_ATTR_CPS,
        /// Packets in a second.
        packet_rate_in: u32 = IPVS_STATS_ATTR_INPPS,
        /// Packets out a second.
        packet_rate_out: u32 = IPVS_STATS_ATTR_OUTPPS,
        /// Bytes in a second.
        byte_rate_in: u32 = IPVS_STATS_ATTR_INBPS,
        /// Bytes out a second.
        byte_rate_out: u32 = IPVS_STATS_ATTR_OUTBPS,
    }
}

counters! {
    /// Counters of Linux 4.1 and later: 64 bits each.
    Stats64 {
        /// Connections scheduled.
        connections: u64 = IPVS_STATS_ATTR_CONNS,
        /// Packets in.
        packets_in: u64 = IPVS_STATS_ATTR_INPKTS,
        /// Packets out. Zero where replies do not pass here (direct routing, tunnels).
        packets_out: u64 = IPVS_STATS_ATTR_OUTPKTS,
        /// Bytes in.
        bytes_in: u64 = IPVS_STATS_ATTR_INBYTES,
        /// Bytes out.
        bytes_out: u64 = IPVS_STATS_ATTR_OUTBYTES,
        /// Connections a second.
        connection_rate: u64 = IPVS_STATS_ATTR_CPS,
        /// Packets in a second.
        packet_rate_in: u64 = IPVS_STATS_ATTR_INPPS,
        /// Packets out a second.
        packet_rate_out: u64 = IPVS_STATS_ATTR_OUTPPS,
        /// Bytes in a second.
        byte_rate_in: u64 = IPVS_STATS_ATTR_INBPS,
        /// Bytes out a second.
        byte_rate_out: u64 = IPVS_STATS_ATTR_OUTBPS,
    }
}
