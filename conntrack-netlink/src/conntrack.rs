//! The socket: listings and batches of deletions.
//!
//! In: a selection; flows. Out: flows, one after the other; one result each. Never: a belief in the
//! kernel's filter, an error for a flow that is gone, a table kept that nobody asked to keep.

use netlink_batch::{KernelError, Socket};

use crate::error::{Error, Refused};
use crate::flow::{Family, Flow, Protocol, Selection};
use crate::message::{self, Filter};

/// The number of deletions that go to the kernel in one batch.
const AT_ONCE: usize = 4096;

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;

/// A connection to connection tracking, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    filter: Filter,
}

impl Conntrack {
    /// Opens a socket. Whether the kernel has connection tracking shows with the first listing.
    ///
    /// # Errors
    /// If the system has no netfilter netlink at all ([`Error::Unsupported`]), or a system call
    /// fails.
    pub fn open() -> Result<Self, Error> {
        let socket =
            Socket::open(netlink_batch::Family::Netfilter).map_err(|error| match &error {
                netlink_batch::Error::Io { source, .. }
                    if source.raw_os_error() == Some(EPROTONOSUPPORT) =>
                {
                    Error::Unsupported
                }
                _ => error.into(),
            })?;
        Ok(Self { socket, filter: Filter::ByProtocol })
    }

    /// The flows of a protocol with both directions known, all of them at once: some 140 bytes for
    /// each. [`fold`](Conntrack::fold) keeps only what it is told to.
    ///
    /// # Errors
    /// If the table cannot be read in whole.
    pub fn flows(&mut self, family: Family, protocol: Protocol) -> Result<Vec<Flow>, Error> {
        self.fold(&Selection::new(family, protocol), Vec::new, |flows, flow| flows.push(flow))
    }

    /// Hands each selected flow with both directions known to `take`, as the kernel lists them: a
    /// table of any size needs no more memory than one datagram and what `take` keeps.
    ///
    /// The kernel fills a datagram whenever the one before has been received; nothing is locked
    /// meanwhile. Flows that come or go while it lists may be among them or not. One that stays
    /// is among them, and is told twice in one case: the entry at which a datagram ended was deleted, and
    /// the kernel tells its whole hash chain again (`ctnetlink_dump_table`). Where that
    /// matters, keep them in a set. A dump that the kernel calls interrupted counts for nothing: the
    /// next one begins with another value of `fresh`.
    ///
    /// # Errors
    /// If the table cannot be read in whole.
    pub fn fold<T>(
        &mut self,
        selection: &Selection,
        mut fresh: impl FnMut() -> T,
        mut take: impl FnMut(&mut T, Flow),
    ) -> Result<T, Error> {
        let all = match self.dump(selection, &mut fresh, &mut take) {
            Err(error) if self.filter == Filter::ByProtocol && is_unknown(&error) => {
                self.filter = Filter::None;
                // A kernel that refuses this too has no connection tracking, by now.
                self.dump(selection, &mut fresh, &mut take)
                    .inspect_err(|_| self.filter = Filter::ByProtocol)
            }
            all => all,
        };
        all.map_err(|error| match error {
            Error::Exchange(netlink_batch::Error::Kernel(KernelError { errno: EPERM, .. })) => {
                Error::NotPermitted
            }
            error if is_unknown(&error) => Error::Unsupported,
            error => error,
        })
    }

    /// Deletes flows, many in one send; one that is gone, or has been replaced by another with the
    /// same addresses, counts as deleted.
    ///
    /// # Errors
    /// If the exchange fails as a whole: any of the flows may have been deleted.
    pub fn delete(&mut self, flows: &[Flow]) -> Result<Vec<Result<(), Refused>>, Error> {
        let settle = |result: Result<(), KernelError>| match result {
            Ok(()) | Err(KernelError { errno: ENOENT, .. }) => Ok(()),
            Err(error) => Err(Refused(error)),
        };
        let mut results = Vec::with_capacity(flows.len());
        for some in flows.chunks(AT_ONCE) {
            let requests: Vec<_> = some.iter().map(message::delete).collect::<Result<_, _>>()?;
            results.extend(self.socket.batch(&requests)?.into_iter().map(settle));
        }
        Ok(results)
    }

    fn dump<T>(
        &mut self,
        selection: &Selection,
        fresh: impl FnMut() -> T,
        take: &mut impl FnMut(&mut T, Flow),
    ) -> Result<T, Error> {
        let request = message::list(selection, self.filter)?;
        Ok(self.socket.fold_dump(&request, fresh, |all, reply| {
            // One that cannot be read spoils only itself.
            let flow = message::flow(reply).ok().flatten();
            if let Some(flow) = flow.filter(|flow| selection.contains(flow)) {
                take(all, flow);
            }
        })?)
    }
}

/// What the kernel says to a request that it has no code for, or a filter it does not know.
fn is_unknown(error: &Error) -> bool {
    matches!(
        error,
        Error::Exchange(netlink_batch::Error::Kernel(KernelError {
            errno: EINVAL | EOPNOTSUPP,
            ..
        }))
    )
}
