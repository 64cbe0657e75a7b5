//! What the kernel answers: one message, one thing.
//!
//! In: the payload of a reply. Out: the thing in it. A message with a command number or a shape
//! that is not of this family is an error, never a panic; unknown attributes are kept.

use netlink_batch::attribute::{Attribute, Attributes};
use netlink_packet_core::{DecodeError, ErrorContext};

use crate::{
    Daemon, Destination, Info, Service, Timeouts,
    uapi::{
        IPVS_CMD_ATTR_DAEMON, IPVS_CMD_ATTR_DEST, IPVS_CMD_ATTR_SERVICE, IPVS_CMD_NEW_DAEMON,
        IPVS_CMD_NEW_DEST, IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_CONFIG, IPVS_CMD_SET_INFO,
    },
    wire,
};

/// One reply. The kernel answers a `GET` with the matching `NEW` or `SET`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A virtual server.
    Service(Service),
    /// A destination of the virtual server asked for.
    Destination(Destination),
    /// A sync daemon that runs.
    Daemon(Daemon),
    /// The protocol timeouts.
    Timeouts(Timeouts),
    /// Version and table size.
    Info(Info),
}

impl Answer {
    /// Reads a message: generic-netlink header and attributes.
    ///
    /// ```
    /// use ipvs_netlink::{Answer, Command, Protocol, Service, ServiceKey};
    ///
    /// // What one adds is what one reads back, in the same message.
    /// let service = Service::new(ServiceKey::address(Protocol::UDP, "::1".parse()?, 53), "sh");
    /// let payload = Command::NewService(service.clone()).encode()?;
    /// assert_eq!(Answer::decode(&payload)?, Answer::Service(service));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DecodeError`] naming the attribute that is missing or malformed.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_by(payload, Service::read, Destination::read)
    }

    /// Reads a virtual server or a destination without its counters, which are two thirds of what the kernel tells of
    /// it; any other answer as [`decode`](Answer::decode) does.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] naming the attribute that is missing or malformed.
    pub fn decode_without_counters(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_by(payload, Service::read_without_counters, Destination::read_without_counters)
    }

    fn decode_by<'a>(
        payload: &'a [u8],
        service: impl FnOnce(Attributes<'a>) -> Result<Service, DecodeError>,
        destination: impl FnOnce(Attributes<'a>) -> Result<Destination, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let (command, attributes) = wire::split_header(payload)?;
        let attributes = Attributes::new(attributes);
        match command {
            IPVS_CMD_NEW_SERVICE => {
                let nest = nest(attributes, IPVS_CMD_ATTR_SERVICE, "IPVS_CMD_ATTR_SERVICE")?;
                service(nest).map(Answer::Service).context("IPVS_CMD_NEW_SERVICE")
            }
            IPVS_CMD_NEW_DEST => {
                let nest = nest(attributes, IPVS_CMD_ATTR_DEST, "IPVS_CMD_ATTR_DEST")?;
                destination(nest).map(Answer::Destination).context("IPVS_CMD_NEW_DEST")
            }
            IPVS_CMD_NEW_DAEMON => {
                let nest = nest(attributes, IPVS_CMD_ATTR_DAEMON, "IPVS_CMD_ATTR_DAEMON")?;
                Daemon::read(nest).map(Answer::Daemon).context("IPVS_CMD_NEW_DAEMON")
            }
            IPVS_CMD_SET_CONFIG => Timeouts::read(attributes).map(Answer::Timeouts),
            IPVS_CMD_SET_INFO => Info::read(attributes).map(Answer::Info),
            _ => Err(DecodeError::from(format!("IPVS command {command} is no answer"))),
        }
    }
}

/// The attributes inside the one of type `kind`.
fn nest<'a>(
    attributes: Attributes<'a>,
    kind: u16,
    name: &str,
) -> Result<Attributes<'a>, DecodeError> {
    for attribute in attributes {
        let attribute: Attribute<'a> = attribute?;
        if attribute.kind == kind {
            return Ok(attribute.nested());
        }
    }
    Err(wire::missing(name))
}
