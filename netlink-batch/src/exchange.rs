//! Exchanges with the kernel: sends requests and matches the replies to them.
//!
//! Takes requests, and datagrams from a [`Wire`]. Gives results by request, or the messages of a dump.
//! Ignores a reply with another sequence number or port: it is left over from an exchange that failed. A
//! failed exchange leaves no replies for the next one.
//!
//! A batch is sent in chunks. A chunk ends where its datagram would not fit the send buffer. It also ends
//! where its replies, if every request fails, might not fit the receive buffer. The kernel processes a
//! datagram before `send` returns (`net/netlink/af_netlink.c: netlink_rcv_skb`), so the receive buffer is not
//! emptied meanwhile. A request that is not answered by then will never be, so a batch never waits for
//! results.

use std::io;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_NOOP, NLMSG_OVERRUN,
};

use crate::{
    Echo, Error, KernelError, Options, Reply, ReplyRef, Request, frame,
    frame::Message,
    wire::{Granted, Received, Wait, Wire, io_error},
};

/// The number of attempts to dump a table before giving up because it keeps changing.
const DUMP_TRIES: u32 = 16;
/// The default room for one datagram in bytes. Dumps come in pieces of 32 KiB if the reader offers at least
/// that much (`netlink_dump`). Only single replies and echoed requests can be longer.
pub(crate) const DATAGRAM_SIZE: usize = 128 << 10;
/// The size in bytes that the kernel may send even to a reader with less room (`NLMSG_GOODSIZE`, rounded up).
const LEAST_SIZE: usize = 8 << 10;
/// The bytes that a capped error message with its explanation costs in the receive buffer. The kernel also
/// counts the socket buffer around it.
const ERROR_COST: usize = 2048;
/// The longest datagram sent, in bytes. A longer one is not faster and costs the kernel one large allocation.
const SEND_SIZE: usize = 1 << 20;

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const ENOBUFS: i32 = 105;

/// A socket with the state of its exchanges.
#[derive(Debug)]
pub(crate) struct Exchange<W> {
    wire: W,
    granted: Granted,
    /// The next sequence number. The kernel uses zero for its own notifications.
    next: u32,
    incoming: Vec<u8>,
}

/// The decision to continue or end receiving.
enum Step<T> {
    More,
    End(T),
}

/// The result of one attempt to dump.
enum Dump<T> {
    Complete(T),
    Interrupted,
}

impl<W: Wire> Exchange<W> {
    pub(crate) fn new(wire: W, granted: Granted, options: Options) -> Self {
        let incoming = vec![0; options.datagram.max(LEAST_SIZE)];
        Exchange { wire, granted, next: 1, incoming }
    }

