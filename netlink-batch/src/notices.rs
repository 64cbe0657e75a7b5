//! Notices that the kernel sends to all listeners of a multicast group.
//!
//! Takes a netlink protocol and group numbers. Gives the messages that wait, and reports separately if some
//! were lost. Waits only if asked to. The descriptor also works in a poll loop or an async runtime.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NLMSG_OVERRUN;
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    Error, Family, Options, frame,
    wire::{self, Received, Wait, Wire, io_error},
};

/// The room for one datagram in bytes. Each notice has its own datagram and is smaller than a page or two.
const RECEIVE_SIZE: usize = 32 << 10;
/// The lowest message type of a family; those below belong to netlink itself (`NLMSG_MIN_TYPE`).
const LEAST_KIND: u16 = 16;

const ENOBUFS: i32 = 105;

/// A message to all listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The message type (`nlmsg_type`).
    pub kind: u16,
    /// Everything after the netlink header.
    pub payload: &'a [u8],
}

/// A listening socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Notices {
    socket: netlink_sys::Socket,
    incoming: Vec<u8>,
}

impl Notices {
    /// Opens a socket and joins `groups`, by number (`RTNLGRP_LINK` is 1). The only option that matters is
    /// the receive buffer: it limits how many notices may wait before some are lost.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Io`] with the name of the system call.
    pub fn open(family: Family, groups: &[u32], options: Options) -> Result<Self, Error> {
        let (socket, _) = wire::open(family, options)?;
        for group in groups {
            socket.add_membership(*group).map_err(io_error("NETLINK_ADD_MEMBERSHIP"))?;
        }
        Ok(Self { socket, incoming: vec![0; RECEIVE_SIZE] })
    }

    /// Waits without a time limit until there is a message to take.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Io`] if waiting for the socket fails.
    pub fn wait(&self) -> Result<(), Error> {
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        wire::retry(|| poll(&mut sockets, None)).map(drop).map_err(io_error("poll"))
    }

    /// Passes every waiting message to `hear`, until none is left.
    ///
    /// # Errors
    ///
    /// Returns [`Error::StateUnknown`] if some were lost. All others have been passed on by then, and later
    /// notices are complete again. Returns [`Error::Io`] if the socket cannot be read.
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

/// Passes on the messages of a datagram. False if part of the datagram is malformed and therefore lost.
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
