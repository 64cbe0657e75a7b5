//! The client's queries: sends them to the kernel and returns typed answers.
//!
//! Takes [`Query`]s. Gives typed answers. A reply that cannot be decoded does not spoil a listing: it is left
//! out and reported ([`Client::unreadable`]).

use std::io;

use netlink_batch::Reply;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

use crate::{
    Answer, Client, Daemon, DecodeError, Destination, Error, Info, KernelError, Query, Refusal,
    Service, ServiceKey, Timeouts, TransportError,
    client::{ENOENT, Renewal},
    proc,
};

const EPERM: i32 = 1;
const ESRCH: i32 = 3;

/// The size in bytes below which a dump was a single piece, during which the kernel blocks all changes.
/// `netlink_dump` offers at least `NLMSG_GOODSIZE`, which is a page without `struct skb_shared_info`.
const ONE_PIECE: usize = 3 << 10;
/// The number of attempts to read the destinations of a virtual server until two readings agree.
const READINGS: usize = 5;

/// A reply or text of the kernel that this crate cannot decode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A netlink reply. One virtual server, destination or daemon is missing from the listing.
    #[error("{what}: {source}")]
    Reply {
        /// The query.
        what: String,
        /// The reason.
        source: DecodeError,
    },
    /// A line of `/proc/net/ip_vs`. Its virtual server was queried separately.
    #[error(transparent)]
    Line(#[from] proc::ParseError),
    /// The whole file `/proc/net/ip_vs`. Every virtual server was queried separately.
    #[error("/proc/net/ip_vs: {0}")]
    Text(io::Error),
}

impl Client {
    /// Returns what the last listing left out, or read in a slower way, because the kernel sent it in an
    /// unknown form. The listing is the last call of [`services`](Client::services),
    /// [`destinations`](Client::destinations), [`daemons`](Client::daemons) or [`table`](Client::table).
    /// Empty with every kernel so far.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Returns one virtual server; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn service(&mut self, key: ServiceKey) -> Result<Option<Service>, Error> {
        let query = Query::Service(key);
        match self.ask(query) {
            Ok(answers) => {
                let answers: Result<Vec<_>, _> = answers.into_iter().collect();
                let answers = answers.map_err(|source| decode_error(query, source))?;
                Ok(answers.into_iter().find_map(as_service))
            }
            Err(Error::Refused { refusal: Refusal::NoSuchService, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns all virtual servers, each once, from one dump. If some come or go meanwhile, in this network
    /// namespace or another, the dump may skip others: the kernel counts positions in a table that all
    /// namespaces share. [`Client::table`] compensates for that.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn services(&mut self) -> Result<Vec<Service>, Error> {
        self.unreadable.clear();
        self.list_services(Answer::decode)
    }

    pub(crate) fn list_services(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<Answer, DecodeError>,
    ) -> Result<Vec<Service>, Error> {
        let mut seen = HashSet::default();
        let replies = self.replies(Query::Services)?;
        let services = self.readable(Query::Services, &replies, decode, as_service);
        Ok(services.into_iter().filter(|service| seen.insert(service.key)).collect())
    }

    /// Returns the destinations of a virtual server, each once and in no particular order. Empty if the
    /// server does not exist.
    ///
    /// A dump in several pieces counts positions in a list. So it skips or repeats some if others come or go
    /// between two pieces, and the kernel does not report it. Many destinations are therefore read until two
    /// readings agree. If none do, all destinations seen are returned, and one deleted meanwhile may be among
    /// them.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn destinations(&mut self, service: ServiceKey) -> Result<Vec<Destination>, Error> {
        self.unreadable.clear();
        self.list_destinations(service)
    }

    /// Returns the destinations of a virtual server from one dump, with connections and without counters.
    /// Costs at most half as much as [`destinations`](Client::destinations). If others come or go meanwhile,
    /// one may be missing or occur twice.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn destinations_once(&mut self, service: ServiceKey) -> Result<Vec<Destination>, Error> {
        self.unreadable.clear();
        let query = Query::Destinations(service);
        let replies = self.replies(query)?;
        Ok(self.readable(query, &replies, Answer::decode_without_counters, as_destination))
    }

    pub(crate) fn list_destinations(
        &mut self,
        service: ServiceKey,
    ) -> Result<Vec<Destination>, Error> {
        let query = Query::Destinations(service);
        let replies = self.replies(query)?;
        let mut found = self.readable(query, &replies, Answer::decode, as_destination);
        if bytes(&replies) > ONE_PIECE {
            let mut readings = vec![once_each(found)];
            while readings.len() < READINGS && !two_agree(&readings) {
                let replies = self.replies(query)?;
                readings
                    .push(once_each(readable(query, &replies, Answer::decode, as_destination).0));
            }
            found = joined(readings);
        }
        Ok(found)
    }

