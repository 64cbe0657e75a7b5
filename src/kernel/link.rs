//! The dummy device and its addresses, through rtnetlink.
//!
//! Takes addresses to add and remove, and returns a result for each. Reads the addresses of the device. Does
//! not bring the device up: addresses on a down device are local too, and upstream leaves it down. Does not
//! change any other device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlink_batch::{Error, Family, KernelError, Reply, Request, Socket};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NetlinkSerializable};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use proxier::apply::Answered;
use proxier::diff::AddressChange;

use super::all_failed;
use super::cause::{EADDRNOTAVAIL, EEXIST, ENODEV, ENXIO, cause};
use super::route::{self, Address, Link, RTM_NEWADDR, RTM_NEWLINK};

pub use proxier::model::DUMMY_DEVICE as DEVICE;

/// A route socket for the dummy device.
pub(super) struct Links {
    socket: Socket,
    /// Addresses found with a prefix other than a host's, which their removal has to name.
    odd: BTreeMap<IpAddr, u8>,
}

impl Links {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Family::Route)?, odd: BTreeMap::new() })
    }

    /// The device's index; `None` if it does not exist.
    pub(super) fn index(&mut self) -> Result<Option<u32>, Error> {
        let link = self.find()?.map_or(Ok(None), |reply| Link::read(&reply.payload))?;
        Ok(link.map(|link| link.index))
    }

    /// The kind of the device of this name, such as `bridge`, if it is not a dummy device. Hardware has no
    /// kind and is called `device without a kind`. `None` if it is a dummy device or does not exist.
    pub(super) fn other_kind(&mut self) -> Result<Option<String>, Error> {
        let Some(found) = self.find()? else { return Ok(None) };
        let kind = route::kind(&found.payload)?;
        let kind = kind.unwrap_or_else(|| "device without a kind".to_owned());
        Ok((kind != "dummy").then_some(kind))
    }

    fn find(&mut self) -> Result<Option<Reply>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(DEVICE.into()));
        match self.socket.ask(&request(RouteNetlinkMessage::GetLink(message), 0)) {
            Ok(replies) => Ok(replies.into_iter().find(|reply| reply.kind == RTM_NEWLINK)),
            Err(Error::Kernel(KernelError { errno: ENODEV, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the device. Succeeds if it does not exist.
    pub(super) fn delete(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.socket.ask(&request(RouteNetlinkMessage::DelLink(message), 0)) {
            Ok(_) | Err(Error::Kernel(KernelError { errno: ENODEV, .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Creates the device with its name, a transmit queue length of 0 and the kind `dummy`.
    pub(super) fn create(&mut self) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(DEVICE.into()),
            LinkAttribute::TxQueueLen(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]),
        ];
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        match self.socket.ask(&request(RouteNetlinkMessage::NewLink(message), flags)) {
            Ok(_) => Ok(()),
            Err(Error::Kernel(KernelError { errno: EEXIST, .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads the addresses of the device.
    pub(super) fn addresses(&mut self, index: u32) -> Result<BTreeSet<IpAddr>, Error> {
        let every = request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0);
        let replies = self.socket.dump(&every)?;
        let mut found = BTreeSet::new();
        self.odd.clear();
        for reply in replies.iter().filter(|reply| reply.kind == RTM_NEWADDR) {
            // An address that cannot be read is an error, because it must not count as absent.
            let address = Address::read(&reply.payload)?.filter(|address| address.index == index);
            if let Some(Address { local, prefix, .. }) = address {
                found.insert(local);
                if prefix != full_length(local) {
                    self.odd.insert(local, prefix);
                }
            }
        }
        Ok(found)
    }

    /// Changes addresses in one batch. A change whose result already stands succeeds.
    pub(super) fn carry_out(
        &mut self,
        index: u32,
        changes: Vec<AddressChange>,
    ) -> Vec<Answered<AddressChange>> {
        match self.change(index, &changes) {
            Ok(results) => changes
                .into_iter()
                .zip(results)
                .map(|(change, result)| (change, result.map_err(cause)))
                .collect(),
            Err(error) => all_failed(changes, &cause(error)),
        }
    }

    fn change(
        &mut self,
        index: u32,
        changes: &[AddressChange],
    ) -> Result<Vec<Result<(), KernelError>>, Error> {
        let mut results = self.try_to_change(index, changes)?;
        let is_unknown = |(change, result): (&AddressChange, &Result<(), KernelError>)| {
            let is_absent = matches!(result, Err(error) if error.errno == EADDRNOTAVAIL);
            matches!(change, AddressChange::Remove(_)) && is_absent
        };
        // Another reader may have found the address with another prefix.
        if changes.iter().zip(&results).any(is_unknown) {
            self.addresses(index)?;
            results = self.try_to_change(index, changes)?;
        }
        for (change, result) in changes.iter().zip(&mut results) {
            if result.as_ref().is_err_and(|error| is_fine(*change, error.errno)) {
                *result = Ok(());
            }
        }
        Ok(results)
    }

    fn try_to_change(
        &mut self,
        index: u32,
        changes: &[AddressChange],
    ) -> Result<Vec<Result<(), KernelError>>, Error> {
        let requests: Vec<_> = changes.iter().map(|change| self.encode(index, *change)).collect();
        self.socket.batch(&requests)
    }

    fn encode(&self, index: u32, change: AddressChange) -> Request {
        match change {
            AddressChange::Add(address) => {
                let message = message(index, address, full_length(address));
                request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            }
            AddressChange::Remove(address) => {
                let prefix = self.odd.get(&address).copied();
                let message = message(index, address, prefix.unwrap_or(full_length(address)));
                request(RouteNetlinkMessage::DelAddress(message), 0)
            }
        }
    }
}

/// True if the refusal means that the result of the change already stands.
fn is_fine(change: AddressChange, errno: i32) -> bool {
    match change {
        AddressChange::Add(_) => errno == EEXIST,
        AddressChange::Remove(_) => errno == EADDRNOTAVAIL || errno == ENXIO,
    }
}

fn full_length(address: IpAddr) -> u8 {
    proxier::model::Family::of(address).host_prefix()
}

/// Makes a message for an address with global scope.
fn message(index: u32, address: IpAddr, prefix_len: u8) -> AddressMessage {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family,
        prefix_len,
        scope: AddressScope::Universe,
        index,
        ..AddressHeader::default()
    };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

fn request(message: RouteNetlinkMessage, flags: u16) -> Request {
    let mut payload = vec![0; message.buffer_len()];
    message.serialize(&mut payload);
    Request { kind: message.message_type(), flags, payload }
}
