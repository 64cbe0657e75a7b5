//! The conversation with the kernel: queries answered.
//!
//! In: [`Query`]s. Out: typed answers. One reply that cannot be read costs that one thing, never the
//! rest of a listing: it is left out and named ([`Client::unreadable`]).

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

/// A dump of fewer bytes was one piece, for which the kernel stops all changes: `netlink_dump`
/// offers at least `NLMSG_GOODSIZE`, which is a page without `struct skb_shared_info`.
const ONE_PIECE: usize = 3 << 10;
/// How often the destinations of a virtual server are read until two readings agree.
const READINGS: usize = 5;

/// Something that the kernel told, but not in a way that this crate can read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// A reply: one virtual server, destination or daemon is missing from the listing.
    #[error("{what}: {source}")]
    Reply {
        /// The query.
        what: String,
        /// Why.
        source: DecodeError,
    },
    /// A line of `/proc/net/ip_vs`: its virtual server was asked for by itself.
    #[error(transparent)]
    Line(#[from] proc::ParseError),
    /// All of `/proc/net/ip_vs`: every virtual server was asked for by itself.
    #[error("/proc/net/ip_vs: {0}")]
    Text(io::Error),
}

impl Client {
    /// What the last of [`services`](Client::services), [`destinations`](Client::destinations),
    /// [`daemons`](Client::daemons) and [`table`](Client::table) left out, or read in a slower way,
    /// because the kernel told it in an unknown form. Empty with every kernel so far.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// One virtual server, if there is such a one.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
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

    /// All virtual servers, in one dump, each once. Where some come or go meanwhile, in this network
    /// namespace or another, a dump may skip some that stay: the kernel counts positions in a table
    /// that all namespaces share. [`Client::table`] makes up for that.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
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

    /// The destinations of a virtual server, each once; none when there is no such server.
    ///
    /// A dump in several pieces counts positions in a list, so it skips or repeats some where others
    /// come or go between two pieces, and the kernel does not say so. Many destinations are therefore
    /// read until two readings agree; where none do, all that were seen are told, and one deleted
    /// meanwhile may be among them. They come in no order.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn destinations(&mut self, service: ServiceKey) -> Result<Vec<Destination>, Error> {
        self.unreadable.clear();
        self.list_destinations(service)
    }

    /// The destinations of a virtual server as one walk meets them, with connections and without
    /// counters: at half the cost or less of [`destinations`](Client::destinations), for callers who
    /// can do without one that was skipped because others came or went meanwhile.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
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

    /// The sync daemons that run.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn daemons(&mut self) -> Result<Vec<Daemon>, Error> {
        self.unreadable.clear();
        self.list(Query::Daemons, |answer| match answer {
            Answer::Daemon(daemon) => Some(daemon),
            _ => None,
        })
    }

    /// The protocol timeouts.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.ask_one(Query::Timeouts, |answer| match answer {
            Answer::Timeouts(timeouts) => Some(timeouts),
            _ => None,
        })
    }

    /// Version and size of the connection table.
    ///
    /// # Errors
    ///
    /// A failure of the conversation.
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
    /// [`Error::Refused`] when the kernel refuses it, or a failure of the conversation. A reply that
    /// cannot be read is an error in its place.
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

    /// The messages that answer `query`; looks the family up again when the kernel knows it no more.
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

/// What `pick` picks of the replies, and what cannot be read.
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

/// Whether the last two readings saw the same destinations.
fn two_agree(readings: &[Reading]) -> bool {
    match readings {
        [.., one, other] => {
            one.len() == other.len() && one.keys().all(|key| other.contains_key(key))
        }
        _ => false,
    }
}

/// The last reading where it was confirmed; else all that were seen, as last seen.
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
