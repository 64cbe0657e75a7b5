//! Virtual servers and destinations, through `ipvs-netlink`.
//!
//! Takes changes of virtual servers and destinations, and returns a result for each, from one batch. Reads
//! the whole table in one pass. Skips virtual servers for firewall marks and of other
//! protocols than TCP, UDP and SCTP, which cannot be this proxy's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipvs_netlink::proc::{ListedDestination, ListedForward};
use ipvs_netlink::{
    Client, Command, Destination, DestinationKey, Error, Refusal, Service, ServiceKey, Timeouts,
};
use netlink_batch::Options;
use proxier::apply::{Answered, Cause, Connections};
use proxier::diff::{ObservedDestination, ObservedServer, ServerChange};
use proxier::model::Protocol;
use proxier::plan::{ServerFlags, ServerSettings, VirtualServerDestination, VirtualServerKey};

use super::all_failed;
use super::cause::cause;

/// A virtual server, for output to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldServer {
    /// The protocol, address and port.
    pub key: VirtualServerKey,
    /// The scheduler, flags and timeout.
    pub settings: ServerSettings,
    /// The destinations, in the order of their addresses.
    pub destinations: Vec<HeldDestination>,
}

/// A destination with its connections, for output to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldDestination {
    /// The address and port.
    pub address: SocketAddr,
    /// The weight, which is its share of new connections.
    pub weight: u32,
    /// The number of active connections.
    pub active: u32,
    /// The number of inactive connections.
    pub inactive: u32,
    /// The forwarding method, in one word.
    pub forwarding: &'static str,
}

/// A connection to IPVS.
pub(super) struct Servers {
    client: Client,
    /// The client that counts connections, for one virtual server at a time.
    counting: Client,
}

/// The address and port of a virtual server that tests a scheduler and stands for an instant (spec 3.10). The
/// address is reserved for documentation (RFC 5737).
const PROBE: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 0)), 20000);

/// The receive buffer for the destinations of a virtual server, in bytes. It holds some twenty of them, and
/// most virtual servers have fewer. The kernel clears no more than that for its answer.
const FIRST_DESTINATIONS_BUFFER: usize = 8 << 10;

impl Servers {
    /// Connects to IPVS.
    ///
    /// # Errors
    /// Fails if the kernel has no IPVS or the process may not use it.
    pub(super) fn open() -> Result<Self, Error> {
        let mut client = Client::open()?;
        client.info()?;
        let counting = Client::open_with(Options {
            datagram: FIRST_DESTINATIONS_BUFFER,
            ..Options::default()
        })?;
        Ok(Self { client, counting })
    }

    /// Reads all virtual servers with their destinations, those of other programs included. Leaves out those for
    /// firewall marks and those of protocols that a Service cannot have. Does not decide which are this proxy's.
    pub(super) fn observe(&mut self) -> Result<BTreeMap<VirtualServerKey, ObservedServer>, Cause> {
        let table = self.client.table().map_err(cause)?;
        // This proxy can read every virtual server that it writes, so one that it cannot read is another program's.
        for unreadable in self.client.unreadable() {
            tracing::debug!("left out of the table of virtual servers: {unreadable}");
        }
        let mut schedulers = Schedulers::default();
        let servers = table.into_iter().filter_map(|server| {
            let key = core_key(server.service.key)?;
            Some((key, observed(&server.service, &server.destinations, &mut schedulers)))
        });
        Ok(servers.collect())
    }

    /// Reads one virtual server; `None` if it does not exist.
    pub(super) fn read(&mut self, key: &VirtualServerKey) -> Result<Option<ObservedServer>, Cause> {
        let key = service_key(key);
        let Some(service) = self.client.service(key).map_err(cause)? else { return Ok(None) };
        let destinations = self.client.destinations(key).map_err(cause)?;
        let destinations: Vec<_> = destinations.iter().map(ListedDestination::from).collect();
        Ok(Some(observed(&service, &destinations, &mut Schedulers::default())))
    }

