//! Constants of the kernel's ipset interface, with the kernel's names.
//!
//! Source: `include/uapi/linux/netfilter/ipset/ip_set.h`, `ip_set_hash.h`, `ip_set_bitmap.h` and
//! `include/uapi/linux/netfilter/nfnetlink.h`. Commands are the low byte of `nlmsg_type`, the subsystem the
//! high one. Attribute numbers have three scopes (command, create, element) that share their low part. The
//! comments list the gaps: numbers that exist and that this crate neither writes nor reads.

/// Number of the subsystem ipset, which is the high byte of `nlmsg_type`.
pub const NFNL_SUBSYS_IPSET: u16 = 6;

/// Newest protocol version that this crate supports.
pub const IPSET_PROTOCOL: u8 = 7;
/// Oldest protocol version that this crate supports.
pub const IPSET_PROTOCOL_MIN: u8 = 6;
/// Room for the name of a set or type in bytes, including the closing NUL.
pub const IPSET_MAXNAMELEN: usize = 32;

/// Return the protocol version.
pub const IPSET_CMD_PROTOCOL: u16 = 1;
/// Create a new, empty set.
pub const IPSET_CMD_CREATE: u16 = 2;
/// Destroy a set. Without a name it destroys all sets; this crate always sends one.
pub const IPSET_CMD_DESTROY: u16 = 3;
/// Remove all elements of a set. Without a name it applies to all sets; this crate always sends one.
pub const IPSET_CMD_FLUSH: u16 = 4;
/// Rename a set.
pub const IPSET_CMD_RENAME: u16 = 5;
/// Swap the contents of two sets.
pub const IPSET_CMD_SWAP: u16 = 6;
/// List sets.
pub const IPSET_CMD_LIST: u16 = 7;
// 8: IPSET_CMD_SAVE, the same answer as LIST
/// Add elements to a set.
pub const IPSET_CMD_ADD: u16 = 9;
/// Delete elements from a set.
pub const IPSET_CMD_DEL: u16 = 10;
// 11: IPSET_CMD_TEST
// 12: IPSET_CMD_HEADER, less than LIST with IPSET_FLAG_LIST_HEADER
/// Return the revisions of a set type.
pub const IPSET_CMD_TYPE: u16 = 13;
// 14, 15: IPSET_CMD_GET_BYNAME, IPSET_CMD_GET_BYINDEX

/// Protocol version, u8. The first attribute of each message.
pub const IPSET_ATTR_PROTOCOL: u16 = 1;
/// Name of the set, NUL-terminated.
pub const IPSET_ATTR_SETNAME: u16 = 2;
/// Name of the set type, NUL-terminated.
pub const IPSET_ATTR_TYPENAME: u16 = 3;
/// Second set name of rename and swap: the number of `IPSET_ATTR_TYPENAME`.
pub const IPSET_ATTR_SETNAME2: u16 = IPSET_ATTR_TYPENAME;
/// Revision of the set type, u8.
pub const IPSET_ATTR_REVISION: u16 = 4;
/// Address family of the set, u8.
pub const IPSET_ATTR_FAMILY: u16 = 5;
/// Flags of the command, u32 in network order.
pub const IPSET_ATTR_FLAGS: u16 = 6;
/// Nest: parameters of a set, or one element.
pub const IPSET_ATTR_DATA: u16 = 7;
/// Nest: many `IPSET_ATTR_DATA`.
pub const IPSET_ATTR_ADT: u16 = 8;
/// Number of the element, u32, at command level and inside each element.
pub const IPSET_ATTR_LINENO: u16 = 9;
/// Oldest protocol version that the kernel supports, u8.
pub const IPSET_ATTR_PROTOCOL_MIN: u16 = 10;
/// Oldest revision the kernel offers: the number of `IPSET_ATTR_PROTOCOL_MIN`.
pub const IPSET_ATTR_REVISION_MIN: u16 = IPSET_ATTR_PROTOCOL_MIN;
// 11: IPSET_ATTR_INDEX

/// Nest: an address.
pub const IPSET_ATTR_IP: u16 = 1;
// 2: IPSET_ATTR_IP_TO, 3: IPSET_ATTR_CIDR
/// A port, or the first of a range; u16 in network order.
pub const IPSET_ATTR_PORT: u16 = 4;
/// First port of a bitmap: the number of `IPSET_ATTR_PORT`.
pub const IPSET_ATTR_PORT_FROM: u16 = IPSET_ATTR_PORT;
/// Last port of a bitmap or range, u16 in network order.
pub const IPSET_ATTR_PORT_TO: u16 = 5;
/// Lifetime in seconds, u32 in network order. In a header it is that of new elements, in a listing that of
/// this element.
pub const IPSET_ATTR_TIMEOUT: u16 = 6;
/// Transport protocol, u8.
pub const IPSET_ATTR_PROTO: u16 = 7;
/// Flags of a set or element, u32 in network order.
pub const IPSET_ATTR_CADT_FLAGS: u16 = 8;
// 10: IPSET_ATTR_MARK, 11: IPSET_ATTR_MARKMASK
/// Nest: an address, in a set that stores only these bits of each address.
pub const IPSET_ATTR_BITMASK: u16 = 12;
// 13-16 unused, 17: IPSET_ATTR_INITVAL

