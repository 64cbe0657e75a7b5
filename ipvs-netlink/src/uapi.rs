//! Constants of `include/uapi/linux/ip_vs.h`, the netlink part, with the kernel's names.
//!
//! Contains numbers and lengths as the kernel defines them. Their meanings are explained at the types that
//! use them. Does not contain the `setsockopt` interface (`IP_VS_SO_*`), which is older, IPv4 only and lacks
//! half of the fields. Nor does it contain the connection flags beyond the forwarding method, which never
//! leave the kernel.

/// The name of the generic-netlink family (`IPVS_GENL_NAME`).
pub const IPVS_GENL_NAME: &str = "IPVS";
/// The version of the generic-netlink family (`IPVS_GENL_VERSION`).
pub const IPVS_GENL_VERSION: u8 = 1;

/// Persistence: a client stays with its destination for the timeout.
pub const IP_VS_SVC_F_PERSISTENT: u32 = 0x0001;
/// The virtual server is in the kernel's table. Always set by the kernel, never by this crate.
pub const IP_VS_SVC_F_HASHED: u32 = 0x0002;
/// One-packet scheduling: every UDP datagram is scheduled separately.
pub const IP_VS_SVC_F_ONEPACKET: u32 = 0x0004;
/// The first flag of the scheduler.
pub const IP_VS_SVC_F_SCHED1: u32 = 0x0008;
/// The second flag of the scheduler.
pub const IP_VS_SVC_F_SCHED2: u32 = 0x0010;
/// The third flag of the scheduler.
pub const IP_VS_SVC_F_SCHED3: u32 = 0x0020;
/// Scheduler `sh`: use another destination if the hashed one cannot serve.
pub const IP_VS_SVC_F_SCHED_SH_FALLBACK: u32 = IP_VS_SVC_F_SCHED1;
/// Scheduler `sh`: hash the source port too.
pub const IP_VS_SVC_F_SCHED_SH_PORT: u32 = IP_VS_SVC_F_SCHED2;
/// Scheduler `mh`: use another destination if the hashed one cannot serve (`net/netfilter/ipvs/ip_vs_mh.c`,
/// not in the header).
pub const IP_VS_SVC_F_SCHED_MH_FALLBACK: u32 = IP_VS_SVC_F_SCHED1;
/// Scheduler `mh`: hash the source port too (`net/netfilter/ipvs/ip_vs_mh.c`, not in the header).
pub const IP_VS_SVC_F_SCHED_MH_PORT: u32 = IP_VS_SVC_F_SCHED2;

/// No sync daemon.
pub const IP_VS_STATE_NONE: u32 = 0x0000;
/// The sync daemon that sends.
pub const IP_VS_STATE_MASTER: u32 = 0x0001;
/// The sync daemon that receives.
pub const IP_VS_STATE_BACKUP: u32 = 0x0002;

/// The bits of the forwarding method.
pub const IP_VS_CONN_F_FWD_MASK: u32 = 0x0007;
/// Masquerading (NAT).
pub const IP_VS_CONN_F_MASQ: u32 = 0x0000;
/// The destination is this host.
pub const IP_VS_CONN_F_LOCALNODE: u32 = 0x0001;
/// Tunnelling.
pub const IP_VS_CONN_F_TUNNEL: u32 = 0x0002;
/// Direct routing.
pub const IP_VS_CONN_F_DROUTE: u32 = 0x0003;
/// Bypass of the (transparent) cache.
pub const IP_VS_CONN_F_BYPASS: u32 = 0x0004;
// The values 5 to 7 are unused.

/// The longest name of a scheduler in bytes, with its NUL.
pub const IP_VS_SCHEDNAME_MAXLEN: usize = 16;
/// The longest name of a persistence engine in bytes, with its NUL.
pub const IP_VS_PENAME_MAXLEN: usize = 16;
/// The longest name of an interface in bytes, with its NUL.
pub const IP_VS_IFNAME_MAXLEN: usize = 16;

/// Tunnel: IP in IP.
pub const IP_VS_CONN_F_TUNNEL_TYPE_IPIP: u8 = 0;
/// Tunnel: generic UDP encapsulation.
pub const IP_VS_CONN_F_TUNNEL_TYPE_GUE: u8 = 1;
/// Tunnel: generic routing encapsulation.
pub const IP_VS_CONN_F_TUNNEL_TYPE_GRE: u8 = 2;

