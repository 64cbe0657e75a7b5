//! The commands that change kernel state. Each is one message and has one result.
//!
//! Takes a [`Command`]. Gives its payload, a description for the log, and the meaning of an error number. The
//! meaning depends on the command, because the kernel uses the same number for different errors
//! (`net/netfilter/ipvs/ip_vs_ctl.c: ip_vs_genl_set_cmd`, `ip_vs_genl_set_daemon`).

use std::fmt;

use netlink_batch::attribute::{EncodeError as AttributeError, Writer};

use crate::{
    Daemon, DaemonState, Destination, DestinationKey, EncodeError, Refusal, Service, ServiceKey,
    Timeouts,
    uapi::{
        IPVS_CMD_ATTR_DAEMON, IPVS_CMD_ATTR_DEST, IPVS_CMD_ATTR_SERVICE, IPVS_CMD_DEL_DAEMON,
        IPVS_CMD_DEL_DEST, IPVS_CMD_DEL_SERVICE, IPVS_CMD_FLUSH, IPVS_CMD_NEW_DAEMON,
        IPVS_CMD_NEW_DEST, IPVS_CMD_NEW_SERVICE, IPVS_CMD_SET_CONFIG, IPVS_CMD_SET_DEST,
        IPVS_CMD_SET_SERVICE, IPVS_CMD_ZERO,
    },
    wire,
};

/// A change to kernel state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Adds a virtual server.
    NewService(Service),
    /// Changes scheduler, flags, timeout, netmask and persistence engine of a virtual server.
    SetService(Service),
    /// Deletes a virtual server with its destinations.
    DeleteService(ServiceKey),
    /// Adds a destination to a virtual server.
    NewDestination(ServiceKey, Destination),
    /// Changes forwarding method, weight and thresholds of a destination.
    SetDestination(ServiceKey, Destination),
    /// Removes a destination from a virtual server.
    DeleteDestination(ServiceKey, DestinationKey),
    /// Sets the counters of a virtual server and its destinations to zero.
    ZeroService(ServiceKey),
    /// Sets all counters to zero.
    ZeroAll,
    /// Deletes all virtual servers.
    Flush,
    /// Sets the protocol timeouts that are not zero.
    SetTimeouts(Timeouts),
    /// Starts a sync daemon.
    NewDaemon(Daemon),
    /// Stops a sync daemon.
    DeleteDaemon(DaemonState),
}

impl Command {
    /// Encodes the message: generic-netlink header and attributes.
    ///
    /// # Errors
    ///
    /// Returns an [`EncodeError`] if the command cannot be expressed in netlink attributes.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        match self {
            Command::NewService(service) => encode_service(IPVS_CMD_NEW_SERVICE, service),
            Command::SetService(service) => encode_service(IPVS_CMD_SET_SERVICE, service),
            Command::DeleteService(key) => encode_key(IPVS_CMD_DEL_SERVICE, key),
            Command::NewDestination(service, destination) => {
                encode_destination(IPVS_CMD_NEW_DEST, service, |inner| destination.write(inner))
            }
            Command::SetDestination(service, destination) => {
                encode_destination(IPVS_CMD_SET_DEST, service, |inner| destination.write(inner))
            }
            Command::DeleteDestination(service, key) => {
                encode_destination(IPVS_CMD_DEL_DEST, service, |inner| {
                    key.write(inner);
                    Ok(())
                })
            }
            Command::ZeroService(key) => encode_key(IPVS_CMD_ZERO, key),
            Command::ZeroAll => wire::message(IPVS_CMD_ZERO, |_| Ok(())),
            Command::Flush => wire::message(IPVS_CMD_FLUSH, |_| Ok(())),
            Command::SetTimeouts(timeouts) => wire::message(IPVS_CMD_SET_CONFIG, |writer| {
                timeouts.write(writer);
                Ok(())
            }),
            Command::NewDaemon(daemon) => wire::message(IPVS_CMD_NEW_DAEMON, |writer| {
                writer.nested(IPVS_CMD_ATTR_DAEMON, |inner| daemon.write(inner))
            }),
            Command::DeleteDaemon(state) => wire::message(IPVS_CMD_DEL_DAEMON, |writer| {
                writer.nested(IPVS_CMD_ATTR_DAEMON, |inner| {
                    state.write(inner);
                    Ok(())
                })
            }),
        }
    }

    /// Returns the meaning of `errno`, a positive number, as the kernel's answer to this command.
    pub fn refusal(&self, errno: i32) -> Refusal {
        match errno {
            EPERM => return Refusal::NotPermitted,
            EINVAL | ERANGE => return Refusal::InvalidArgument,
            EEXIST => return Refusal::AlreadyExists,
            _ => {}
        }
        match (self, errno) {
            (Command::NewService(service) | Command::SetService(service), ENOENT) => {
                match service.persistence_engine {
                    None => Refusal::UnknownScheduler,
                    Some(_) => Refusal::UnknownSchedulerOrEngine,
                }
            }
            (Command::SetDestination(..) | Command::DeleteDestination(..), ENOENT) => {
                Refusal::NoSuchDestination
            }
            (Command::NewDaemon(_), ENODEV) => Refusal::NoSuchInterface,
            (Command::DeleteDaemon(_), ESRCH) => Refusal::NoSuchDaemon,
            (
                Command::SetService(_)
                | Command::DeleteService(_)
                | Command::NewDestination(..)
                | Command::SetDestination(..)
                | Command::DeleteDestination(..)
                | Command::ZeroService(_),
                ESRCH,
            ) => Refusal::NoSuchService,
            _ => Refusal::Other,
        }
    }
}