    /// Returns the sync daemons that are running.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        self.unreadable.clear();
        self.list(Query::Daemons, |answer| match answer {
            Answer::Daemon(daemon) => Some(daemon),
            _ => None,
        })
    }

    /// Returns the protocol timeouts.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.ask_one(Query::Timeouts, |answer| match answer {
            Answer::Timeouts(timeouts) => Some(timeouts),
            _ => None,
        })
    }

    /// Returns the version and the size of the connection table.
    ///
    /// # Errors
    ///
    /// Returns an error if the exchange with the kernel fails.
    pub fn info(&mut self) -> Result<Info, Error> {
        self.ask_one(Query::Info, |answer| match answer {
            Answer::Info(info) => Some(info),
            _ => None,
        })
    }

    /// Sends `query` and decodes every reply.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Refused`] if the kernel refuses the query, or another error if the exchange fails. A
    /// reply that cannot be decoded is an error in its place in the list.
    pub fn ask(&mut self, query: Query) -> Result<Vec<Result<Answer, DecodeError>>, Error> {
        let replies = self.replies(query)?;
        Ok(replies.iter().map(|reply| Answer::decode(&reply.payload)).collect())
    }

    fn ask_one<T>(
        &mut self,
        query: Query,
        mut pick: impl FnMut(Answer) -> Option<T>,
    ) -> Result<T, Error> {
        let failed = |source| decode_error(query, source);
        for answer in self.ask(query)? {
            if let Some(found) = pick(answer.map_err(failed)?) {
                return Ok(found);
            }
        }
        Err(failed(DecodeError::from("no reply")))
    }

    fn list<T>(
        &mut self,
        query: Query,
        pick: impl FnMut(Answer) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let replies = self.replies(query)?;
        Ok(self.readable(query, &replies, Answer::decode, pick))
    }

    fn readable<T>(
        &mut self,
        query: Query,
        replies: &[Reply],
        decode: impl Fn(&[u8]) -> Result<Answer, DecodeError>,
        pick: impl FnMut(Answer) -> Option<T>,
    ) -> Vec<T> {
        let (found, unreadable) = readable(query, replies, decode, pick);
        self.unreadable.extend(unreadable);
        found
    }

    /// Returns the messages that answer `query`. Looks up the family again if the kernel no longer knows its
    /// number.
    fn replies(&mut self, query: Query) -> Result<Vec<Reply>, Error> {
        let payload =
            query.encode().map_err(|source| Error::Encode { what: query.to_string(), source })?;
        let mut request = self.request(payload);
        let mut replies = self.socket_replies(query, &request);
        if let Err(TransportError::Kernel(KernelError { errno: ENOENT, .. })) = &replies
            && self.renew()? == Renewal::Changed
        {
            request.kind = self.family;
            replies = self.socket_replies(query, &request);
        }
        let mut replies = replies.map_err(|error| query_error(query, error))?;
        replies.retain(|reply| reply.kind == self.family);
        Ok(replies)
    }

    fn socket_replies(
        &mut self,
        query: Query,
        request: &netlink_batch::Request,
    ) -> Result<Vec<Reply>, TransportError> {
        if query.is_dump() { self.socket.dump(request) } else { self.socket.ask(request) }
    }
}

/// Returns the replies that `pick` selects, and those that cannot be decoded.
fn readable<T>(
    query: Query,
    replies: &[Reply],
    decode: impl Fn(&[u8]) -> Result<Answer, DecodeError>,
    mut pick: impl FnMut(Answer) -> Option<T>,
) -> (Vec<T>, Vec<Unreadable>) {
    let (mut found, mut unreadable) = (Vec::with_capacity(replies.len()), Vec::new());
    for reply in replies {
        match decode(&reply.payload) {
            Ok(answer) => found.extend(pick(answer)),
            Err(source) => unreadable.push(Unreadable::Reply { what: query.to_string(), source }),
        }
    }
    (found, unreadable)
}

fn as_service(answer: Answer) -> Option<Service> {
    match answer {
        Answer::Service(service) => Some(service),
        _ => None,
    }
}

fn as_destination(answer: Answer) -> Option<Destination> {
    match answer {
        Answer::Destination(destination) => Some(destination),
        _ => None,
    }
}

fn bytes(replies: &[Reply]) -> usize {
    replies.iter().map(|reply| reply.payload.len()).sum()
}

type Reading = HashMap<crate::DestinationKey, Destination>;

fn once_each(destinations: Vec<Destination>) -> Reading {
    destinations.into_iter().map(|found| (found.key(), found)).collect()
}

/// True if the last two readings saw the same destinations.
fn two_agree(readings: &[Reading]) -> bool {
    match readings {
        [.., one, other] => {
            one.len() == other.len() && one.keys().all(|key| other.contains_key(key))
        }
        _ => false,
    }
}

/// Returns the last reading if it was confirmed, else all destinations seen, each as last seen.
fn joined(mut readings: Vec<Reading>) -> Vec<Destination> {
    let last = readings.len() - 1;
    let of_use = if two_agree(&readings) { readings.split_off(last) } else { readings };
    of_use.into_iter().flatten().collect::<Reading>().into_values().collect()
}

fn decode_error(query: Query, source: DecodeError) -> Error {
    Error::Decode { what: query.to_string(), source }
}

fn query_error(query: Query, error: TransportError) -> Error {
    let what = query.to_string();
    match error {
        TransportError::Kernel(source) => {
            let refusal = match (query, source.errno) {
                (_, EPERM) => Refusal::NotPermitted,
                (Query::Service(_), ESRCH) => Refusal::NoSuchService,
                _ => Refusal::Other,
            };
            Error::Refused { refusal, what, source }
        }
        source => Error::Transport { what, source },
    }
}

#[cfg(test)]
mod tests;
