//! Error numbers on which the code depends (`include/uapi/asm-generic/errno.h`).
//!
//! Holds constants only. Numbers that are only printed are not here.

/// No such device or address.
pub(super) const ENXIO: i32 = 6;
/// No such process; IPVS answers so for a missing virtual server.
pub(super) const ESRCH: i32 = 3;
/// File exists.
pub(super) const EEXIST: i32 = 17;
/// No such device.
pub(super) const ENODEV: i32 = 19;
/// Cannot assign requested address.
pub(super) const EADDRNOTAVAIL: i32 = 99;
/// Operation not supported: the device type or protocol is not in this kernel.
pub(super) const EOPNOTSUPP: i32 = 95;
