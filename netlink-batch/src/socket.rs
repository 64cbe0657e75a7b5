//! The netlink socket that callers use.
//!
//! Takes a netlink protocol and options. Gives answers to batches, dumps and single requests, one exchange at
//! a time. Threads cannot share it at once (`&mut self`). It never starts a second dump before the first has
//! ended, which the kernel would refuse with `EBUSY`.

use std::time::Duration;

use crate::{
    Error, KernelError, Reply, ReplyRef, Request,
    exchange::{self, Exchange},
    wire,
};

/// The netlink protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// The protocol `NETLINK_ROUTE`: links, addresses, routes.
    Route,
    /// The protocol `NETLINK_GENERIC`: families found by name, such as IPVS.
    Generic,
    /// The protocol `NETLINK_NETFILTER`: ipset, conntrack, nftables.
    Netfilter,
}

impl Family {
    pub(crate) fn protocol(self) -> isize {
        match self {
            Family::Route => netlink_sys::protocols::NETLINK_ROUTE,
            Family::Generic => netlink_sys::protocols::NETLINK_GENERIC,
            Family::Netfilter => netlink_sys::protocols::NETLINK_NETFILTER,
        }
    }
}

/// The part of a refused request that the kernel sends back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Echo {
    /// The header, which suffices to identify the request (`NETLINK_CAP_ACK`).
    #[default]
    HeaderOnly,
    /// The whole request, in [`KernelError::echo`].
    WholeRequest,
}

/// The options of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The part of a refused request that the kernel sends back.
    pub echo: Echo,
    /// The longest wait for a reply to a single request or dump before [`Error::TimedOut`]. Normally the
    /// kernel has answered before `send` returns; batches rely on that and never wait.
    pub receive_timeout: Duration,
    /// The requested size of the receive buffer in bytes, which limits how many replies may wait. The kernel
    /// doubles it for its own bookkeeping. It enforces a minimum, and a maximum for callers without
    /// `CAP_NET_ADMIN` (`net.core.rmem_max`). This is a limit, not an allocation.
    pub receive_buffer: usize,
    /// The room for one datagram in bytes. A dump comes in pieces of at most 32 KiB and of at most this size.
    /// For each piece the kernel allocates and clears that much, however short its content
    /// (`net/netlink/af_netlink.c: netlink_dump`). A page or two suits many small dumps.
    pub datagram: usize,
}

impl Default for Options {
    /// Returns the defaults: header only, ten seconds, 16 MiB, 128 KiB.
    fn default() -> Self {
        Options {
            echo: Echo::default(),
            receive_timeout: Duration::from_secs(10),
            receive_buffer: wire::BUFFER_SIZE,
            datagram: exchange::DATAGRAM_SIZE,
        }
    }
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    exchange: Exchange<netlink_sys::Socket>,
}

impl Socket {
    /// Opens a socket with the default [`Options`].
    ///
    /// # Errors
    ///
    /// Returns [`Error::Io`] with the name of the system call.
    pub fn open(family: Family) -> Result<Self, Error> {
        Self::open_with(family, Options::default())
    }

    /// Opens a socket.
    ///
    /// Enlarges the send and receive buffers beyond the system's limit if the process may do so, else up to
    /// the limit.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Io`] with the name of the system call.
    pub fn open_with(family: Family, options: Options) -> Result<Self, Error> {
        let (socket, granted) = wire::open(family, options)?;
        Ok(Socket { exchange: Exchange::new(socket, granted, options) })
    }

    /// Sends all `requests` and returns one result for each, in order.
    ///
    /// Uses as few sends as the buffers allow. A refused request does not stop those after it. If the process
    /// has no privileges at all, every request is refused with `EPERM`.
    ///
    /// The kernel does not answer a request that ended with `EINTR` (`net/netlink/af_netlink.c:
    /// netlink_rcv_skb`). If it is the last one of its send, it is reported as refused with `EINTR`.
    /// Otherwise it looks like a success. The meaning depends on the family: IPVS has then stopped a sync
    /// daemon that had not begun to run.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange itself fails, for example [`Error::StateUnknown`]. Any of the
    /// requests may have been applied then.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<Result<(), KernelError>>, Error> {
        self.exchange.batch(requests)
    }

    /// Reads a table: sends `request` with `NLM_F_DUMP` and returns every message of the answer.
    ///
    /// Repeats the dump a few times if the table changed meanwhile.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Kernel`] if the kernel refuses or aborts the dump, [`Error::Interrupted`] if the
    /// table changed during every attempt, or another error if the exchange fails.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        self.exchange.dump(request)
    }

    /// Reads a table without storing it: passes every message of the answer to `take` as it comes.
    ///
    /// A large table needs no more memory than one datagram and whatever `take` keeps. An attempt that was
    /// interrupted because the table changed does not count. Each attempt begins with a new value from
    /// `fresh`, so that no message counts twice and none is missing. Only the value of the complete attempt
    /// is returned. Other state that `take` changes may be changed by several attempts.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`dump`](Socket::dump).
    pub fn fold_dump<T>(
        &mut self,
        request: &Request,
        fresh: impl FnMut() -> T,
        take: impl FnMut(&mut T, ReplyRef<'_>),
    ) -> Result<T, Error> {
        self.exchange.fold_dump(request, fresh, take)
    }

    /// Sends one request and returns the messages that answer it; often exactly one.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Kernel`] if the kernel refuses the request, or another error if the exchange fails.
    pub fn ask(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        self.exchange.ask(request)
    }
}
