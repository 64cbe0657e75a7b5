//! Constants of the kernel's connection tracking interface, with the kernel's names.
//!
//! Source: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_tuple_common.h` and
//! `include/uapi/linux/netfilter/nfnetlink.h`. Commands are the low byte of `nlmsg_type`, the subsystem the
//! high one. The comments list the gaps: numbers that exist and that this crate neither writes nor reads.

/// Number of the subsystem connection tracking, which is the high byte of `nlmsg_type`.
pub const NFNL_SUBSYS_CTNETLINK: u16 = 1;
/// Version of the header behind the netlink header (`struct nfgenmsg`).
pub const NFNETLINK_V0: u8 = 0;

/// A new or existing flow, in answers.
pub const IPCTNL_MSG_CT_NEW: u16 = 0;
/// Read flows.
pub const IPCTNL_MSG_CT_GET: u16 = 1;
/// Delete a flow, or all flows. This crate always identifies one.
pub const IPCTNL_MSG_CT_DELETE: u16 = 2;
// 3 GET_CTRZERO, 4 GET_STATS_CPU, 5 GET_STATS, 6 GET_DYING, 7 GET_UNCONFIRMED

/// Tuple of the original direction, nested.
pub const CTA_TUPLE_ORIG: u16 = 1;
/// Tuple of the reply direction, nested.
pub const CTA_TUPLE_REPLY: u16 = 2;
/// Status of the flow (`IPS_…`), u32 in network byte order.
pub const CTA_STATUS: u16 = 3;
// 4 PROTOINFO, 5 HELP, 6 NAT_SRC, 7 TIMEOUT
/// Mark of the flow, u32 in network byte order; absent for mark 0.
pub const CTA_MARK: u16 = 8;
// 9 COUNTERS_ORIG, 10 COUNTERS_REPLY, 11 USE
/// Identifier of the flow in addition to its tuple, u32 in network byte order.
pub const CTA_ID: u16 = 12;
// 13 NAT_DST, 14 TUPLE_MASTER, 15 SEQ_ADJ_ORIG, 16 SEQ_ADJ_REPLY, 17 SECMARK
/// Zone of the flow, u16 in network byte order; absent for zone 0.
pub const CTA_ZONE: u16 = 18;
// 19 SECCTX, 20 TIMESTAMP
/// Bits of [`CTA_MARK`] that a dump has to match, u32 in network byte order.
pub const CTA_MARK_MASK: u16 = 21;
// 22 LABELS, 23 LABELS_MASK, 24 SYNPROXY
/// Parts of the given tuples that a dump has to match, nested (since Linux 5.8).
pub const CTA_FILTER: u16 = 25;

/// A rule of the table `nat` has translated the source of the original direction (`nf_conntrack_common.h`).
/// IPVS does not set it.
pub const IPS_SRC_NAT: u32 = 1 << 4;
/// A rule of the table `nat` has translated the destination of the original direction.
pub const IPS_DST_NAT: u32 = 1 << 5;

/// Addresses of a tuple, nested.
pub const CTA_TUPLE_IP: u16 = 1;
/// Protocol of a tuple, nested.
pub const CTA_TUPLE_PROTO: u16 = 2;
/// Zone of one direction only, u16 in network byte order.
pub const CTA_TUPLE_ZONE: u16 = 3;

/// IPv4 source address, 4 bytes.
pub const CTA_IP_V4_SRC: u16 = 1;
/// IPv4 destination address, 4 bytes.
pub const CTA_IP_V4_DST: u16 = 2;
/// IPv6 source address, 16 bytes.
pub const CTA_IP_V6_SRC: u16 = 3;
/// IPv6 destination address, 16 bytes.
pub const CTA_IP_V6_DST: u16 = 4;

/// Number of the transport protocol, u8.
pub const CTA_PROTO_NUM: u16 = 1;
/// Source port, u16 in network byte order.
pub const CTA_PROTO_SRC_PORT: u16 = 2;
/// Destination port, u16 in network byte order.
pub const CTA_PROTO_DST_PORT: u16 = 3;
// 4 to 9: ICMP

/// Flags of the original direction that have to match, u32 in host byte order.
pub const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// The flag of the protocol number (`net/netfilter/nf_conntrack_netlink.c: CTA_FILTER_F_CTA_PROTO_NUM`). The
/// other flags are not reliable.
pub const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
