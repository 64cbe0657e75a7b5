//! The queries that read kernel state: for one object, or a dump of many.
//!
//! Takes a [`Query`]. Gives its payload, and whether it is a dump. The kernel's reply is an
//! [`Answer`](crate::Answer).

use std::fmt;

use crate::{
    EncodeError, ServiceKey, command,
    uapi::{
        IPVS_CMD_GET_CONFIG, IPVS_CMD_GET_DAEMON, IPVS_CMD_GET_DEST, IPVS_CMD_GET_INFO,
        IPVS_CMD_GET_SERVICE,
    },
    wire,
};

/// A query about kernel state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// One virtual server; the kernel returns `ESRCH` if it does not exist.
    Service(ServiceKey),
    /// All virtual servers.
    Services,
    /// The destinations of one virtual server; none if it does not exist.
    Destinations(ServiceKey),
    /// The sync daemons that are running.
    Daemons,
    /// The protocol timeouts.
    Timeouts,
    /// The version of IPVS and the size of its connection table.
    Info,
}

impl Query {
    /// Encodes the message: generic-netlink header and attributes.
    ///
    /// # Errors
    ///
    /// Returns no error today; the type is the same as for [`Command::encode`](crate::Command::encode).
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bare = |number| wire::message(number, |_| Ok(()));
        match self {
            Query::Service(key) => command::encode_key(IPVS_CMD_GET_SERVICE, key),
            Query::Services => bare(IPVS_CMD_GET_SERVICE),
            Query::Destinations(key) => command::encode_key(IPVS_CMD_GET_DEST, key),
            Query::Daemons => bare(IPVS_CMD_GET_DAEMON),
            Query::Timeouts => bare(IPVS_CMD_GET_CONFIG),
            Query::Info => bare(IPVS_CMD_GET_INFO),
        }
    }

    /// True if the message is sent with `NLM_F_DUMP`.
    pub fn is_dump(&self) -> bool {
        match self {
            Query::Services | Query::Destinations(_) | Query::Daemons => true,
            Query::Service(_) | Query::Timeouts | Query::Info => false,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Query::Service(key) => write!(f, "read virtual server {key}"),
            Query::Services => f.write_str("list virtual servers"),
            Query::Destinations(key) => write!(f, "list destinations of {key}"),
            Query::Daemons => f.write_str("list sync daemons"),
            Query::Timeouts => f.write_str("read the protocol timeouts"),
            Query::Info => f.write_str("read the IPVS version"),
        }
    }
}
