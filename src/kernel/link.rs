//! The dummy device and the addresses on it, through rtnetlink.
//!
//! In: addresses to add and remove. Out: one result each; the addresses that are there. Never: a
//! device brought up (the kernel makes addresses on a down device local all the same, and upstream
//! leaves it down), a change to any other device.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_batch::{Error, Family, KernelError, Request, Socket};
use netlink_packet_core::{
    NLM_F_CREATE, NLM_F_EXCL, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::errno;

/// The device that makes service addresses local.
pub const DEVICE: &str = "kube-ipvs0";

/// What is asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressChange {
    /// Make it local; one that is local already is fine.
    Add(IpAddr),
    /// Take it off the device; one that is not there is fine.
    Remove(IpAddr),
}

/// A route socket and the device's index once known.
pub(super) struct Links {
    socket: Socket,
}

impl Links {
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(Family::Route)? })
    }

    /// The device's index, if it exists.
    pub(super) fn index(&mut self) -> Result<Option<u32>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(DEVICE.into()));
        match self.socket.ask(&request(RouteNetlinkMessage::GetLink(message), 0)) {
            Ok(replies) => {
                Ok(replies.iter().find_map(|reply| match decode(reply.kind, &reply.payload) {
                    Some(RouteNetlinkMessage::NewLink(link)) => Some(link.header.index),
                    _ => None,
                }))
            }
            Err(Error::Kernel(KernelError { errno: errno::ENODEV, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the device: name, transmit queue length 0, kind dummy, nothing else.
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
            Err(Error::Kernel(KernelError { errno: errno::EEXIST, .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The addresses on a device.
    pub(super) fn addresses(&mut self, index: u32) -> Result<BTreeSet<IpAddr>, Error> {
        let every = request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), 0);
        let replies = self.socket.dump(&every)?;
        Ok(replies
            .iter()
            .filter_map(|reply| match decode(reply.kind, &reply.payload)? {
                RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                    local_address(&message)
                }
                _ => None,
            })
            .collect())
    }

    /// Changes addresses in one batch.
    pub(super) fn change(
        &mut self,
        index: u32,
        changes: &[AddressChange],
    ) -> Result<Vec<Result<(), KernelError>>, Error> {
        let requests: Vec<_> = changes.iter().map(|change| encode(index, *change)).collect();
        let mut results = self.socket.batch(&requests)?;
        for (change, result) in changes.iter().zip(&mut results) {
            if result.as_ref().is_err_and(|error| is_fine(*change, error.errno)) {
                *result = Ok(());
            }
        }
        Ok(results)
    }
}

/// Which refusals mean that the address already is as asked.
fn is_fine(change: AddressChange, errno: i32) -> bool {
    match change {
        AddressChange::Add(_) => errno == errno::EEXIST,
        AddressChange::Remove(_) => errno == errno::EADDRNOTAVAIL || errno == errno::ENXIO,
    }
}

fn encode(index: u32, change: AddressChange) -> Request {
    match change {
        AddressChange::Add(address) => request(
            RouteNetlinkMessage::NewAddress(host_address(index, address)),
            NLM_F_CREATE | NLM_F_EXCL,
        ),
        AddressChange::Remove(address) => {
            request(RouteNetlinkMessage::DelAddress(host_address(index, address)), 0)
        }
    }
}

/// An address with a full-length prefix and global scope.
fn host_address(index: u32, address: IpAddr) -> AddressMessage {
    let (family, prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
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

/// IPv4 names the address `IFA_LOCAL`; IPv6 without a peer gives `IFA_ADDRESS` alone.
fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}

fn request(message: RouteNetlinkMessage, flags: u16) -> Request {
    let mut payload = vec![0; message.buffer_len()];
    message.serialize(&mut payload);
    Request { kind: message.message_type(), flags, payload }
}

fn decode(kind: u16, payload: &[u8]) -> Option<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    RouteNetlinkMessage::deserialize(&header, payload).ok()
}
