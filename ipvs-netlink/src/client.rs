//! The conversation with the kernel: commands applied, queries answered.
//!
//! In: [`Command`]s and [`Query`]s. Out: a result for every command, typed answers for every query.
//! Never: more than one exchange at a time; commands of a batch are applied in their order, and a
//! refused one does not stop the ones after it.

use std::collections::HashSet;

use netlink_batch::{
    Family, KernelError, Reply, Request, Socket,
    attribute::{Attributes, Writer},
};
use netlink_packet_generic::constants::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL,
};

use crate::{
    Answer, Command, Daemon, DaemonState, Destination, DestinationKey, Error, Info, Query, Refusal,
    Service, ServiceKey, Timeouts, uapi, wire,
};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;

/// A connection to the IPVS of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    /// The number that the kernel gave the family when its module was loaded.
    family: u16,
}

impl Client {
    /// Opens a socket and looks the family up. Where the kernel may load modules by itself the
    /// lookup loads `ip_vs`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the kernel has no IPVS.
    pub fn open() -> Result<Self, Error> {
        let mut socket = Socket::open(Family::Generic).map_err(|source| Error::Transport {
            what: "open a generic-netlink socket".to_owned(),
            source,
        })?;
        let family = look_up(&mut socket)?;
        Ok(Client { socket, family })
    }

    /// Applies all `commands`, in order, and returns one result for each.
    ///
    /// They travel together; thousands cost a few system calls.
    ///
    /// # Errors
    ///
    /// When the conversation itself fails. Any of the commands may have been applied then: read the
    /// kernel's state again.
    pub fn apply(&mut self, commands: &[Command]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut results = Vec::with_capacity(commands.len());
        let mut requests = Vec::with_capacity(commands.len());
        for command in commands {
            results.push(match command.encode() {
                Ok(payload) => {
                    requests.push(self.request(payload));
                    Ok(())
                }
                Err(source) => Err(Error::Encode { what: command.to_string(), source }),
            });
        }
        let mut outcomes = self
            .socket
            .batch(&requests)
            .map_err(|source| {
                let what = match commands {
                    [only] => only.to_string(),
                    _ => format!("apply {} commands", commands.len()),
                };
                Error::Transport { what, source }
            })?
            .into_iter();
        for (command, result) in commands.iter().zip(&mut results) {
            if result.is_ok()
                && let Some(Err(source)) = outcomes.next()
            {
                if command.is_done_despite(source.errno) {
                    continue;
                }
                let refusal = command.refusal(source.errno);
                *result = Err(Error::Refused { refusal, what: command.to_string(), source });
            }
        }
        Ok(results)
    }

    /// Applies one command.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the kernel refuses it, or a failure of the conversation.
    pub fn run(&mut self, command: Command) -> Result<(), Error> {
        self.apply(std::slice::from_ref(&command))?.into_iter().collect()
    }

    /// Adds a virtual server.
    ///
    /// # Errors
    ///
    /// [`Refusal::AlreadyExists`], [`Refusal::UnknownScheduler`] among others.
    pub fn new_service(&mut self, service: Service) -> Result<(), Error> {
        self.run(Command::NewService(service))
    }

    /// Changes a virtual server.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`], [`Refusal::UnknownScheduler`] among others.
    pub fn set_service(&mut self, service: Service) -> Result<(), Error> {
        self.run(Command::SetService(service))
    }