    /// Reads all virtual servers, with the connections of each destination.
    pub(super) fn held(&mut self) -> Result<Vec<HeldServer>, Cause> {
        let table = self.client.table().map_err(cause)?;
        let mut schedulers = Schedulers::default();
        let held = table.into_iter().filter_map(|server| {
            let mut destinations: Vec<_> = server.destinations.iter().map(held).collect();
            destinations.sort();
            let settings = core_settings(&server.service, &mut schedulers);
            Some(HeldServer { key: core_key(server.service.key)?, settings, destinations })
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by_key(|server| server.key);
        Ok(held)
    }

    pub(super) fn count_connections(
        &mut self,
        of: &BTreeSet<VirtualServerDestination>,
    ) -> Result<Connections, Cause> {
        let mut counts = Connections::new();
        let keys: BTreeSet<_> = of.iter().map(|(key, _)| *key).collect();
        for key in keys {
            for found in self.counting.destinations_once(service_key(&key)).map_err(cause)? {
                let asked = (key, SocketAddr::new(found.address, found.port));
                if of.contains(&asked) {
                    let connections = found.connections.unwrap_or_default();
                    let count = connections.active.saturating_add(connections.inactive);
                    counts.insert(asked, count);
                }
            }
        }
        Ok(counts)
    }

    pub(super) fn carry_out(&mut self, changes: Vec<ServerChange>) -> Vec<Answered<ServerChange>> {
        let commands: Vec<_> = changes.iter().map(command).collect();
        let answered = |(change, result)| match result {
            Err(error) if !is_fine(&change, &error) => (change, Err(cause(error))),
            Ok(()) | Err(_) => (change, Ok(())),
        };
        match self.client.apply(&commands) {
            Ok(results) => changes.into_iter().zip(results).map(answered).collect(),
            Err(error) => all_failed(changes, &cause(error)),
        }
    }

    /// Checks that the kernel has a scheduler; the kernel loads its module if necessary.
    pub(super) fn try_scheduler(&mut self, scheduler: &str) -> Result<(), Cause> {
        if self.client.lists_scheduler(scheduler) {
            return Ok(());
        }
        let key = ServiceKey::address(ipvs_netlink::Protocol::TCP, PROBE.0, PROBE.1);
        match self.client.new_service(Service::new(key, scheduler)) {
            Ok(()) | Err(Error::Refused { refusal: Refusal::AlreadyExists, .. }) => {
                self.client.delete_service(key).map_err(cause)
            }
            Err(Error::Refused { refusal: Refusal::UnknownScheduler, .. }) => {
                Err(Cause::new(format!(
                    "the kernel has no IPVS scheduler {scheduler:?}: load its module with \
                 `modprobe ip_vs_{scheduler}`"
                )))
            }
            Err(error) => Err(cause(error)),
        }
    }

    /// Sets the timeouts, in seconds, that are not 0.
    pub(super) fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Cause> {
        if timeouts == Timeouts::default() {
            return Ok(());
        }
        self.client.set_timeouts(timeouts).map_err(cause)
    }
}

fn observed(
    service: &Service,
    destinations: &[ListedDestination],
    schedulers: &mut Schedulers,
) -> ObservedServer {
    let destinations = destinations.iter().map(|listed| {
        let connections = listed.active_connections.saturating_add(listed.inactive_connections);
        let found = ObservedDestination {
            weight: listed.weight,
            // The kernel itself turns a destination on this node into a local one.
            masquerades: matches!(listed.forward, ListedForward::Masquerade | ListedForward::Local),
            connections: Some(connections),
        };
        (SocketAddr::new(listed.address, listed.port), found)
    });
    ObservedServer {
        settings: core_settings(service, schedulers),
        destinations: destinations.collect(),
    }
}

fn held(listed: &ListedDestination) -> HeldDestination {
    HeldDestination {
        address: SocketAddr::new(listed.address, listed.port),
        weight: listed.weight,
        active: listed.active_connections,
        inactive: listed.inactive_connections,
        forwarding: match listed.forward {
            ListedForward::Masquerade => "masquerade",
            ListedForward::Local => "local",
            ListedForward::Tunnel => "tunnel",
            ListedForward::DirectRoute => "direct",
        },
    }
}

fn command(change: &ServerChange) -> Command {
    match change {
        ServerChange::Add(key, settings) => Command::NewService(service(key, settings)),
        ServerChange::Update(key, settings) => Command::SetService(service(key, settings)),
        ServerChange::Remove(key) => Command::DeleteService(service_key(key)),
        ServerChange::AddDestination(key, destination, weight) => {
            Command::NewDestination(service_key(key), weighted(destination, *weight))
        }
        ServerChange::UpdateDestination(key, destination, weight) => {
            Command::SetDestination(service_key(key), weighted(destination, *weight))
        }
        ServerChange::RemoveDestination(key, destination) => {
            let destination = DestinationKey::new(destination.ip(), destination.port());
            Command::DeleteDestination(service_key(key), destination)
        }
    }
}

/// True if the kernel refuses to remove an object because it does not exist, which is the wanted state.
fn is_fine(change: &ServerChange, error: &Error) -> bool {
    let gone =
        |refusal: &Refusal| matches!(refusal, Refusal::NoSuchService | Refusal::NoSuchDestination);
    matches!(change, ServerChange::Remove(_) | ServerChange::RemoveDestination(..))
        && matches!(error, Error::Refused { refusal, .. } if gone(refusal))
}

fn weighted(destination: &SocketAddr, weight: u32) -> Destination {
    let mut wanted = Destination::new(destination.ip(), destination.port());
    wanted.weight = weight;
    wanted
}

fn service(key: &VirtualServerKey, settings: &ServerSettings) -> Service {
    let mut service = Service::new(service_key(key), &*settings.scheduler);
    service.flags = ipvs_netlink::ServiceFlags::exactly(settings.flags.0);
    service.timeout = settings.timeout;
    service
}

/// The scheduler name of the last virtual server, shared with the next one if it has the same.
#[derive(Default)]
struct Schedulers(Option<Arc<str>>);

impl Schedulers {
    fn share(&mut self, name: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *name => Arc::clone(last),
            Some(_) | None => Arc::clone(self.0.insert(name.into())),
        }
    }
}

/// Converts the settings of a virtual server into those of the core.
fn core_settings(service: &Service, schedulers: &mut Schedulers) -> ServerSettings {
    let flags = ServerFlags(service.flags.value & !ServerFlags::HASHED.0);
    // Without persistence the kernel keeps a timeout that has no effect.
    let timeout = if flags.has(ServerFlags::PERSISTENT) { service.timeout } else { 0 };
    ServerSettings { scheduler: schedulers.share(&service.scheduler), flags, timeout }
}

pub(super) fn service_key(key: &VirtualServerKey) -> ServiceKey {
    let protocol = ipvs_netlink::Protocol(key.protocol.number());
    ServiceKey::address(protocol, key.address, key.port)
}

/// Converts the key of a virtual server into that of the core. `None` if no Service can have it.
pub(super) fn core_key(key: ServiceKey) -> Option<VirtualServerKey> {
    let ServiceKey::Address { protocol, address, port } = key else { return None };
    let protocol = Protocol::of_number(protocol.0)?;
    Some(VirtualServerKey { protocol, address, port })
}
