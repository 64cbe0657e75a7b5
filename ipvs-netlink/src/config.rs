//! Configuration of the whole table: protocol timeouts, and the version and size that the kernel reports.

use netlink_batch::attribute::{Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::{
    uapi::{
        IPVS_CMD_ATTR_TIMEOUT_TCP, IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, IPVS_CMD_ATTR_TIMEOUT_UDP,
        IPVS_INFO_ATTR_CONN_TAB_SIZE, IPVS_INFO_ATTR_VERSION,
    },
    wire,
};

/// The times in seconds after which idle connections expire. Setting zero leaves a timeout unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The timeout of established TCP connections.
    pub tcp: u32,
    /// The timeout of TCP connections after FIN.
    pub tcp_fin: u32,
    /// The timeout of UDP.
    pub udp: u32,
}

impl Timeouts {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(IPVS_CMD_ATTR_TIMEOUT_TCP, self.tcp);
        writer.u32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, self.tcp_fin);
        writer.u32(IPVS_CMD_ATTR_TIMEOUT_UDP, self.udp);
    }

    /// Reads a reply to `IPVS_CMD_GET_CONFIG`. A kernel without a protocol leaves out its timeout, which
    /// reads as zero.
    pub(crate) fn read(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut timeouts = Timeouts::default();
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                IPVS_CMD_ATTR_TIMEOUT_TCP => {
                    timeouts.tcp = attribute.u32().context("IPVS_CMD_ATTR_TIMEOUT_TCP")?;
                }
                IPVS_CMD_ATTR_TIMEOUT_TCP_FIN => {
                    timeouts.tcp_fin = attribute.u32().context("IPVS_CMD_ATTR_TIMEOUT_TCP_FIN")?;
                }
                IPVS_CMD_ATTR_TIMEOUT_UDP => {
                    timeouts.udp = attribute.u32().context("IPVS_CMD_ATTR_TIMEOUT_UDP")?;
                }
                _ => {} // The timeout of a later kernel's protocol.
            }
        }
        Ok(timeouts)
    }
}

/// The properties of the kernel's IPVS.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The version, for example 1.2.1.
    pub version: (u8, u8, u8),
    /// The number of buckets in the connection table.
    pub connection_table_size: u32,
}

impl Info {
    /// Reads a reply to `IPVS_CMD_GET_INFO`.
    pub(crate) fn read(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let (mut version, mut size) = (None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                IPVS_INFO_ATTR_VERSION => {
                    version = Some(attribute.u32().context("IPVS_INFO_ATTR_VERSION")?);
                }
                IPVS_INFO_ATTR_CONN_TAB_SIZE => {
                    size = Some(attribute.u32().context("IPVS_INFO_ATTR_CONN_TAB_SIZE")?);
                }
                _ => {} // An attribute of a later kernel.
            }
        }
        let version = version.ok_or_else(|| wire::missing("IPVS_INFO_ATTR_VERSION"))?;
        // The version is encoded by NVERSION(): three bytes, the highest unused.
        let [_, major, minor, patch] = version.to_be_bytes();
        Ok(Info {
            version: (major, minor, patch),
            connection_table_size: size
                .ok_or_else(|| wire::missing("IPVS_INFO_ATTR_CONN_TAB_SIZE"))?,
        })
    }
}
