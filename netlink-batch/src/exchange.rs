//! Requests out, replies matched.
//!
//! In: requests, and datagrams from a [`Wire`]. Out: results by request, or the messages of a dump.
//! Never: a reply with another sequence number or port is taken for ours (it is left over from an
//! exchange that failed); never does a failed exchange leave its replies to the next one.
//!
//! A chunk of a batch ends where its datagram would not fit the send buffer, or where its replies,
//! should every request fail, might not fit the receive buffer. The kernel works through a datagram
//! before `send` returns (`net/netlink/af_netlink.c: netlink_rcv_skb`), so nobody empties the
//! receive buffer meanwhile; and what has not been answered by then never will be, so the results of
//! a batch are never waited for.

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

/// How often a dump is begun before its table counts as never at rest.
const DUMP_TRIES: u32 = 16;
/// Room for one datagram. Dumps come in pieces of 32 KiB when the reader offers at least that much
/// (`netlink_dump`); only single replies and echoed requests can be longer.
pub(crate) const DATAGRAM_SIZE: usize = 128 << 10;
/// What the kernel may send at once without being asked for less (`NLMSG_GOODSIZE`, rounded up).
const LEAST_SIZE: usize = 8 << 10;
/// What a capped error message with its explanation costs in the receive buffer: the kernel counts
/// the socket buffer around it too.
const ERROR_COST: usize = 2048;
/// The longest datagram sent: more brings no speed and costs the kernel one large allocation.
const SEND_SIZE: usize = 1 << 20;

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const ENOBUFS: i32 = 105;

/// The state of a conversation with the kernel.
#[derive(Debug)]
pub(crate) struct Exchange<W> {
    wire: W,
    granted: Granted,
    /// The next sequence number. Zero is left to the kernel's own notifications.
    next: u32,
    incoming: Vec<u8>,
}

/// Whether to go on receiving.
enum Step<T> {
    More,
    End(T),
}

/// How one attempt to dump ended.
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
            // The end of a reply in several messages; the acknowledgement is still to come.
            NLMSG_DONE => message.done()?.map_or(Ok(Step::More), |error| Err(error.into())),
            kind => {
                replies.push(Reply { kind, payload: message.payload.to_vec() });
                Ok(Step::More)
            }
        })?;
        Ok(replies)
    }

    /// How many of `requests` go into the next datagram: at least one.
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

    /// Exchanges one chunk. Every error comes unasked and before the last request's
    /// acknowledgement, so that one ends the exchange; what had no error by then succeeded.
    ///
    /// An end without it has two causes. `nfnetlink_rcv` answers a caller without rights with one
    /// `EPERM`, to the first request, and drops the rest unread. And `netlink_rcv_skb` says nothing
    /// of a request whose function returned `EINTR`: the last one's result is then known all the
    /// same. (A closing `NLMSG_NOOP` would be acknowledged too, but SELinux takes it for an unknown
    /// message of a route socket: a warning in the log each time, under some policies a refusal.)
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
                // What is taken of an attempt that fails is thrown away: it need not be whole.
                _ if interrupted => Ok(Step::More),
                kind => {
                    take(&mut all, ReplyRef { kind, payload: message.payload });
                    Ok(Step::More)
                }
            }
        })?;
        Ok(if interrupted { Dump::Interrupted } else { Dump::Complete(all) })
    }

    /// Sends `requests` in one datagram, `flags` on each and `NLM_F_ACK` on the last unless it is
    /// a dump, and returns the first one's sequence number.
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

    /// Hands the messages that answer the `count` requests from number `first` on to `take`, with
    /// the index of the request, until it says that the exchange is complete. Should it fail
    /// before, the rest of its replies is thrown away.
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

    /// Empties the receive queue. That also ends a dump under way, which goes on whenever its
    /// reader makes room, and lifts the congestion mark after `ENOBUFS`. What might still come
    /// later has an old sequence number.
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

/// The results of a chunk whose last request was not answered.
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
