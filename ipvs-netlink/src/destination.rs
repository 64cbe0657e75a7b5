//! Destinations (real servers): address, forwarding method, weight and thresholds.
//!
//! Converts the attributes inside `IPVS_CMD_ATTR_DEST` to a [`Destination`] and back. Attributes that this
//! crate does not know are kept in [`Destination::other`] and written back.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use netlink_batch::attribute::{self, Attribute, Attributes, Writer};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::{
    AddressFamily, Stats, Stats64, Unknown,
    key::{family_code, family_of_code},
    uapi::{
        IP_VS_CONN_F_BYPASS, IP_VS_CONN_F_DROUTE, IP_VS_CONN_F_FWD_MASK, IP_VS_CONN_F_LOCALNODE,
        IP_VS_CONN_F_MASQ, IP_VS_CONN_F_TUNNEL, IP_VS_CONN_F_TUNNEL_TYPE_GRE,
        IP_VS_CONN_F_TUNNEL_TYPE_GUE, IP_VS_CONN_F_TUNNEL_TYPE_IPIP, IPVS_DEST_ATTR_ACTIVE_CONNS,
        IPVS_DEST_ATTR_ADDR, IPVS_DEST_ATTR_ADDR_FAMILY, IPVS_DEST_ATTR_FWD_METHOD,
        IPVS_DEST_ATTR_INACT_CONNS, IPVS_DEST_ATTR_L_THRESH, IPVS_DEST_ATTR_PERSIST_CONNS,
        IPVS_DEST_ATTR_PORT, IPVS_DEST_ATTR_STATS, IPVS_DEST_ATTR_STATS64,
        IPVS_DEST_ATTR_TUN_FLAGS, IPVS_DEST_ATTR_TUN_PORT, IPVS_DEST_ATTR_TUN_TYPE,
        IPVS_DEST_ATTR_U_THRESH, IPVS_DEST_ATTR_WEIGHT,
    },
    wire,
};

/// The key of a destination within its virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationKey {
    /// The address of the destination.
    pub address: IpAddr,
    /// The port of the destination; zero means the port that the client used.
    pub port: u16,
}

impl DestinationKey {
    /// Returns the key of a destination.
    pub fn new(address: IpAddr, port: u16) -> Self {
        DestinationKey { address, port }
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.fixed(IPVS_DEST_ATTR_ADDR, wire::address_bytes(self.address));
        writer.be16(IPVS_DEST_ATTR_PORT, self.port);
        writer.u16(IPVS_DEST_ATTR_ADDR_FAMILY, family_code(AddressFamily::of(self.address)));
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddr::new(self.address, self.port))
    }
}

/// A destination of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The address. It may be of another family than the virtual server's only with a tunnel.
    pub address: IpAddr,
    /// The port; zero means the port that the client used.
    pub port: u16,
    /// The method by which packets reach the destination.
    pub forward: ForwardMethod,
    /// The share of new connections, at most `i32::MAX`. Zero means no new connections; established ones
    /// stay.
    pub weight: u32,
    /// The number of connections above which the destination gets no new ones; zero means no limit.
    pub upper_threshold: u32,
    /// The number of connections below which it gets new ones again; at most the upper threshold.
    pub lower_threshold: u32,
    /// The current connections; read only.
    pub connections: Option<Connections>,
    /// The 32-bit counters; read only.
    pub stats: Option<Box<Stats>>,
    /// The 64-bit counters; read only, Linux 4.1 and later.
    pub stats64: Option<Box<Stats64>>,
    /// Attributes of later kernels, written back unchanged.
    pub other: Vec<Unknown>,
}

/// The numbers of a destination's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections in a state that counts as active, for example established TCP.
    pub active: u32,
    /// All other connections.
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
}

/// The method by which packets reach a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardMethod {
    /// IPVS rewrites destination address and port, and replies come back through this host.
    #[default]
    Masquerade,
    /// The destination is this host, and packets are delivered unchanged.
    Local,
    /// Packets are encapsulated and sent on.
    Tunnel(Tunnel),
    /// Packets go unchanged to the destination's link-layer address.
    DirectRoute,
    /// Packets take the route that they would have taken without IPVS.
    Bypass,
    /// A value that this crate does not know.
    Other(u32),
}

/// The encapsulation of a tunnel. Kernels before 5.2 know only [`Tunnel::Ipip`] and take the others for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tunnel {
    /// IP in IP encapsulation.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// The UDP port of the tunnel; not zero.
        port: u16,
        /// Flags `IP_VS_TUNNEL_ENCAP_FLAG_*`.
        flags: u16,
    },
    /// Generic routing encapsulation (Linux 5.3).
    Gre {
        /// Flags `IP_VS_TUNNEL_ENCAP_FLAG_*`.
        flags: u16,
    },
    /// A type that this crate does not know.
    Other {
        /// The type `IPVS_DEST_ATTR_TUN_TYPE`.
        kind: u8,
        /// The port `IPVS_DEST_ATTR_TUN_PORT`.
        port: u16,
        /// The flags `IPVS_DEST_ATTR_TUN_FLAGS`.
        flags: u16,
    },
}

