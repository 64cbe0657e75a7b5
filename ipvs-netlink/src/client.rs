//! The conversation with the kernel: commands applied.
//!
//! In: [`Command`]s. Out: a result for every one. Commands of a batch are applied in their order, and
//! a refused one does not stop the ones after it. Never: more than one exchange at a time; a number
//! of the family kept when the kernel knows it no more.

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

/// The calling thread's view: a thread may live in another network namespace than its process.
const TEXT: &str = "/proc/thread-self/net/ip_vs";
/// The same; since Linux 7.1.
const STATUS: &str = "/proc/thread-self/net/ip_vs_status";

/// A connection to the IPVS of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Client {
    pub(crate) socket: Socket,
    /// The number that the kernel gave the family when its module was loaded.
    pub(crate) family: u16,
    /// `/proc/net/ip_vs` of the same network namespace, or why there is none.
    pub(crate) text: Result<File, io::ErrorKind>,
    /// `/proc/net/ip_vs_status` of the same network namespace, where the kernel has it.
    pub(crate) status: Option<File>,
    /// What the last reading left out.
    pub(crate) unreadable: Vec<Unreadable>,
}

/// What looking up the family again has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Its number is what it was.
    Same,
    /// The module was unloaded and loaded again.
    Changed,
}

impl Client {
    /// Opens a socket and looks the family up. Since about Linux 5.16 the lookup loads `ip_vs` where
    /// the kernel may load modules by itself; with an earlier one load it first.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the kernel has no IPVS.
    pub fn open() -> Result<Self, Error> {
        Self::open_with(Options::default())
    }

    /// The same with a socket of these options.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the kernel has no IPVS.
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
    /// They travel together; thousands cost a few system calls.
    ///
    /// # Errors
    ///
    /// When the conversation itself fails. Any of the commands may have been applied then: read the
    /// kernel's state again. [`Error::Unsupported`] when the module has been unloaded meanwhile; where
    /// it has been loaded again the commands are sent once more.
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
        // It may be the family that there is none of.
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

    /// Looks the family up again.
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
