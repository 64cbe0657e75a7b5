//! The socket: listings and batches of deletions.
//!
//! In: a family and a protocol; flows. Out: flows; one result each. Never: a belief in the kernel's
//! filter, an error for a flow that is gone.

use netlink_batch::{KernelError, Reply, Socket};

use crate::error::{Error, Refused};
use crate::flow::{Family, Flow, Protocol};
use crate::message::{self, Filter};

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

    /// The flows of a protocol with both directions known.
    ///
    /// # Errors
    /// If the table cannot be read in whole.
    pub fn flows(&mut self, family: Family, protocol: Protocol) -> Result<Vec<Flow>, Error> {
        let replies = match self.dump(family, protocol) {
            Err(error) if self.filter == Filter::ByProtocol && is_unknown(&error) => {
                self.filter = Filter::None;
                self.dump(family, protocol)
            }
            replies => replies,
        };
        let replies = replies.map_err(|error| match error {
            Error::Exchange(netlink_batch::Error::Kernel(KernelError { errno: EPERM, .. })) => {
                Error::NotPermitted
            }
            error if is_unknown(&error) => Error::Unsupported,
            error => error,
        })?;
        let mut flows = Vec::new();
        for reply in &replies {
            let flow = message::flow(reply).map_err(netlink_batch::Error::Malformed)?;
            flows.extend(flow.filter(|flow| flow.protocol == protocol && flow.family() == family));
        }
        Ok(flows)
    }

    /// Deletes flows in one batch; one that is gone, or has been replaced by another with the same
    /// addresses, counts as deleted.
    ///
    /// # Errors
    /// If the exchange fails as a whole: any of the flows may have been deleted.
    pub fn delete(&mut self, flows: &[Flow]) -> Result<Vec<Result<(), Refused>>, Error> {
        let requests: Vec<_> = flows.iter().map(message::delete).collect::<Result<_, _>>()?;
        let results = self.socket.batch(&requests)?;
        let settle = |result: Result<(), KernelError>| match result {
            Ok(()) | Err(KernelError { errno: ENOENT, .. }) => Ok(()),
            Err(error) => Err(Refused(error)),
        };
        Ok(results.into_iter().map(settle).collect())
    }

    fn dump(&mut self, family: Family, protocol: Protocol) -> Result<Vec<Reply>, Error> {
        Ok(self.socket.dump(&message::list(family, protocol, self.filter)?)?)
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