/// Tunnel: no checksum.
pub const IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM: u16 = 0;
/// Tunnel: checksum.
pub const IP_VS_TUNNEL_ENCAP_FLAG_CSUM: u16 = 1 << 0;
/// Tunnel: remote checksum.
pub const IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM: u16 = 1 << 1;

/// Unused.
pub const IPVS_CMD_UNSPEC: u8 = 0;
/// Add service.
pub const IPVS_CMD_NEW_SERVICE: u8 = 1;
/// Modify service.
pub const IPVS_CMD_SET_SERVICE: u8 = 2;
/// Delete service.
pub const IPVS_CMD_DEL_SERVICE: u8 = 3;
/// Get service info.
pub const IPVS_CMD_GET_SERVICE: u8 = 4;
/// Add destination.
pub const IPVS_CMD_NEW_DEST: u8 = 5;
/// Modify destination.
pub const IPVS_CMD_SET_DEST: u8 = 6;
/// Delete destination.
pub const IPVS_CMD_DEL_DEST: u8 = 7;
/// Get destination info.
pub const IPVS_CMD_GET_DEST: u8 = 8;
/// Start sync daemon.
pub const IPVS_CMD_NEW_DAEMON: u8 = 9;
/// Stop sync daemon.
pub const IPVS_CMD_DEL_DAEMON: u8 = 10;
/// Get sync daemon status.
pub const IPVS_CMD_GET_DAEMON: u8 = 11;
/// Set config settings.
pub const IPVS_CMD_SET_CONFIG: u8 = 12;
/// Get config settings.
pub const IPVS_CMD_GET_CONFIG: u8 = 13;
/// Only used in replies to GET_INFO.
pub const IPVS_CMD_SET_INFO: u8 = 14;
/// Get general IPVS info.
pub const IPVS_CMD_GET_INFO: u8 = 15;
/// Zero all counters and stats.
pub const IPVS_CMD_ZERO: u8 = 16;
/// Flush services and dests.
pub const IPVS_CMD_FLUSH: u8 = 17;

/// Unused.
pub const IPVS_CMD_ATTR_UNSPEC: u16 = 0;
/// Nested service attribute.
pub const IPVS_CMD_ATTR_SERVICE: u16 = 1;
/// Nested destination attribute.
pub const IPVS_CMD_ATTR_DEST: u16 = 2;
/// Nested sync daemon attribute.
pub const IPVS_CMD_ATTR_DAEMON: u16 = 3;
/// TCP connection timeout.
pub const IPVS_CMD_ATTR_TIMEOUT_TCP: u16 = 4;
/// TCP FIN wait timeout.
pub const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN: u16 = 5;
/// UDP timeout.
pub const IPVS_CMD_ATTR_TIMEOUT_UDP: u16 = 6;

/// Unused.
pub const IPVS_SVC_ATTR_UNSPEC: u16 = 0;
/// Address family.
pub const IPVS_SVC_ATTR_AF: u16 = 1;
/// Virtual service protocol.
pub const IPVS_SVC_ATTR_PROTOCOL: u16 = 2;
/// Virtual service address.
pub const IPVS_SVC_ATTR_ADDR: u16 = 3;
/// Virtual service port.
pub const IPVS_SVC_ATTR_PORT: u16 = 4;
/// Firewall mark of service.
pub const IPVS_SVC_ATTR_FWMARK: u16 = 5;
/// Name of scheduler.
pub const IPVS_SVC_ATTR_SCHED_NAME: u16 = 6;
/// Virtual service flags.
pub const IPVS_SVC_ATTR_FLAGS: u16 = 7;
/// Persistent timeout.
pub const IPVS_SVC_ATTR_TIMEOUT: u16 = 8;
/// Persistent netmask.
pub const IPVS_SVC_ATTR_NETMASK: u16 = 9;
/// Nested attribute for service stats.
pub const IPVS_SVC_ATTR_STATS: u16 = 10;
/// Name of the persistence engine.
pub const IPVS_SVC_ATTR_PE_NAME: u16 = 11;
/// Nested attribute for service stats.
pub const IPVS_SVC_ATTR_STATS64: u16 = 12;

