//! Numbers of the kernel's connection tracking interface, under the kernel's names.
//!
//! Source: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_tuple_common.h` and
//! `include/uapi/linux/netfilter/nfnetlink.h`. Commands are the low byte of `nlmsg_type`, the
//! subsystem the high one. The comments give the gaps: numbers that exist and this crate never
//! writes or reads.

/// Subsystem of connection tracking: the high byte of `nlmsg_type`.
pub const NFNL_SUBSYS_CTNETLINK: u16 = 1;
/// Version of the header behind the netlink header (`struct nfgenmsg`).
pub const NFNETLINK_V0: u8 = 0;

/// A new or present flow, in answers.
pub const IPCTNL_MSG_CT_NEW: u16 = 0;
/// Read flows.
pub const IPCTNL_MSG_CT_GET: u16 = 1;
/// Delete a flow, or all of them: this crate always names one.
pub const IPCTNL_MSG_CT_DELETE: u16 = 2;
// 3 GET_CTRZERO, 4 GET_STATS_CPU, 5 GET_STATS, 6 GET_DYING, 7 GET_UNCONFIRMED

/// Nested: the tuple of the original direction.
pub const CTA_TUPLE_ORIG: u16 = 1;
/// Nested: the tuple of the reply direction.
pub const CTA_TUPLE_REPLY: u16 = 2;
/// u32, network byte order: what has happened to the flow (`IPS_…`).
pub const CTA_STATUS: u16 = 3;
// 4 PROTOINFO, 5 HELP, 6 NAT_SRC, 7 TIMEOUT
/// u32, network byte order: the mark; absent for mark 0.
pub const CTA_MARK: u16 = 8;
// 9 COUNTERS_ORIG, 10 COUNTERS_REPLY, 11 USE
/// u32, network byte order: identifies a flow beside its tuple.
pub const CTA_ID: u16 = 12;
// 13 NAT_DST, 14 TUPLE_MASTER, 15 SEQ_ADJ_ORIG, 16 SEQ_ADJ_REPLY, 17 SECMARK
/// u16, network byte order; absent for zone 0.
pub const CTA_ZONE: u16 = 18;
// 19 SECCTX, 20 TIMESTAMP
/// u32, network byte order: which bits of [`CTA_MARK`] a dump has to match.
pub const CTA_MARK_MASK: u16 = 21;
// 22 LABELS, 23 LABELS_MASK, 24 SYNPROXY
/// Nested: which parts of the given tuples a dump has to match (since Linux 5.8).
pub const CTA_FILTER: u16 = 25;

/// A rule of the table `nat` has translated the source of the original direction
/// (`nf_conntrack_common.h`). What IPVS translates does not set it.
pub const IPS_SRC_NAT: u32 = 1 << 4;
/// A rule of the table `nat` has translated the destination of the original direction.
pub const IPS_DST_NAT: u32 = 1 << 5;

/// Nested: the addresses of a tuple.
pub const CTA_TUPLE_IP: u16 = 1;
/// Nested: the protocol of a tuple.
pub const CTA_TUPLE_PROTO: u16 = 2;
/// u16, network byte order: the zone of one direction only.
pub const CTA_TUPLE_ZONE: u16 = 3;

/// 4 bytes.
pub const CTA_IP_V4_SRC: u16 = 1;
/// 4 bytes.
pub const CTA_IP_V4_DST: u16 = 2;
/// 16 bytes.
pub const CTA_IP_V6_SRC: u16 = 3;
/// 16 bytes.
pub const CTA_IP_V6_DST: u16 = 4;

/// u8: the transport protocol's number.
pub const CTA_PROTO_NUM: u16 = 1;
/// u16, network byte order.
pub const CTA_PROTO_SRC_PORT: u16 = 2;
/// u16, network byte order.
pub const CTA_PROTO_DST_PORT: u16 = 3;
// 4 to 9: ICMP

/// u32, host byte order: bits of the original direction that have to match.
pub const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// The bit of the protocol number (`net/netfilter/nf_conntrack_netlink.c:
/// CTA_FILTER_F_CTA_PROTO_NUM`). The others are not to be trusted.
pub const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
