//! Reads and follows the network interfaces and their addresses.
//!
//! Uses rtnetlink in the network namespace of the thread that opens it. Gives facts, each complete in itself:
//! first everything that exists, then changes as the kernel reports them. Does not choose among interfaces or
//! addresses, or change any.

pub use netlink_batch::Error;
use netlink_batch::attribute::Writer;
use netlink_batch::{DecodeError, Family, Notices, Options, Request, Socket};

pub use super::route::Address;
use super::route::{
    Link, RTM_DELADDR, RTM_DELLINK, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK,
};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

/// A fact about an interface or an address, as reported by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The interface with this index has this name.
    Named(u32, String),
    /// The interface with this index no longer exists.
    Gone(u32),
    /// This address exists; it may be tentative or deprecated.
    Has(Address),
    /// This address no longer exists.
    Lost(Address),
}

/// A socket that listens to changes.
#[derive(Debug)]
pub struct Interfaces {
    notices: Notices,
}

impl Interfaces {
    /// Begins to listen. Changes after a later [`read`](Self::read) come from [`changes`](Self::changes)
    /// without a gap.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        let groups = [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
        Ok(Self { notices: Notices::open(Family::Route, &groups, Options::default())? })
    }

    /// Reports everything that exists to `hear`: interfaces, then addresses.
    ///
    /// # Errors
    /// Fails if the kernel refuses, if its answer cannot be read, or if it changes during every attempt.
    pub fn read(&self, mut hear: impl FnMut(Fact)) -> Result<(), Error> {
        // Reading is rare, so that its socket is not kept open.
        let mut socket = Socket::open(Family::Route)?;
        let mut payload = vec![0; 16];
        Writer::new(&mut payload).fixed(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let links = Request { kind: RTM_GETLINK, flags: 0, payload };
        let addresses = Request { kind: RTM_GETADDR, flags: 0, payload: vec![0; 8] };
        for request in [links, addresses] {
            for reply in socket.dump(&request)? {
                if let Some(fact) = fact(reply.kind, &reply.payload)? {
                    hear(fact);
                }
            }
        }
        Ok(())
    }

    /// Waits until changes arrive.
    ///
    /// # Errors
    /// Fails if the socket cannot be waited for.
    pub fn wait(&self) -> Result<(), Error> {
        self.notices.wait()
    }

    /// Reports every waiting change to `hear`.
    ///
    /// # Errors
    /// [`Error::StateUnknown`] if changes were lost, so that everything has to be read again.
    pub fn changes(&mut self, mut hear: impl FnMut(Fact)) -> Result<(), Error> {
        let mut misread = None;
        let taken = self.notices.take(|notice| match fact(notice.kind, notice.payload) {
            Ok(fact) => fact.into_iter().for_each(&mut hear),
            Err(error) => misread = Some(error),
        });
        taken.and(misread.map_or(Ok(()), |error| Err(error.into())))
    }
}

fn fact(kind: u16, payload: &[u8]) -> Result<Option<Fact>, DecodeError> {
    Ok(match kind {
        RTM_NEWLINK => Link::read(payload)?.map(|link| Fact::Named(link.index, link.name)),
        RTM_DELLINK => Link::read(payload)?.map(|link| Fact::Gone(link.index)),
        RTM_NEWADDR => Address::read(payload)?.map(Fact::Has),
        RTM_DELADDR => Address::read(payload)?.map(Fact::Lost),
        _ => None,
    })
}
