//! The kernel's answers: decodes a message into a virtual server, a destination or another value.
//!
//! Takes the payload of a reply. Gives the value in it. A message with a command number or a shape that is
//! not of this family is an error and does not cause a panic. Unknown attributes are kept.

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

/// A reply of the kernel. The kernel answers a `GET` with the matching `NEW` or `SET`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A virtual server.
    Service(Service),
    /// A destination of the requested virtual server.
    Destination(Destination),
    /// A sync daemon that is running.
    Daemon(Daemon),
    /// The protocol timeouts.
    Timeouts(Timeouts),
    /// The version of IPVS and the size of its connection table.
    Info(Info),
}

impl Answer {
    /// Reads a message: generic-netlink header and attributes.
    ///
    /// ```
    /// use ipvs_netlink::{Answer, Command, Protocol, Service, ServiceKey};
    ///
    /// // A virtual server that was added is read back in the same message.
    /// let service = Service::new(ServiceKey::address(Protocol::UDP, "::1".parse()?, 53), "sh");
    /// let payload = Command::NewService(service.clone()).encode()?;
    /// assert_eq!(Answer::decode(&payload)?, Answer::Service(service));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`DecodeError`] with the name of the missing or malformed attribute.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_by(payload, Service::read, Destination::read)
    }

    /// Reads a virtual server or a destination without its counters, which are two thirds of its attributes.
    /// Reads any other answer like [`decode`](Answer::decode).
    ///
    /// # Errors
    ///
    /// Returns a [`DecodeError`] with the name of the missing or malformed attribute.
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

/// Returns the attributes nested inside the one of type `kind`.
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
