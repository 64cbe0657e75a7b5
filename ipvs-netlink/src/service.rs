//! Virtual servers: key, scheduler, flags, persistence and counters.
//!
//! Converts the attributes inside `IPVS_CMD_ATTR_SERVICE` to a [`Service`] and back. Attributes that this
//! crate does not know are kept in [`Service::other`] and written back. Does not guess an identifying
//! attribute that is missing.

use std::{net::Ipv4Addr, num::NonZeroU32};

use netlink_batch::attribute::{self, Attribute, Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::{
    AddressFamily, EncodeError, ServiceKey, Stats, Stats64, Unknown,
    key::{family_of_code, protocol_of_code},
    uapi::{
        IP_VS_SVC_F_HASHED, IP_VS_SVC_F_ONEPACKET, IP_VS_SVC_F_PERSISTENT,
        IP_VS_SVC_F_SCHED_MH_FALLBACK, IP_VS_SVC_F_SCHED_MH_PORT, IP_VS_SVC_F_SCHED_SH_FALLBACK,
        IP_VS_SVC_F_SCHED_SH_PORT, IPVS_SVC_ATTR_ADDR, IPVS_SVC_ATTR_AF, IPVS_SVC_ATTR_FLAGS,
        IPVS_SVC_ATTR_FWMARK, IPVS_SVC_ATTR_NETMASK, IPVS_SVC_ATTR_PE_NAME, IPVS_SVC_ATTR_PORT,
        IPVS_SVC_ATTR_PROTOCOL, IPVS_SVC_ATTR_SCHED_NAME, IPVS_SVC_ATTR_STATS,
        IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_TIMEOUT,
    },
    wire,
};

/// A virtual server without its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// The key of the virtual server.
    pub key: ServiceKey,
    /// The name of the scheduler, at most 15 bytes: `rr`, `wlc`, `mh`. `none` schedules nothing.
    pub scheduler: String,
    /// The flags. When read, they always include [`ServiceFlags::HASHED`], which only the kernel sets. This
    /// crate never writes it. Kernels until about 5.13 leak a virtual server that is added with it, and all
    /// kernels set it again on a change (`ip_vs_edit_service`).
    pub flags: ServiceFlags,
    /// The time in seconds for which a client stays with its destination after its last connection. Without
    /// [`ServiceFlags::PERSISTENT`] it has no meaning. The kernel counts it in 32-bit ticks and silently
    /// wraps: with 1000 ticks a second, above 4,294,967 seconds.
    pub timeout: u32,
    /// The mask that groups clients for persistence.
    pub netmask: Netmask,
    /// The name of the persistence engine, at most 15 bytes: `sip`.
    pub persistence_engine: Option<String>,
    /// The 32-bit counters; read only.
    pub stats: Option<Box<Stats>>,
    /// The 64-bit counters; read only, Linux 4.1 and later.
    pub stats64: Option<Box<Stats64>>,
    /// Attributes of later kernels, written back unchanged.
    pub other: Vec<Unknown>,
}

impl Service {
    /// Returns a virtual server without flags, whose netmask treats every client separately.
    pub fn new(key: ServiceKey, scheduler: impl Into<String>) -> Self {
        Service {
            key,
            scheduler: scheduler.into(),
            flags: ServiceFlags::exactly(0),
            timeout: 0,
            netmask: Netmask::host(key.family()),
            persistence_engine: None,
            stats: None,
            stats64: None,
            other: Vec::new(),
        }
    }

    /// Returns an error for values that have no encoding and would reach the kernel as something else.
    pub(crate) fn check(&self) -> Result<(), EncodeError> {
        match (self.key.family(), self.netmask) {
            (AddressFamily::Inet, Netmask::V4(_)) | (AddressFamily::Inet6, Netmask::V6(_)) => {
                Ok(())
            }
            (AddressFamily::Inet, Netmask::V6(_)) | (AddressFamily::Inet6, Netmask::V4(_)) => {
                Err(EncodeError::NetmaskFamily)
            }
        }
    }

