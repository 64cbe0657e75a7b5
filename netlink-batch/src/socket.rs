//! The socket callers hold.
//!
//! In: a netlink protocol and options. Out: batches, dumps and single questions answered, one
//! exchange at a time. Never: shared between threads at once (`&mut self`), never a second dump
//! begun before the first ended, which the kernel refuses with `EBUSY`.

use std::time::Duration;

use crate::{
    Error, KernelError, Reply, ReplyRef, Request,
    exchange::{self, Exchange},
    wire,
};

/// Which netlink protocol a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// `NETLINK_ROUTE`: links, addresses, routes.
    Route,
    /// `NETLINK_GENERIC`: families found by name, IPVS among them.
    Generic,
    /// `NETLINK_NETFILTER`: ipset, conntrack, nftables.
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

/// How much of a refused request the kernel sends back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Echo {
    /// Its header, which is all that is needed to know which one it was (`NETLINK_CAP_ACK`).
    #[default]
    HeaderOnly,
    /// All of it, in [`KernelError::echo`].
    WholeRequest,
}

/// How a socket behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much of a refused request comes back.
    pub echo: Echo,
    /// How long to wait for a reply to a question or dump before [`Error::TimedOut`]. The kernel
    /// has normally answered before `send` returns; batches rely on it and never wait.
    pub receive_timeout: Duration,
    /// Bytes of the receive buffer to ask for: how many replies may wait. The kernel doubles the
    /// number for its own books, has a least one, and a largest one for callers without
    /// `CAP_NET_ADMIN` (`net.core.rmem_max`). It is a limit, not an allocation.
    pub receive_buffer: usize,
    /// Bytes of room for one datagram. A dump comes in pieces of at most 32 KiB and of at most this, and for each
    /// piece the kernel allocates and clears that much, however little it has to say
    /// (`net/netlink/af_netlink.c: netlink_dump`): a page or two suits many small dumps.
    pub datagram: usize,
}

impl Default for Options {
    /// Header only, ten seconds, 16 MiB, 128 KiB.
    fn default() -> Self {
        Options {
            echo: Echo::default(),
            receive_timeout: Duration::from_secs(10),
            receive_buffer: wire::BUFFER_SIZE,
            datagram: exchange::DATAGRAM_SIZE,
        }
    }
}

/// One netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    exchange: Exchange<netlink_sys::Socket>,
}

impl Socket {
    /// Opens a socket with the default [`Options`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] naming the system call.
    pub fn open(family: Family) -> Result<Self, Error> {
        Self::open_with(family, Options::default())
    }

    /// Opens a socket.
    ///
    /// Send and receive buffers are enlarged beyond the system's limit where the process may do
    /// so, up to the limit elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] naming the system call.
    pub fn open_with(family: Family, options: Options) -> Result<Self, Error> {
        let (socket, granted) = wire::open(family, options)?;
        Ok(Socket { exchange: Exchange::new(socket, granted, options) })
    }

    /// Sends all `requests` and returns one result for each, in order.
    ///
    /// They travel in as few sends as the buffers allow. A refused request does not stop the ones
    /// after it. Where the socket's user may nothing at all, every request is refused with `EPERM`.
    ///
    /// A request whose work in the kernel ended with `EINTR` is not answered
    /// (`net/netlink/af_netlink.c: netlink_rcv_skb`). As the last one of its send it is told as
    /// refused with that number, before others it cannot be told from one that succeeded. What it
    /// means is up to the family; IPVS has then stopped a sync daemon that had not begun to run.
    ///
    /// # Errors
    ///
    /// When the exchange itself fails, with [`Error::StateUnknown`] among others: any of the
    /// requests may have been applied.
    pub fn batch(&mut self, requests: &[Request]) -> Result<Vec<Result<(), KernelError>>, Error> {
        self.exchange.batch(requests)
    }

    /// Reads a table: sends `request` with `NLM_F_DUMP` and returns every message of the answer.
    ///
    /// Begins again, a few times, when the table changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] when the kernel refuses or aborts the dump, [`Error::Interrupted`] when
    /// no attempt saw a table at rest, or a failure of the exchange.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        self.exchange.dump(request)
    }

    /// Reads a table without keeping it: hands every message of the answer to `take` as it comes.
    ///
    /// A large table needs no more memory than one datagram and what `take` keeps. An attempt that
    /// was interrupted because the table changed counts for nothing: the next one begins with a value
    /// of its own from `fresh`, so that no message is told twice and none is missing. Only the value
    /// of the attempt that came to its end is returned; whatever else `take` changes must bear to be
    /// changed by several attempts.
    ///
    /// # Errors
    ///
    /// As [`dump`](Socket::dump).
    pub fn fold_dump<T>(
        &mut self,
        request: &Request,
        fresh: impl FnMut() -> T,
        take: impl FnMut(&mut T, ReplyRef<'_>),
    ) -> Result<T, Error> {
        self.exchange.fold_dump(request, fresh, take)
    }

    /// Sends one request and returns the messages that answer it; often there is exactly one.
    ///
    /// # Errors
    ///
    /// [`Error::Kernel`] when the kernel refuses, or a failure of the exchange.
    pub fn ask(&mut self, request: &Request) -> Result<Vec<Reply>, Error> {
        self.exchange.ask(request)
    }
}