    /// Deletes a virtual server with its destinations.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`] among others.
    pub fn delete_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        self.run(Command::DeleteService(key))
    }

    /// Adds a destination to a virtual server.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`], [`Refusal::AlreadyExists`] among others.
    pub fn new_destination(
        &mut self,
        service: ServiceKey,
        destination: Destination,
    ) -> Result<(), Error> {
        self.run(Command::NewDestination(service, destination))
    }

    /// Changes a destination.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`], [`Refusal::NoSuchDestination`] among others.
    pub fn set_destination(
        &mut self,
        service: ServiceKey,
        destination: Destination,
    ) -> Result<(), Error> {
        self.run(Command::SetDestination(service, destination))
    }

    /// Takes a destination off a virtual server.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`], [`Refusal::NoSuchDestination`] among others.
    pub fn delete_destination(
        &mut self,
        service: ServiceKey,
        destination: DestinationKey,
    ) -> Result<(), Error> {
        self.run(Command::DeleteDestination(service, destination))
    }

    /// Deletes all virtual servers.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotPermitted`] among others.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.run(Command::Flush)
    }

    /// Sets all counters to zero.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotPermitted`] among others.
    pub fn zero(&mut self) -> Result<(), Error> {
        self.run(Command::ZeroAll)
    }

    /// Sets the counters of a virtual server and its destinations to zero.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchService`] among others.
    pub fn zero_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        self.run(Command::ZeroService(key))
    }

    /// Sets the protocol timeouts that are not zero.
    ///
    /// # Errors
    ///
    /// [`Refusal::InvalidArgument`] for more than `i32::MAX` clock ticks.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error> {
        self.run(Command::SetTimeouts(timeouts))
    }

    /// Starts a sync daemon.
    ///
    /// # Errors
    ///
    /// [`Refusal::AlreadyExists`], [`Refusal::NoSuchInterface`] among others.
    pub fn new_daemon(&mut self, daemon: Daemon) -> Result<(), Error> {
        self.run(Command::NewDaemon(daemon))
    }

    /// Stops a sync daemon.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoSuchDaemon`] among others.
    pub fn delete_daemon(&mut self, state: DaemonState) -> Result<(), Error> {
        self.run(Command::DeleteDaemon(state))
    }

    /// One virtual server, if there is such a one.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn service(&mut self, key: ServiceKey) -> Result<Option<Service>, Error> {
        match self.ask(Query::Service(key)) {
            Ok(answers) => Ok(services(answers).next()),
            Err(Error::Refused { refusal: Refusal::NoSuchService, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All virtual servers, in one dump, each once. Where some come or go meanwhile, in this network
    /// namespace or another, a dump may skip some that stay: the kernel counts positions in a table
    /// of all namespaces and does not say that it changed (`ip_vs_genl_dump_services`).
    /// [`Client::table`] makes up for that.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn services(&mut self) -> Result<Vec<Service>, Error> {
        let mut seen = HashSet::new();
        let answers = self.ask(Query::Services)?;
        Ok(services(answers).filter(|service| seen.insert(service.key)).collect())
    }

    /// The destinations of a virtual server; none when there is no such server.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn destinations(&mut self, service: ServiceKey) -> Result<Vec<Destination>, Error> {
        let answers = self.ask(Query::Destinations(service))?.into_iter();
        Ok(answers
            .filter_map(|answer| match answer {
                Answer::Destination(destination) => Some(destination),
                _ => None,
            })
            .collect())
    }

    /// The sync daemons that run.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        let answers = self.ask(Query::Daemons)?.into_iter();
        Ok(answers
            .filter_map(|answer| match answer {
                Answer::Daemon(daemon) => Some(daemon),
                _ => None,
            })
            .collect())
    }

    /// The protocol timeouts.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.ask_one(Query::Timeouts, |answer| match answer {
            Answer::Timeouts(timeouts) => Some(timeouts),
            _ => None,
        })
    }

    /// Version and size of the connection table.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn info(&mut self) -> Result<Info, Error> {
        self.ask_one(Query::Info, |answer| match answer {
            Answer::Info(info) => Some(info),
            _ => None,
        })
    }

    /// Sends `query` and decodes every reply.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the kernel refuses it, or a failure of the conversation.
    pub fn ask(&mut self, query: Query) -> Result<Vec<Answer>, Error> {
        let payload =
            query.encode().map_err(|source| Error::Encode { what: query.to_string(), source })?;
        let request = self.request(payload);
        let replies =
            if query.is_dump() { self.socket.dump(&request) } else { self.socket.ask(&request) };
        replies
            .map_err(|error| query_error(query, error))?
            .iter()
            .filter(|reply| reply.kind == self.family)
            .map(|reply| {
                Answer::decode(&reply.payload)
                    .map_err(|source| Error::Decode { what: query.to_string(), source })
            })
            .collect()
    }

    fn ask_one<T>(
        &mut self,
        query: Query,
        pick: impl FnMut(Answer) -> Option<T>,
    ) -> Result<T, Error> {
        self.ask(query)?.into_iter().find_map(pick).ok_or_else(|| Error::Decode {
            what: query.to_string(),
            source: netlink_batch::DecodeError::from("no reply"),
        })
    }

    fn request(&self, payload: Vec<u8>) -> Request {
        Request { kind: self.family, flags: 0, payload }
    }
}

fn services(answers: Vec<Answer>) -> impl Iterator<Item = Service> {
    answers.into_iter().filter_map(|answer| match answer {
        Answer::Service(service) => Some(service),
        _ => None,
    })
}

fn query_error(query: Query, error: netlink_batch::Error) -> Error {
    let what = query.to_string();
    match error {
        netlink_batch::Error::Kernel(source) => {
            let refusal = match (query, source.errno) {
                (_, EPERM) => Refusal::NotPermitted,
                (Query::Service(_), ESRCH) => Refusal::NoSuchService,
                _ => Refusal::Other,
            };
            Error::Refused { refusal, what, source }
        }
        source => Error::Transport { what, source },
    }
}

/// Asks the generic-netlink controller for the number of the family.
fn look_up(socket: &mut Socket) -> Result<u16, Error> {
    let what = || "look up the generic-netlink family IPVS".to_owned();
    let mut payload = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    Writer::new(&mut payload)
        .nul_string(CTRL_ATTR_FAMILY_NAME, uapi::IPVS_GENL_NAME)
        .map_err(|source| Error::Encode { what: what(), source: source.into() })?;
    let request = Request { kind: GENL_ID_CTRL, flags: 0, payload };
    match socket.ask(&request) {
        Ok(replies) => replies
            .iter()
            .find_map(|reply| family_id(reply).transpose())
            .unwrap_or_else(|| Err(wire::missing("CTRL_ATTR_FAMILY_ID")))
            .map_err(|source| Error::Decode { what: what(), source }),
        Err(netlink_batch::Error::Kernel(KernelError { errno: ENOENT, .. })) => {
            Err(Error::Unsupported)
        }
        Err(source) => Err(Error::Transport { what: what(), source }),
    }
}

fn family_id(reply: &Reply) -> Result<Option<u16>, netlink_batch::DecodeError> {
    let (_, attributes) = wire::split_header(&reply.payload)?;
    for attribute in Attributes::new(attributes) {
        let attribute = attribute?;
        if attribute.kind == CTRL_ATTR_FAMILY_ID {
            return attribute.u16().map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_ipvs_is_told_how_to_get_it() {
        match Client::open() {
            Ok(_) => println!("this kernel has IPVS"),
            Err(error) => {
                assert!(matches!(error, Error::Unsupported), "{error}");
                assert!(error.to_string().contains("modprobe ip_vs"));
            }
        }
    }
}