    pub(crate) fn batch(
        &mut self,
        requests: &[Request],
    ) -> Result<Vec<Result<(), KernelError>>, Error> {
        let mut results = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(self.chunk_len(rest));
            self.chunk(chunk, &mut results)?;
            rest = after;
        }
        Ok(results)
    }

    pub(crate) fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        self.fold_dump(request, Vec::new, |replies, reply| replies.push(reply.into()))
    }

    pub(crate) fn fold_dump<T>(
        &mut self,
        request: &Request,
        mut fresh: impl FnMut() -> T,
        mut take: impl FnMut(&mut T, ReplyRef<'_>),
    ) -> Result<T, Error> {
        for _ in 0..DUMP_TRIES {
            match self.dump_once(request, fresh(), &mut take)? {
                Dump::Complete(all) => return Ok(all),
                Dump::Interrupted => {}
            }
        }
        Err(Error::Interrupted { tries: DUMP_TRIES })
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        let first = self.send(std::slice::from_ref(request), NLM_F_ACK)?;
        let mut replies = Vec::new();
        self.receive(first, 1, Wait::Timeout, |_, message| match message.kind {
            NLMSG_ERROR => match message.error()? {
                None => Ok(Step::End(())),
                Some(error) => Err(error.into()),
            },
            // This ends a reply of several messages; the acknowledgement is still to come.
            NLMSG_DONE => message.done()?.map_or(Ok(Step::More), |error| Err(error.into())),
            kind => {
                replies.push(Reply { kind, payload: message.payload.to_vec() });
                Ok(Step::More)
            }
        })?;
        Ok(replies)
    }

    /// Returns how many of `requests` go into the next datagram: at least one.
    fn chunk_len(&self, requests: &[Request]) -> usize {
        let mut send_room = (self.granted.send_buffer / 2).min(SEND_SIZE);
        let mut reply_room = self.granted.receive_buffer / 2;
        let fitting = requests.iter().take_while(|request| {
            let length = frame::framed_len(request);
            let cost = match self.granted.echo {
                Echo::HeaderOnly => ERROR_COST,
                Echo::WholeRequest => ERROR_COST + 2 * length,
            };
            let fits = length <= send_room && cost <= reply_room;
            send_room = send_room.saturating_sub(length);
            reply_room = reply_room.saturating_sub(cost);
            fits
        });
        fitting.count().max(1)
    }

    /// Exchanges one chunk. The kernel reports every error before it acknowledges the last request, so the
    /// acknowledgement ends the exchange. Requests without an error by then have succeeded.
    ///
    /// The acknowledgement can be missing for two reasons. `nfnetlink_rcv` answers a caller without
    /// privileges with one `EPERM` to the first request, and drops the rest unread. And `netlink_rcv_skb`
    /// does not answer a request whose function returned `EINTR`; the result of the last request is then
    /// known all the same. A closing `NLMSG_NOOP` would be acknowledged too. But SELinux takes it for an
    /// unknown message of a route socket: it logs a warning each time, and refuses it under some policies.
    fn chunk(
        &mut self,
        requests: &[Request],
        results: &mut Vec<Result<(), KernelError>>,
    ) -> Result<(), Error> {
        let start = results.len();
        results.resize_with(start + requests.len(), || Ok(()));
        let chunk = results.get_mut(start..).unwrap_or_default();
        let first = self.send(requests, 0)?;
        let end = self.receive(first, requests.len(), Wait::No, |index, message| {
            if message.kind != NLMSG_ERROR {
                return Ok(Step::More);
            }
            if let (Some(error), Some(slot)) = (message.error()?, chunk.get_mut(index)) {
                *slot = Err(error);
            }
            Ok(if index + 1 == requests.len() { Step::End(()) } else { Step::More })
        });
        match end {
            Err(Error::TimedOut) => settle(chunk),
            end => end?,
        }
        Ok(())
    }

    fn dump_once<T>(
        &mut self,
        request: &Request,
        mut all: T,
        take: &mut impl FnMut(&mut T, ReplyRef<'_>),
    ) -> Result<Dump<T>, Error> {
        let first = self.send(std::slice::from_ref(request), NLM_F_DUMP)?;
        let mut interrupted = false;
        let end = |error: Option<KernelError>, interrupted| match error {
            Some(KernelError { errno: EINTR, .. }) => Ok(Step::End(true)),
            Some(error) => Err(error.into()),
            None => Ok(Step::End(interrupted)),
        };
        let interrupted = self.receive(first, 1, Wait::Timeout, |_, message| {
            interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                NLMSG_DONE => end(message.done()?, interrupted),
                NLMSG_ERROR => end(message.error()?, interrupted),
                // The replies of a failed attempt are discarded, so they need not be complete.
                _ if interrupted => Ok(Step::More),
                kind => {
                    take(&mut all, ReplyRef { kind, payload: message.payload });
                    Ok(Step::More)
                }
            }
        })?;
        Ok(if interrupted { Dump::Interrupted } else { Dump::Complete(all) })
    }

    /// Sends `requests` in one datagram and returns the sequence number of the first. Sets `flags` on each,
    /// and `NLM_F_ACK` on the last unless it is a dump.
    fn send(&mut self, requests: &[Request], flags: u16) -> Result<u32, Error> {
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let first = if self.next.checked_add(count).is_some() { self.next } else { 1 };
        self.next = first.saturating_add(count);
        let length = requests.iter().map(frame::framed_len).sum();
        let mut datagram = Vec::with_capacity(length);
        for (index, request) in requests.iter().enumerate() {
            let last = index + 1 == requests.len() && flags & NLM_F_DUMP == 0;
            let flags = NLM_F_REQUEST | flags | if last { NLM_F_ACK } else { 0 };
            frame::append(&mut datagram, request, flags, first.wrapping_add(index as u32));
        }
        if self.incoming.len() < length + ERROR_COST {
            // The kernel may echo a whole request.
            self.incoming.resize(length + ERROR_COST, 0);
        }
        self.wire.send(&datagram).map_err(io_error("send"))?;
        Ok(first)
    }

    /// Passes the replies to the `count` requests from number `first` on to `take`, with the index of the
    /// request, until `take` ends the exchange. If the exchange fails first, discards the rest of its
    /// replies.
    fn receive<T>(
        &mut self,
        first: u32,
        count: usize,
        wait: Wait,
        take: impl FnMut(usize, &Message<'_>) -> Result<Step<T>, Error>,
    ) -> Result<T, Error> {
        let result = self.receive_until_end(first, count, wait, take);
        if result.is_err() {
            self.drain();
        }
        result
    }

    fn receive_until_end<T>(
        &mut self,
        first: u32,
        count: usize,
        wait: Wait,
        mut take: impl FnMut(usize, &Message<'_>) -> Result<Step<T>, Error>,
    ) -> Result<T, Error> {
        loop {
            let length = match self.wire.receive(&mut self.incoming, wait) {
                Ok(Received::Whole(length)) => length,
                Ok(Received::Truncated(length)) => {
                    return Err(DecodeError::from(format!("a datagram of {length} bytes")).into());
                }
                Err(error) => return Err(receive_error(error)),
            };
            for message in frame::messages(self.incoming.get(..length).unwrap_or_default()) {
                let message = message?;
                let index = message.sequence.wrapping_sub(first) as usize;
                if message.port != self.granted.port || index >= count {
                    continue;
                }
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(Error::StateUnknown),
                    _ => match take(index, &message)? {
                        Step::More => {}
                        Step::End(end) => return Ok(end),
                    },
                }
            }
        }
    }

    /// Empties the receive queue. That also ends a running dump, which continues whenever its reader makes
    /// room, and lifts the congestion mark after `ENOBUFS`. Later replies have an old sequence number.
    fn drain(&mut self) {
        loop {
            match self.wire.receive(&mut self.incoming, Wait::No) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

/// Corrects the results of a chunk whose last request was not answered.
fn settle(chunk: &mut [Result<(), KernelError>]) {
    if let [Err(error), rest @ ..] = chunk
        && error.errno == EPERM
        && rest.iter().all(Result::is_ok)
    {
        let error = error.clone();
        rest.fill(Err(error));
    } else if let [.., last] = chunk {
        *last = Err(KernelError { errno: EINTR, ..KernelError::default() });
    }
}

fn receive_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::TimedOut,
        _ if error.raw_os_error() == Some(ENOBUFS) => Error::StateUnknown,
        _ => Error::Io { operation: "recv", source: error },
    }
}

#[cfg(test)]
mod tests;