    /// Appends all attributes. The kernel ignores the counters.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), attribute::EncodeError> {
        self.key.write(writer);
        writer.nul_string(IPVS_SVC_ATTR_SCHED_NAME, &self.scheduler)?;
        if let Some(engine) = &self.persistence_engine {
            writer.nul_string(IPVS_SVC_ATTR_PE_NAME, engine)?;
        }
        writer.fixed(IPVS_SVC_ATTR_FLAGS, self.flags.to_bytes());
        writer.u32(IPVS_SVC_ATTR_TIMEOUT, self.timeout);
        match self.netmask {
            Netmask::V4(mask) => writer.fixed(IPVS_SVC_ATTR_NETMASK, mask.octets()),
            Netmask::V6(length) => writer.u32(IPVS_SVC_ATTR_NETMASK, length.into()),
        }
        if let Some(stats) = &self.stats {
            writer.nested(IPVS_SVC_ATTR_STATS, |inner| {
                stats.write(inner);
                Ok(())
            })?;
        }
        if let Some(stats) = &self.stats64 {
            writer.nested(IPVS_SVC_ATTR_STATS64, |inner| {
                stats.write(inner);
                Ok(())
            })?;
        }
        Unknown::write_all(&self.other, writer)
    }

    /// Reads the attributes inside `IPVS_CMD_ATTR_SERVICE`.
    pub(crate) fn read<'a>(
        attributes: impl Iterator<Item = Result<Attribute<'a>, DecodeError>>,
    ) -> Result<Self, DecodeError> {
        let mut draft = Draft::default();
        for attribute in attributes {
            draft.take(attribute?)?;
        }
        draft.finish()
    }

    /// Reads the attributes without the counters.
    pub(crate) fn read_without_counters(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        Self::read(attributes.filter(|attribute| {
            let kind = attribute.as_ref().map(|attribute| attribute.kind);
            !matches!(kind, Ok(IPVS_SVC_ATTR_STATS | IPVS_SVC_ATTR_STATS64))
        }))
    }
}

/// The flags of a virtual server, and a mask of those that a command changes. The kernel keeps the bits
/// outside the mask unchanged (`ip_vs_genl_parse_service`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceFlags {
    /// The flag bits.
    pub value: u32,
    /// The bits that a command changes; all bits in replies of the kernel.
    pub mask: u32,
}

impl ServiceFlags {
    /// A client stays with its destination for [`Service::timeout`].
    pub const PERSISTENT: u32 = IP_VS_SVC_F_PERSISTENT;
    /// The virtual server is in the kernel's table; set by the kernel, never written.
    pub const HASHED: u32 = IP_VS_SVC_F_HASHED;
    /// Every UDP datagram is scheduled separately.
    pub const ONE_PACKET: u32 = IP_VS_SVC_F_ONEPACKET;
    /// Scheduler `sh` chooses another destination if the hashed one cannot serve.
    pub const SH_FALLBACK: u32 = IP_VS_SVC_F_SCHED_SH_FALLBACK;
    /// Scheduler `sh` also hashes the source port.
    pub const SH_PORT: u32 = IP_VS_SVC_F_SCHED_SH_PORT;
    /// Scheduler `mh` chooses another destination if the hashed one cannot serve.
    pub const MH_FALLBACK: u32 = IP_VS_SVC_F_SCHED_MH_FALLBACK;
    /// Scheduler `mh` also hashes the source port.
    pub const MH_PORT: u32 = IP_VS_SVC_F_SCHED_MH_PORT;

    /// Returns flags that set these bits and clear all others.
    pub const fn exactly(value: u32) -> Self {
        ServiceFlags { value, mask: u32::MAX }
    }

    /// Returns flags that change only the bits in the mask.
    pub const fn within(value: u32, mask: u32) -> Self {
        ServiceFlags { value, mask }
    }

    /// True if all of `bits` are set.
    pub const fn contains(self, bits: u32) -> bool {
        self.value & bits == bits
    }

    /// Returns the attribute's bytes without `HASHED`, which the kernel sets and a caller must not.
    fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = (self.value & !Self::HASHED).to_ne_bytes();
        let [e, f, g, h] = self.mask.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Reads `struct ip_vs_flags`, ignoring bytes after it.
    fn from_bytes(value: &[u8]) -> Result<Self, DecodeError> {
        let short = || DecodeError::invalid_buffer("ip_vs_flags", value.len(), 8);
        let (bits, rest) = value.split_first_chunk::<4>().ok_or_else(short)?;
        let mask = rest.first_chunk::<4>().ok_or_else(short)?;
        Ok(ServiceFlags { value: u32::from_ne_bytes(*bits), mask: u32::from_ne_bytes(*mask) })
    }
}

/// The mask that groups clients for persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// The mask of an IPv4 virtual server.
    V4(Ipv4Addr),
    /// The prefix length of an IPv6 virtual server, from 1 to 128.
    V6(u8),
}

