//! Connection synchronisation daemons: one may send (master), one may receive (backup).
//!
//! Converts the attributes inside `IPVS_CMD_ATTR_DAEMON` to a [`Daemon`] and back. Linux 4.3 and later know
//! group, length, port and lifetime; earlier kernels ignore them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use netlink_batch::attribute::{self, Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::{
    AddressFamily, Unknown,
    uapi::{
        IP_VS_STATE_BACKUP, IP_VS_STATE_MASTER, IPVS_DAEMON_ATTR_MCAST_GROUP,
        IPVS_DAEMON_ATTR_MCAST_GROUP6, IPVS_DAEMON_ATTR_MCAST_IFN, IPVS_DAEMON_ATTR_MCAST_PORT,
        IPVS_DAEMON_ATTR_MCAST_TTL, IPVS_DAEMON_ATTR_STATE, IPVS_DAEMON_ATTR_SYNC_ID,
        IPVS_DAEMON_ATTR_SYNC_MAXLEN,
    },
    wire,
};

/// The role of a sync daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DaemonState {
    /// The daemon sends connections.
    Master,
    /// The daemon receives connections.
    Backup,
}

impl DaemonState {
    pub(crate) fn write(self, writer: &mut Writer<'_>) {
        let state = match self {
            DaemonState::Master => IP_VS_STATE_MASTER,
            DaemonState::Backup => IP_VS_STATE_BACKUP,
        };
        writer.u32(IPVS_DAEMON_ATTR_STATE, state);
    }
}

impl fmt::Display for DaemonState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DaemonState::Master => "master",
            DaemonState::Backup => "backup",
        })
    }
}

/// A sync daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Daemon {
    /// The role of the daemon.
    pub state: DaemonState,
    /// The name of the multicast interface, at most 15 bytes.
    pub interface: String,
    /// The identifier of the cluster, 0–255. The kernel does not check it and sends the lowest byte. A backup
    /// with zero listens to all clusters.
    pub sync_id: u32,
    /// The longest payload of a datagram in bytes; zero means as long as the interface allows.
    pub max_length: u16,
    /// The multicast group; `None` means 224.0.0.81.
    pub group: Option<IpAddr>,
    /// The UDP port; zero means 8848.
    pub port: u16,
    /// The time to live of the datagrams; zero means one.
    pub ttl: u8,
    /// Attributes of later kernels, written back unchanged.
    pub other: Vec<Unknown>,
}

impl Daemon {
    /// Returns a daemon with the kernel's defaults.
    pub fn new(state: DaemonState, interface: impl Into<String>, sync_id: u32) -> Self {
        Daemon {
            state,
            interface: interface.into(),
            sync_id,
            max_length: 0,
            group: None,
            port: 0,
            ttl: 0,
            other: Vec::new(),
        }
    }

    /// Appends all attributes.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), attribute::EncodeError> {
        self.state.write(writer);
        writer.nul_string(IPVS_DAEMON_ATTR_MCAST_IFN, &self.interface)?;
        writer.u32(IPVS_DAEMON_ATTR_SYNC_ID, self.sync_id);
        writer.u16(IPVS_DAEMON_ATTR_SYNC_MAXLEN, self.max_length);
        match self.group {
            Some(IpAddr::V4(group)) => writer.fixed(IPVS_DAEMON_ATTR_MCAST_GROUP, group.octets()),
            Some(IpAddr::V6(group)) => writer.fixed(IPVS_DAEMON_ATTR_MCAST_GROUP6, group.octets()),
            None => {}
        }
        writer.u16(IPVS_DAEMON_ATTR_MCAST_PORT, self.port);
        writer.u8(IPVS_DAEMON_ATTR_MCAST_TTL, self.ttl);
        Unknown::write_all(&self.other, writer)
    }

    /// Reads the attributes inside `IPVS_CMD_ATTR_DAEMON`.
    pub(crate) fn read(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        let mut state = None;
        let mut daemon = Daemon::new(DaemonState::Master, String::new(), 0);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                IPVS_DAEMON_ATTR_STATE => {
                    state = Some(daemon_state(attribute.u32().context("IPVS_DAEMON_ATTR_STATE")?)?);
                }
                IPVS_DAEMON_ATTR_MCAST_IFN => {
                    daemon.interface = attribute.string_lossy();
                }
                IPVS_DAEMON_ATTR_SYNC_ID => {
                    daemon.sync_id = attribute.u32().context("IPVS_DAEMON_ATTR_SYNC_ID")?;
                }
                IPVS_DAEMON_ATTR_SYNC_MAXLEN => {
                    daemon.max_length = attribute.u16().context("IPVS_DAEMON_ATTR_SYNC_MAXLEN")?;
                }
                IPVS_DAEMON_ATTR_MCAST_GROUP => {
                    daemon.group = Some(wire::address(attribute.value, AddressFamily::Inet)?);
                }
                IPVS_DAEMON_ATTR_MCAST_GROUP6 => {
                    daemon.group = Some(wire::address(attribute.value, AddressFamily::Inet6)?);
                }
                IPVS_DAEMON_ATTR_MCAST_PORT => {
                    daemon.port = attribute.u16().context("IPVS_DAEMON_ATTR_MCAST_PORT")?;
                }
                IPVS_DAEMON_ATTR_MCAST_TTL => {
                    daemon.ttl = attribute.u8().context("IPVS_DAEMON_ATTR_MCAST_TTL")?;
                }
                _ => daemon.other.push(Unknown::keep(attribute)),
            }
        }
        daemon.state = state.ok_or_else(|| wire::missing("IPVS_DAEMON_ATTR_STATE"))?;
        Ok(daemon)
    }

    /// The multicast group that the kernel uses by default.
    pub const DEFAULT_GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81));
}

fn daemon_state(code: u32) -> Result<DaemonState, DecodeError> {
    match code {
        IP_VS_STATE_MASTER => Ok(DaemonState::Master),
        IP_VS_STATE_BACKUP => Ok(DaemonState::Backup),
        _ => Err(DecodeError::from(format!("IPVS_DAEMON_ATTR_STATE: {code}"))),
    }
}