impl Destination {
    /// Returns a masqueraded destination with weight one and no thresholds.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Destination {
            address,
            port,
            forward: ForwardMethod::Masquerade,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            connections: None,
            stats: None,
            stats64: None,
            other: Vec::new(),
        }
    }

    /// Returns the key of the destination within its virtual server.
    pub fn key(&self) -> DestinationKey {
        DestinationKey { address: self.address, port: self.port }
    }

    /// Appends all attributes. The kernel ignores connections and counters.
    pub(crate) fn write(&self, writer: &mut Writer<'_>) -> Result<(), attribute::EncodeError> {
        self.key().write(writer);
        self.forward.write(writer);
        writer.u32(IPVS_DEST_ATTR_WEIGHT, self.weight);
        writer.u32(IPVS_DEST_ATTR_U_THRESH, self.upper_threshold);
        writer.u32(IPVS_DEST_ATTR_L_THRESH, self.lower_threshold);
        if let Some(connections) = &self.connections {
            writer.u32(IPVS_DEST_ATTR_ACTIVE_CONNS, connections.active);
            writer.u32(IPVS_DEST_ATTR_INACT_CONNS, connections.inactive);
            writer.u32(IPVS_DEST_ATTR_PERSIST_CONNS, connections.persistent);
        }
        if let Some(stats) = &self.stats {
            writer.nested(IPVS_DEST_ATTR_STATS, |inner| {
                stats.write(inner);
                Ok(())
            })?;
        }
        if let Some(stats) = &self.stats64 {
            writer.nested(IPVS_DEST_ATTR_STATS64, |inner| {
                stats.write(inner);
                Ok(())
            })?;
        }
        Unknown::write_all(&self.other, writer)
    }

    /// Reads the attributes inside `IPVS_CMD_ATTR_DEST`.
    pub(crate) fn read<'a>(
        attributes: impl Iterator<Item = Result<Attribute<'a>, DecodeError>>,
    ) -> Result<Self, DecodeError> {
        let mut draft = Draft::default();
        for attribute in attributes {
            draft.take(attribute?)?;
        }
        draft.finish()
    }

    /// Reads the attributes without the counters, which are two thirds of them.
    pub(crate) fn read_without_counters(attributes: Attributes<'_>) -> Result<Self, DecodeError> {
        Self::read(attributes.filter(|attribute| {
            let kind = attribute.as_ref().map(|attribute| attribute.kind);
            !matches!(kind, Ok(IPVS_DEST_ATTR_STATS | IPVS_DEST_ATTR_STATS64))
        }))
    }
}

impl ForwardMethod {
    fn write(self, writer: &mut Writer<'_>) {
        let method = match self {
            ForwardMethod::Masquerade => IP_VS_CONN_F_MASQ,
            ForwardMethod::Local => IP_VS_CONN_F_LOCALNODE,
            ForwardMethod::Tunnel(_) => IP_VS_CONN_F_TUNNEL,
            ForwardMethod::DirectRoute => IP_VS_CONN_F_DROUTE,
            ForwardMethod::Bypass => IP_VS_CONN_F_BYPASS,
            ForwardMethod::Other(method) => method,
        };
        writer.u32(IPVS_DEST_ATTR_FWD_METHOD, method);
        if let ForwardMethod::Tunnel(tunnel) = self {
            let (kind, port, flags) = match tunnel {
                Tunnel::Ipip => (IP_VS_CONN_F_TUNNEL_TYPE_IPIP, 0, 0),
                Tunnel::Gue { port, flags } => (IP_VS_CONN_F_TUNNEL_TYPE_GUE, port, flags),
                Tunnel::Gre { flags } => (IP_VS_CONN_F_TUNNEL_TYPE_GRE, 0, flags),
                Tunnel::Other { kind, port, flags } => (kind, port, flags),
            };
            writer.u8(IPVS_DEST_ATTR_TUN_TYPE, kind);
            writer.be16(IPVS_DEST_ATTR_TUN_PORT, port);
            writer.u16(IPVS_DEST_ATTR_TUN_FLAGS, flags);
        }
    }
}

