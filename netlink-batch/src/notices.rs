//! What the kernel tells everybody who listens: multicast groups.
//!
//! In: a netlink protocol and the numbers of groups. Out: the messages that wait, and, apart from
//! them, that some were lost. Never: a wait that was not asked for; the descriptor fits a poll loop
//! or an async runtime as well.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NLMSG_OVERRUN;
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    Error, Family, Options, frame,
    wire::{self, Received, Wait, Wire, io_error},
};

/// Room for one datagram. Notices come one in a datagram, each smaller than a page or two.
const RECEIVE_SIZE: usize = 32 << 10;
/// Message types below this one are netlink's own (`NLMSG_MIN_TYPE`).
const LEAST_KIND: u16 = 16;

const ENOBUFS: i32 = 105;

/// One message to all listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// Everything after the netlink header.
    pub payload: &'a [u8],
}

/// A socket that listens, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Notices {
    socket: netlink_sys::Socket,
    incoming: Vec<u8>,
}

impl Notices {
    /// Opens a socket and joins `groups`, by number (`RTNLGRP_LINK` is 1). Of the options only the
    /// receive buffer matters: how much may wait before notices are lost.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] naming the system call.
    pub fn open(family: Family, groups: &[u32], options: Options) -> Result<Self, Error> {
        let (socket, _) = wire::open(family, options)?;
        for group in groups {
            socket.add_membership(*group).map_err(io_error("NETLINK_ADD_MEMBERSHIP"))?;
        }
        Ok(Self { socket, incoming: vec![0; RECEIVE_SIZE] })
    }

    /// Waits, for as long as it takes, until there is something to take.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the socket cannot be waited for.
    pub fn wait(&self) -> Result<(), Error> {
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        wire::retry(|| poll(&mut sockets, None)).map(drop).map_err(io_error("poll"))
    }

    /// Hands on every message that waits, until none does.
    ///
    /// # Errors
    ///
    /// [`Error::StateUnknown`] when some were lost; all that were left have been handed on, and
    /// what comes from now on is whole again. [`Error::Io`] when the socket cannot be read.
    pub fn take(&mut self, mut hear: impl FnMut(Notice<'_>)) -> Result<(), Error> {
        let mut is_whole = true;
        loop {
            match self.socket.receive(&mut self.incoming, Wait::No) {
                Ok(Received::Whole(length)) => {
                    is_whole &= hand_on(self.incoming.get(..length).unwrap_or_default(), &mut hear);
                }
                Ok(Received::Truncated(_)) => is_whole = false,
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => is_whole = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(io_error("recv")(error)),
            }
        }
        if is_whole { Ok(()) } else { Err(Error::StateUnknown) }
    }
}

/// False if a part of the datagram makes no sense: what it said is lost.
fn hand_on(datagram: &[u8], hear: &mut impl FnMut(Notice<'_>)) -> bool {
    for message in frame::messages(datagram) {
        match message {
            Ok(message) if message.kind == NLMSG_OVERRUN => return false,
            Ok(message) if message.kind < LEAST_KIND => {}
            Ok(message) => hear(Notice { kind: message.kind, payload: message.payload }),
            Err(_) => return false,
        }
    }
    true
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