impl Netmask {
    /// Returns the mask that treats every client separately.
    pub const fn host(family: AddressFamily) -> Self {
        match family {
            AddressFamily::Inet => Netmask::V4(Ipv4Addr::BROADCAST),
            AddressFamily::Inet6 => Netmask::V6(128),
        }
    }
}

/// A virtual server whose attributes are still being read, in any order.
#[derive(Default)]
struct Draft<'a> {
    family: Option<u16>,
    protocol: Option<u16>,
    address: Option<&'a [u8]>,
    port: Option<u16>,
    mark: Option<u32>,
    scheduler: Option<String>,
    flags: Option<ServiceFlags>,
    timeout: u32,
    netmask: Option<u32>,
    persistence_engine: Option<String>,
    stats: Option<Box<Stats>>,
    stats64: Option<Box<Stats64>>,
    other: Vec<Unknown>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, attribute: Attribute<'a>) -> Result<(), DecodeError> {
        match attribute.kind {
            IPVS_SVC_ATTR_AF => self.family = Some(attribute.u16().context("IPVS_SVC_ATTR_AF")?),
            IPVS_SVC_ATTR_PROTOCOL => {
                self.protocol = Some(attribute.u16().context("IPVS_SVC_ATTR_PROTOCOL")?);
            }
            IPVS_SVC_ATTR_ADDR => self.address = Some(attribute.value),
            IPVS_SVC_ATTR_PORT => {
                self.port = Some(attribute.be16().context("IPVS_SVC_ATTR_PORT")?);
            }
            IPVS_SVC_ATTR_FWMARK => {
                self.mark = Some(attribute.u32().context("IPVS_SVC_ATTR_FWMARK")?);
            }
            IPVS_SVC_ATTR_SCHED_NAME => {
                self.scheduler = Some(attribute.string_lossy());
            }
            IPVS_SVC_ATTR_FLAGS => self.flags = Some(ServiceFlags::from_bytes(attribute.value)?),
            IPVS_SVC_ATTR_TIMEOUT => {
                self.timeout = attribute.u32().context("IPVS_SVC_ATTR_TIMEOUT")?;
            }
            IPVS_SVC_ATTR_NETMASK => {
                self.netmask = Some(attribute.u32().context("IPVS_SVC_ATTR_NETMASK")?);
            }
            IPVS_SVC_ATTR_STATS => self.stats = Some(Box::new(Stats::read(attribute.nested())?)),
            IPVS_SVC_ATTR_PE_NAME => {
                self.persistence_engine = Some(attribute.string_lossy());
            }
            IPVS_SVC_ATTR_STATS64 => {
                self.stats64 = Some(Box::new(Stats64::read(attribute.nested())?));
            }
            _ => self.other.push(Unknown::keep(attribute)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Service, DecodeError> {
        let family = self.family.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_AF"))?;
        let family = family_of_code(family).context("IPVS_SVC_ATTR_AF")?;
        let key = match self.mark.and_then(NonZeroU32::new) {
            Some(mark) => ServiceKey::Mark { family, mark },
            None => ServiceKey::Address {
                protocol: protocol_of_code(
                    self.protocol.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_PROTOCOL"))?,
                )
                .context("IPVS_SVC_ATTR_PROTOCOL")?,
                address: wire::address(
                    self.address.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_ADDR"))?,
                    family,
                )?,
                port: self.port.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_PORT"))?,
            },
        };
        Ok(Service {
            key,
            scheduler: self.scheduler.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_SCHED_NAME"))?,
            flags: self.flags.ok_or_else(|| wire::missing("IPVS_SVC_ATTR_FLAGS"))?,
            timeout: self.timeout,
            netmask: match self.netmask {
                Some(bits) => netmask(bits, family)?,
                None => Netmask::host(family),
            },
            persistence_engine: self.persistence_engine,
            stats: self.stats,
            stats64: self.stats64,
            other: self.other,
        })
    }
}

/// Decodes the kernel's `__be32`, which for IPv6 is a number in the host's byte order.
fn netmask(bits: u32, family: AddressFamily) -> Result<Netmask, DecodeError> {
    match family {
        AddressFamily::Inet => Ok(Netmask::V4(Ipv4Addr::from(bits.to_ne_bytes()))),
        AddressFamily::Inet6 => u8::try_from(bits)
            .map(Netmask::V6)
            .map_err(|_| DecodeError::from(format!("IPVS_SVC_ATTR_NETMASK: prefix length {bits}"))),
    }
}