/// Unused.
pub const IPVS_DEST_ATTR_UNSPEC: u16 = 0;
/// Real server address.
pub const IPVS_DEST_ATTR_ADDR: u16 = 1;
/// Real server port.
pub const IPVS_DEST_ATTR_PORT: u16 = 2;
/// Forwarding method.
pub const IPVS_DEST_ATTR_FWD_METHOD: u16 = 3;
/// Destination weight.
pub const IPVS_DEST_ATTR_WEIGHT: u16 = 4;
/// Upper threshold.
pub const IPVS_DEST_ATTR_U_THRESH: u16 = 5;
/// Lower threshold.
pub const IPVS_DEST_ATTR_L_THRESH: u16 = 6;
/// Active connections.
pub const IPVS_DEST_ATTR_ACTIVE_CONNS: u16 = 7;
/// Inactive connections.
pub const IPVS_DEST_ATTR_INACT_CONNS: u16 = 8;
/// Persistent connections.
pub const IPVS_DEST_ATTR_PERSIST_CONNS: u16 = 9;
/// Nested attribute for dest stats.
pub const IPVS_DEST_ATTR_STATS: u16 = 10;
/// Address family of address.
pub const IPVS_DEST_ATTR_ADDR_FAMILY: u16 = 11;
/// Nested attribute for dest stats.
pub const IPVS_DEST_ATTR_STATS64: u16 = 12;
/// Tunnel type.
pub const IPVS_DEST_ATTR_TUN_TYPE: u16 = 13;
/// Tunnel port.
pub const IPVS_DEST_ATTR_TUN_PORT: u16 = 14;
/// Tunnel flags.
pub const IPVS_DEST_ATTR_TUN_FLAGS: u16 = 15;

/// Unused.
pub const IPVS_DAEMON_ATTR_UNSPEC: u16 = 0;
/// Sync daemon state (master/backup).
pub const IPVS_DAEMON_ATTR_STATE: u16 = 1;
/// Multicast interface name.
pub const IPVS_DAEMON_ATTR_MCAST_IFN: u16 = 2;
/// Identifier of the daemon's cluster (SyncID).
pub const IPVS_DAEMON_ATTR_SYNC_ID: u16 = 3;
/// UDP Payload Size.
pub const IPVS_DAEMON_ATTR_SYNC_MAXLEN: u16 = 4;
/// IPv4 Multicast Address.
pub const IPVS_DAEMON_ATTR_MCAST_GROUP: u16 = 5;
/// IPv6 Multicast Address.
pub const IPVS_DAEMON_ATTR_MCAST_GROUP6: u16 = 6;
/// Multicast Port (base).
pub const IPVS_DAEMON_ATTR_MCAST_PORT: u16 = 7;
/// Multicast TTL.
pub const IPVS_DAEMON_ATTR_MCAST_TTL: u16 = 8;

/// Unused.
pub const IPVS_STATS_ATTR_UNSPEC: u16 = 0;
/// Connections scheduled.
pub const IPVS_STATS_ATTR_CONNS: u16 = 1;
/// Incoming packets.
pub const IPVS_STATS_ATTR_INPKTS: u16 = 2;
/// Outgoing packets.
pub const IPVS_STATS_ATTR_OUTPKTS: u16 = 3;
/// Incoming bytes.
pub const IPVS_STATS_ATTR_INBYTES: u16 = 4;
/// Outgoing bytes.
pub const IPVS_STATS_ATTR_OUTBYTES: u16 = 5;
/// Current connection rate.
pub const IPVS_STATS_ATTR_CPS: u16 = 6;
/// Current in packet rate.
pub const IPVS_STATS_ATTR_INPPS: u16 = 7;
/// Current out packet rate.
pub const IPVS_STATS_ATTR_OUTPPS: u16 = 8;
/// Current in byte rate.
pub const IPVS_STATS_ATTR_INBPS: u16 = 9;
/// Current out byte rate.
pub const IPVS_STATS_ATTR_OUTBPS: u16 = 10;
/// Padding before 64-bit numbers.
pub const IPVS_STATS_ATTR_PAD: u16 = 11;

/// Unused.
pub const IPVS_INFO_ATTR_UNSPEC: u16 = 0;
/// IPVS version number.
pub const IPVS_INFO_ATTR_VERSION: u16 = 1;
/// Size of connection hash table.
pub const IPVS_INFO_ATTR_CONN_TAB_SIZE: u16 = 2;