impl Command {
    /// True if the kernel carried out the command although it returned `errno`. A sync daemon that is stopped
    /// before its thread has run is stopped, with `EINTR` (`kthread_stop`).
    #[cfg(feature = "socket")]
    pub(crate) fn is_done_despite(&self, errno: i32) -> bool {
        matches!(self, Command::DeleteDaemon(_)) && errno == EINTR
    }
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
#[cfg(feature = "socket")]
const EINTR: i32 = 4;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ERANGE: i32 = 34;

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::NewService(service) => write!(f, "add virtual server {}", service.key),
            Command::SetService(service) => write!(f, "change virtual server {}", service.key),
            Command::DeleteService(key) => write!(f, "delete virtual server {key}"),
            Command::NewDestination(service, destination) => {
                write!(f, "add destination {} to {service}", destination.key())
            }
            Command::SetDestination(service, destination) => {
                write!(f, "change destination {} of {service}", destination.key())
            }
            Command::DeleteDestination(service, key) => {
                write!(f, "delete destination {key} of {service}")
            }
            Command::ZeroService(key) => write!(f, "zero the counters of {key}"),
            Command::ZeroAll => f.write_str("zero all counters"),
            Command::Flush => f.write_str("delete all virtual servers"),
            Command::SetTimeouts(_) => f.write_str("set the protocol timeouts"),
            Command::NewDaemon(daemon) => {
                write!(f, "start the {} sync daemon on {}", daemon.state, daemon.interface)
            }
            Command::DeleteDaemon(state) => write!(f, "stop the {state} sync daemon"),
        }
    }
}

/// Encodes a message with all settings of a virtual server. Fails if the settings are not valid.
fn encode_service(command: u8, service: &Service) -> Result<Vec<u8>, EncodeError> {
    service.check()?;
    wire::message(command, |writer| {
        writer.nested(IPVS_CMD_ATTR_SERVICE, |inner| service.write(inner))
    })
}

/// Encodes a message about a whole virtual server, identified by its key.
pub(crate) fn encode_key(command: u8, key: &ServiceKey) -> Result<Vec<u8>, EncodeError> {
    wire::message(command, |writer| write_key(writer, key))
}

fn encode_destination(
    command: u8,
    service: &ServiceKey,
    destination: impl FnOnce(&mut Writer<'_>) -> Result<(), AttributeError>,
) -> Result<Vec<u8>, EncodeError> {
    wire::message(command, |writer| {
        write_key(writer, service)?;
        writer.nested(IPVS_CMD_ATTR_DEST, destination)
    })
}

fn write_key(writer: &mut Writer<'_>, key: &ServiceKey) -> Result<(), AttributeError> {
    writer.nested(IPVS_CMD_ATTR_SERVICE, |inner| {
        key.write(inner);
        Ok(())
    })
}
