//! The socket: lists flows and deletes them in batches.
//!
//! Takes a selection, or flows to delete. Gives flows one after the other, or one result for each deletion.
//! Checks the selection itself and does not rely on the kernel's filter. A flow that is already gone is no
//! error. Does not store the table.

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

/// A socket for connection tracking, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    filter: Filter,
}

impl Conntrack {
    /// Opens a socket. The first listing shows whether the kernel has connection tracking.
    ///
    /// # Errors
    /// Returns [`Error::Unsupported`] if the system has no netfilter netlink at all, or another error if a
    /// system call fails.
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

    /// Returns the flows of a protocol with both directions known, all at once: about 140 bytes for each.
    /// [`fold`](Conntrack::fold) stores only what its caller keeps.
    ///
    /// # Errors
    /// Returns an error if the table cannot be read completely.
    pub fn flows(&mut self, family: Family, protocol: Protocol) -> Result<Vec<Flow>, Error> {
        self.fold(&Selection::new(family, protocol), Vec::new, |flows, flow| flows.push(flow))
    }

    /// Passes each selected flow with both directions known to `take`, in the order of the kernel's listing.
    /// A table of any size needs no more memory than one datagram and whatever `take` keeps.
    ///
    /// The kernel fills a datagram whenever the previous one has been received; nothing is locked meanwhile.
    /// Flows that come or go during the listing may be missing from it. A flow that stays is listed. It is
    /// listed twice in one case: the entry at which a datagram ended was deleted, and the kernel lists its
    /// whole hash chain again (`ctnetlink_dump_table`). Where that matters, keep flows in a set. A dump that
    /// the kernel reports as interrupted does not count: the next one begins with a new value from `fresh`.
    ///
    /// # Errors
    /// Returns an error if the table cannot be read completely.
    pub fn fold<T>(
        &mut self,
        selection: &Selection,
        mut fresh: impl FnMut() -> T,
        mut take: impl FnMut(&mut T, Flow),
    ) -> Result<T, Error> {
        let all = match self.dump(selection, &mut fresh, &mut take) {
            Err(error) if self.filter == Filter::ByProtocol && is_unknown(&error) => {
                self.filter = Filter::None;
                // A kernel that also refuses this request has no connection tracking at present.
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

    /// Deletes flows, many in one send. A flow that is gone, or was replaced by another with the same
    /// addresses, counts as deleted.
    ///
    /// # Errors
    /// Returns an error if the exchange fails as a whole. Any of the flows may have been deleted then.
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
            // A reply that cannot be decoded does not spoil the rest of the listing.
            let flow = message::flow(reply).ok().flatten();
            if let Some(flow) = flow.filter(|flow| selection.contains(flow)) {
                take(all, flow);
            }
        })?)
    }
}

/// True if the kernel has no code for the request, or does not know its filter.
fn is_unknown(error: &Error) -> bool {
    matches!(
        error,
        Error::Exchange(netlink_batch::Error::Kernel(KernelError {
            errno: EINVAL | EOPNOTSUPP,
            ..
        }))
    )
}
