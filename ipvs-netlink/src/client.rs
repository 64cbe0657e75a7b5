//! The client's commands: sends them to the kernel and returns the results.
//!
//! Takes [`Command`]s. Gives one result for each. Commands of a batch are applied in their order, and a
//! refused one does not stop those after it. Runs one exchange at a time. Looks up the family's number again
//! when the kernel no longer knows it.

use std::{fs::File, io};

use netlink_batch::{
    Family, KernelError, Options, Reply, Request, Socket,
    attribute::{Attributes, Writer},
};
use netlink_packet_generic::constants::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL,
};

use crate::{
    Command, Daemon, DaemonState, Destination, DestinationKey, Error, Refusal, Service, ServiceKey,
    Timeouts, Unreadable, uapi, wire,
};

pub(crate) const ENOENT: i32 = 2;

/// The list of virtual servers as the calling thread sees it: a thread may be in another network namespace
/// than its process.
const TEXT: &str = "/proc/thread-self/net/ip_vs";
/// The number of virtual servers as the calling thread sees it; since Linux 7.1.
const STATUS: &str = "/proc/thread-self/net/ip_vs_status";

/// A connection to the IPVS of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Client {
    pub(crate) socket: Socket,
    /// The number that the kernel gave the family when its module was loaded.
    pub(crate) family: u16,
    /// `/proc/net/ip_vs` of the same network namespace, or the reason why it could not be opened.
    pub(crate) text: Result<File, io::ErrorKind>,
    /// `/proc/net/ip_vs_status` of the same network namespace; `None` if the kernel lacks it.
    pub(crate) status: Option<File>,
    /// The replies and lines that the last reading could not decode.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// The result of looking up the family again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The family has the same number as before.
    Same,
    /// The family has another number, because the module was unloaded and loaded again.
    Changed,
}

impl Client {
    /// Opens a socket and looks up the family. Since about Linux 5.16 the lookup loads `ip_vs`, if the kernel
    /// may load modules by itself. With an earlier kernel, load the module first.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unsupported`] if the kernel has no IPVS.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(Options::default())
    }

    /// Opens a socket with these options and looks up the family.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Unsupported`] if the kernel has no IPVS.
    pub fn open_with(options: Options) -> Result<Self, Error> {
        let mut socket = Socket::open_with(Family::Generic, options).map_err(|source| {
            Error::Transport { what: "open a generic-netlink socket".to_owned(), source }
        })?;
        let family = look_up(&mut socket)?;
        let text = File::open(TEXT).map_err(|error| error.kind());
        let status = File::open(STATUS).ok();
        Ok(Client { socket, family, text, status, unreadable: Vec::new() })
    }

    /// Applies all `commands`, in order, and returns one result for each.
    ///
    /// Sends them together, so thousands of commands cost a few system calls.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange itself fails. Any of the commands may have been applied then, so the
    /// caller must read the kernel's state again. Returns [`Error::Unsupported`] if the module has been
    /// unloaded meanwhile. If it has been loaded again, the commands are sent once more.
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
        let mut outcomes = self.batch(commands, &requests)?;
        let unknown = |outcome: &Result<(), KernelError>| {
            outcome.as_ref().is_err_and(|error| error.errno == ENOENT)
        };
        // If the kernel no longer knows the family's number, every command is refused with ENOENT.
        if !outcomes.is_empty() && outcomes.iter().all(unknown) && self.renew()? == Renewal::Changed
        {
            requests.iter_mut().for_each(|request| request.kind = self.family);
            outcomes = self.batch(commands, &requests)?;
        }
        let mut outcomes = outcomes.into_iter();
        for (command, result) in commands.iter().zip(&mut results) {
            if result.is_ok()
                && let Some(Err(source)) = outcomes.next()
            {
                if command.is_done_despite(source.errno) {
                    continue;
                }
                let refusal: Refusal = command.refusal(source.errno);
                *result = Err(Error::Refused { refusal, what: command.to_string(), source });
            }
        }
        Ok(results)
    }

    /// Applies one command.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Refused`] if the kernel refuses the command, or another error if the exchange fails.
    pub fn run(&mut self, command: Command) -> Result<(), Error> {
        self.apply(std::slice::from_ref(&command))?.into_iter().collect()
    }

    /// Adds a virtual server.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::AlreadyExists`] or [`Refusal::UnknownScheduler`], among others.
    pub fn new_service(&mut self, service: Service) -> Result<(), Error> {
        self.run(Command::NewService(service))
    }

    /// Changes a virtual server.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchService`] or [`Refusal::UnknownScheduler`], among others.
    pub fn set_service(&mut self, service: Service) -> Result<(), Error> {
        self.run(Command::SetService(service))
    }

    /// Deletes a virtual server with its destinations.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchService`], among others.
    pub fn delete_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        self.run(Command::DeleteService(key))
    }

    /// Adds a destination to a virtual server.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchService`] or [`Refusal::AlreadyExists`], among others.
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
    /// Fails with [`Refusal::NoSuchService`] or [`Refusal::NoSuchDestination`], among others.
    pub fn set_destination(
        &mut self,
        service: ServiceKey,
        destination: Destination,
    ) -> Result<(), Error> {
        self.run(Command::SetDestination(service, destination))
    }

    /// Removes a destination from a virtual server.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchService`] or [`Refusal::NoSuchDestination`], among others.
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
    /// Fails with [`Refusal::NotPermitted`], among others.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.run(Command::Flush)
    }

    /// Sets all counters to zero.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NotPermitted`], among others.
    pub fn zero(&mut self) -> Result<(), Error> {
        self.run(Command::ZeroAll)
    }

    /// Sets the counters of a virtual server and its destinations to zero.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchService`], among others.
    pub fn zero_service(&mut self, key: ServiceKey) -> Result<(), Error> {
        self.run(Command::ZeroService(key))
    }

    /// Sets the protocol timeouts that are not zero.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::InvalidArgument`] for more than `i32::MAX` clock ticks.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error> {
        self.run(Command::SetTimeouts(timeouts))
    }

    /// Starts a sync daemon.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::AlreadyExists`] or [`Refusal::NoSuchInterface`], among others.
    pub fn new_daemon(&mut self, daemon: Daemon) -> Result<(), Error> {
        self.run(Command::NewDaemon(daemon))
    }

    /// Stops a sync daemon.
    ///
    /// # Errors
    ///
    /// Fails with [`Refusal::NoSuchDaemon`], among others.
    pub fn delete_daemon(&mut self, state: DaemonState) -> Result<(), Error> {
        self.run(Command::DeleteDaemon(state))
    }

    fn batch(
        &mut self,
        commands: &[Command],
        requests: &[Request],
    ) -> Result<Vec<Result<(), KernelError>>, Error> {
        self.socket.batch(requests).map_err(|source| {
            let what = match commands {
                [only] => only.to_string(),
                _ => format!("apply {} commands", commands.len()),
            };
            Error::Transport { what, source }
        })
    }

    /// Looks up the family again.
    pub(crate) fn renew(&mut self) -> Result<Renewal, Error> {
        let family = look_up(&mut self.socket)?;
        let before = std::mem::replace(&mut self.family, family);
        Ok(if before == family { Renewal::Same } else { Renewal::Changed })
    }

    pub(crate) fn request(&self, payload: Vec<u8>) -> Request {
        Request { kind: self.family, flags: 0, payload }
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
