//! The network interfaces and their addresses, as they are and as they change.
//!
//! In: rtnetlink of the namespace of the thread that opens it. Out: facts, each complete in itself:
//! first of everything there is, then of changes as the kernel makes them. Never: a choice
//! among interfaces or addresses, a change of any.

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

/// One thing the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The interface with this index has this name.
    Named(u32, String),
    /// There is no interface with this index any more.
    Gone(u32),
    /// This address is there, tentative or deprecated ones too.
    Has(Address),
    /// This address is not there any more.
    Lost(Address),
}

/// A listener.
#[derive(Debug)]
pub struct Interfaces {
    notices: Notices,
}

impl Interfaces {
    /// Begins to listen. What [`read`](Self::read) says afterwards can be brought up to date by
    /// [`changes`](Self::changes) without a gap.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn open() -> Result<Self, Error> {
        let groups = [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR];
        Ok(Self { notices: Notices::open(Family::Route, &groups, Options::default())? })
    }

    /// Says everything there is: interfaces, then addresses.
    ///
    /// # Errors
    /// If the kernel refuses, is not understood, or has no quiet moment.
    pub fn read(&self, mut hear: impl FnMut(Fact)) -> Result<(), Error> {
        // A socket of its own, and not for longer than this: reading is rare.
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

    /// Waits for changes.
    ///
    /// # Errors
    /// If the socket cannot be waited for.
    pub fn wait(&self) -> Result<(), Error> {
        self.notices.wait()
    }

    /// Says every change that waits.
    ///
    /// # Errors
    /// [`Error::StateUnknown`] if some were lost: then everything has to be read again.
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