/// Number of buckets of a hash, u32 in network order.
pub const IPSET_ATTR_HASHSIZE: u16 = 18;
/// Largest number of elements of a hash, u32 in network order.
pub const IPSET_ATTR_MAXELEM: u16 = 19;
/// Prefix length to which a set cuts its elements, u8.
pub const IPSET_ATTR_NETMASK: u16 = 20;
// 21: IPSET_ATTR_BUCKETSIZE, 22: IPSET_ATTR_RESIZE, 23: IPSET_ATTR_SIZE
/// Number of elements in the set, u32 in network order; only the kernel writes it.
pub const IPSET_ATTR_ELEMENTS: u16 = 24;
/// Number of references to the set (rules, list:set), u32 in network order; only the kernel writes it.
pub const IPSET_ATTR_REFERENCES: u16 = 25;
/// Kernel memory in bytes, u32 in network order; only the kernel writes it.
pub const IPSET_ATTR_MEMSIZE: u16 = 26;

// 17: IPSET_ATTR_ETHER, 18: IPSET_ATTR_NAME, 19: IPSET_ATTR_NAMEREF
/// Nest: the second address of an element.
pub const IPSET_ATTR_IP2: u16 = 20;
/// Prefix length of the second address, u8.
pub const IPSET_ATTR_CIDR2: u16 = 21;
// 22: IP2_TO, 23: IFACE, 24: BYTES, 25: PACKETS, 26: COMMENT, 27-29: SKBMARK, SKBPRIO, SKBQUEUE

/// An IPv4 address inside an address nest: four bytes.
pub const IPSET_ATTR_IPADDR_IPV4: u16 = 1;
/// An IPv6 address inside an address nest: sixteen bytes.
pub const IPSET_ATTR_IPADDR_IPV6: u16 = 2;

/// The first of ipset's own error numbers.
pub const IPSET_ERR_PRIVATE: i32 = 4096;
/// The message is malformed, or lacks an attribute that the set's type needs.
pub const IPSET_ERR_PROTOCOL: i32 = 4097;
/// The set type does not exist, or not in this revision or family.
pub const IPSET_ERR_FIND_TYPE: i32 = 4098;
/// The namespace has reached its largest number of sets.
pub const IPSET_ERR_MAX_SETS: i32 = 4099;
/// The set is referenced and cannot be destroyed.
pub const IPSET_ERR_BUSY: i32 = 4100;
/// Rename: the new name is taken. Swap: the second set does not exist.
pub const IPSET_ERR_EXIST_SETNAME2: i32 = 4101;
/// Swap: the two sets differ in type or family.
pub const IPSET_ERR_TYPE_MISMATCH: i32 = 4102;
/// Add: the element exists. Delete: the element does not exist.
pub const IPSET_ERR_EXIST: i32 = 4103;
/// The prefix length is out of range.
pub const IPSET_ERR_INVALID_CIDR: i32 = 4104;
// 4105: IPSET_ERR_INVALID_NETMASK
/// The set type does not know this family.
pub const IPSET_ERR_INVALID_FAMILY: i32 = 4106;
// 4107: IPSET_ERR_TIMEOUT
/// The set is referenced and cannot be renamed.
pub const IPSET_ERR_REFERENCED: i32 = 4108;
// 4109: IPSET_ERR_IPADDR_IPV4, 4110: IPSET_ERR_IPADDR_IPV6; the kernel sends neither of them
// 4111: COUNTER, 4112: COMMENT, 4113: INVALID_MARKMASK, 4114: SKBINFO

/// The first error number whose meaning depends on the set type.
pub const IPSET_ERR_TYPE_SPECIFIC: i32 = 4352;
/// hash: the set is full.
pub const IPSET_ERR_HASH_FULL: i32 = IPSET_ERR_TYPE_SPECIFIC;
/// hash: the all-zero address cannot be stored.
pub const IPSET_ERR_HASH_ELEM: i32 = 4353;
/// hash: this protocol has no ports.
pub const IPSET_ERR_INVALID_PROTO: i32 = 4354;
/// hash: the protocol is missing.
pub const IPSET_ERR_MISSING_PROTO: i32 = 4355;
// 4356: IPSET_ERR_HASH_RANGE_UNSUPPORTED, 4357: IPSET_ERR_HASH_RANGE
/// bitmap: the element lies outside the set's range.
pub const IPSET_ERR_BITMAP_RANGE: i32 = IPSET_ERR_TYPE_SPECIFIC;
/// bitmap: the range is too large.
pub const IPSET_ERR_BITMAP_RANGE_SIZE: i32 = 4353;

// 1: IPSET_FLAG_EXIST; over netlink it is expressed by the absence of NLM_F_EXCL
/// List: names only.
pub const IPSET_FLAG_LIST_SETNAME: u32 = 1 << 1;
/// List: headers only.
pub const IPSET_FLAG_LIST_HEADER: u32 = 1 << 2;
// 3-5, 7-10: flags of matches, not of commands

/// Element: an exception, not a member.
pub const IPSET_FLAG_NOMATCH: u32 = 1 << 2;