/// A destination whose attributes are still being read, in any order.
#[derive(Default)]
struct Draft<'a> {
    address: Option<&'a [u8]>,
    family: Option<u16>,
    port: Option<u16>,
    method: u32,
    tunnel: (u8, u16, u16),
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    connections: Option<Connections>,
    stats: Option<Box<Stats>>,
    stats64: Option<Box<Stats64>>,
    other: Vec<Unknown>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, attribute: Attribute<'a>) -> Result<(), DecodeError> {
        let number = |name: &'static str| attribute.u32().context(name);
        match attribute.kind {
            IPVS_DEST_ATTR_ADDR => self.address = Some(attribute.value),
            IPVS_DEST_ATTR_PORT => {
                self.port = Some(attribute.be16().context("IPVS_DEST_ATTR_PORT")?);
            }
            IPVS_DEST_ATTR_FWD_METHOD => self.method = number("IPVS_DEST_ATTR_FWD_METHOD")?,
            IPVS_DEST_ATTR_WEIGHT => self.weight = number("IPVS_DEST_ATTR_WEIGHT")?,
            IPVS_DEST_ATTR_U_THRESH => self.upper_threshold = number("IPVS_DEST_ATTR_U_THRESH")?,
            IPVS_DEST_ATTR_L_THRESH => self.lower_threshold = number("IPVS_DEST_ATTR_L_THRESH")?,
            IPVS_DEST_ATTR_ACTIVE_CONNS => {
                self.connections().active = number("IPVS_DEST_ATTR_ACTIVE_CONNS")?;
            }
            IPVS_DEST_ATTR_INACT_CONNS => {
                self.connections().inactive = number("IPVS_DEST_ATTR_INACT_CONNS")?;
            }
            IPVS_DEST_ATTR_PERSIST_CONNS => {
                self.connections().persistent = number("IPVS_DEST_ATTR_PERSIST_CONNS")?;
            }
            IPVS_DEST_ATTR_STATS => self.stats = Some(Box::new(Stats::read(attribute.nested())?)),
            IPVS_DEST_ATTR_ADDR_FAMILY => {
                self.family = Some(attribute.u16().context("IPVS_DEST_ATTR_ADDR_FAMILY")?);
            }
            IPVS_DEST_ATTR_STATS64 => {
                self.stats64 = Some(Box::new(Stats64::read(attribute.nested())?));
            }
            IPVS_DEST_ATTR_TUN_TYPE => {
                self.tunnel.0 = attribute.u8().context("IPVS_DEST_ATTR_TUN_TYPE")?;
            }
            IPVS_DEST_ATTR_TUN_PORT => {
                self.tunnel.1 = attribute.be16().context("IPVS_DEST_ATTR_TUN_PORT")?;
            }
            IPVS_DEST_ATTR_TUN_FLAGS => {
                self.tunnel.2 = attribute.u16().context("IPVS_DEST_ATTR_TUN_FLAGS")?;
            }
            _ => self.other.push(Unknown::keep(attribute)),
        }
        Ok(())
    }

    fn connections(&mut self) -> &mut Connections {
        self.connections.get_or_insert_default()
    }

    fn finish(self) -> Result<Destination, DecodeError> {
        let address = self.address.ok_or_else(|| wire::missing("IPVS_DEST_ATTR_ADDR"))?;
        let family = match self.family {
            Some(code) => family_of_code(code).context("IPVS_DEST_ATTR_ADDR_FAMILY")?,
            None => likely_family(address),
        };
        Ok(Destination {
            address: wire::address(address, family).context("IPVS_DEST_ATTR_ADDR")?,
            port: self.port.ok_or_else(|| wire::missing("IPVS_DEST_ATTR_PORT"))?,
            forward: forward_method(self.method, self.tunnel),
            weight: self.weight,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
            connections: self.connections,
            stats: self.stats,
            stats64: self.stats64,
            other: self.other,
        })
    }
}

/// Guesses the family for kernels before 3.18, which do not send it: the bytes after an IPv4 address are
/// zero.
fn likely_family(address: &[u8]) -> AddressFamily {
    match address.get(4..16) {
        Some(rest) if rest.iter().any(|byte| *byte != 0) => AddressFamily::Inet6,
        _ => AddressFamily::Inet,
    }
}

fn forward_method(method: u32, (kind, port, flags): (u8, u16, u16)) -> ForwardMethod {
    match method & IP_VS_CONN_F_FWD_MASK {
        IP_VS_CONN_F_MASQ => ForwardMethod::Masquerade,
        IP_VS_CONN_F_LOCALNODE => ForwardMethod::Local,
        IP_VS_CONN_F_TUNNEL => ForwardMethod::Tunnel(match kind {
            IP_VS_CONN_F_TUNNEL_TYPE_IPIP => Tunnel::Ipip,
            IP_VS_CONN_F_TUNNEL_TYPE_GUE => Tunnel::Gue { port, flags },
            IP_VS_CONN_F_TUNNEL_TYPE_GRE => Tunnel::Gre { flags },
            _ => Tunnel::Other { kind, port, flags },
        }),
        IP_VS_CONN_F_DROUTE => ForwardMethod::DirectRoute,
        IP_VS_CONN_F_BYPASS => ForwardMethod::Bypass,
        other => ForwardMethod::Other(other),
    }
}
