//! Watches Services, EndpointSlices and Nodes of an API server.
//!
//! Takes the answers of the server that an [`Api`] names. Returns [`Event`]s: for each kind one
//! complete list, then changes, and another list when the watch cannot be resumed. Objects are
//! converted as they arrive: no Kubernetes type leaves this module. Tries an unreachable server
//! again without end, and tells the operator when the outage begins and ends. Does not take facts
//! away because of a failure: the last known state stays.

use std::collections::{BTreeMap, BTreeSet};

use proxier::model::{Batch, Event, Unread, Update};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

pub use self::access::{ServiceAccount, server_address};
pub use self::backoff::Retry;
pub(crate) use self::backoff::{Backoff, random};
pub use self::client::{Api, ApiError, ApiSettings};
use self::failure::Failure;
use self::node::ThisNode;
use self::node_address_wait::NodeAddressWait;
use self::nodes::Nodes;
use self::other_nodes::OutsideAddresses;
use self::request::Resource;
pub use self::request_error::{RejectedBy, RequestError};
use self::said_type::SaidType;
use self::services::Services;
use self::slices::Slices;
use self::stream::{Step, Stream};
pub use self::tls::{Given, TlsError};
use crate::objects::{Field, Kind, ObjectId, Problem, Reports};

mod access;
mod alert;
mod answer;
mod backoff;
mod client;
mod counted;
mod event_reader;
mod failure;
mod node;
mod node_address_wait;
mod nodes;
mod other_nodes;
mod outage;
mod redact;
mod request;
mod request_error;
mod said_type;
mod services;
mod slices;
mod stream;
mod tls;
mod transport;
mod write;

/// The nodes that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodesWatched {
    /// Only this node.
    This,
    /// This node in full, and the readiness and addresses of all nodes.
    All,
}

/// Watches every kind and sends what it finds. Returns when the receiver of `events` is dropped.
pub async fn run(api: &Api, node_name: &str, nodes: NodesWatched, events: Sender<Batch>) {
    let ApiSettings { wait_for_node, needs_pod_nets, .. } = *api.settings();
    let patience = NodeAddressWait::new(wait_for_node);
    let (noted, outside) = OutsideAddresses::channel();
    let services = Services { outside: noted };
    tokio::select! {
        () = events.closed() => {}
        () = patience.end(&events) => {}
        _ = follow(Nodes::default(), api, &events), if nodes == NodesWatched::All => {}
        _ = other_nodes::follow(outside, api, &events), if nodes == NodesWatched::This => {}
        _ = follow(services, api, &events) => {}
        _ = follow(Slices, api, &events) => {}
        _ = follow(ThisNode::new(node_name, needs_pod_nets, &patience), api, &events) => {}
    }
}

/// A kind of object that is watched: how to request it, and how to convert it.
trait Watched {
    /// The object as it is deserialized.
    type Object: DeserializeOwned + Send;
    /// The object as a type of the model.
    type Fact;
    /// The kind of the object.
    const KIND: Kind;
    /// The `apiVersion` of the object.
    const API_VERSION: &'static str;

    fn resource(&self) -> Resource;
    /// Returns the `apiVersion` and `kind` that the object itself names.
    fn said_type(object: &Self::Object) -> SaidType<'_>;
    fn id(object: &Self::Object) -> Option<ObjectId>;
    fn resource_version(object: &Self::Object) -> Option<&str>;
    fn convert(object: &Self::Object, problems: &mut Vec<Problem>) -> Option<Self::Fact>;

    /// Takes all objects of a complete list. Those that could not be read stay as they were last known.
    fn listed(&mut self, facts: Vec<Self::Fact>, unread: Unread<ObjectId>) -> Option<Event>;
    /// Takes the present state of one object.
    fn put(&mut self, fact: Self::Fact) -> Option<Event>;
    /// Takes an object that was deleted or that this proxy does not use any more.
    fn gone(&mut self, object: &ObjectId) -> Option<Event>;
}

/// Returns the update of a list, for objects that the model knows by the keys that `key` makes.
fn listed<K: Ord, F>(
    facts: Vec<F>,
    unread: Unread<ObjectId>,
    key: impl Fn(&ObjectId) -> K,
) -> Update<K, F> {
    let unread = match unread {
        Unread::Named(objects) => Unread::Named(objects.iter().map(key).collect()),
        Unread::Any => Unread::Any,
    };
    Update::listed(facts, unread)
}

/// Says that the receiver of events was dropped.
struct ReceiverClosed;

/// Turns the steps of one kind's stream into events. Returns when the receiver is gone.
async fn follow<W: Watched>(watched: W, api: &Api, events: &Sender<Batch>) -> ReceiverClosed {
    let mut stream = Stream::<W>::new(api, watched.resource());
    let mut backoff = Backoff::new(api.retry());
    let mut gathering =
        Converter { watched, reports: Reports::new(api.settings().lasting.clone()), list: None };
    let id = api.outage().enter();
    let mut failed = Instant::now();
    let (mut is_told, mut ends_at_once) = (false, false);
    loop {
        match stream.next().await {
            Ok(step) => {
                // An answer that has only begun, such as a list, may still fail.
                let works =
                    matches!(step, Step::Connected | Step::Complete | Step::Put(_) | Step::Gone(_));
                if works && std::mem::take(&mut is_told) {
                    api.outage().over(id);
                }
                if matches!(step, Step::Put(_) | Step::Gone(_)) {
                    backoff.reset();
                    // A watch that lives is quiet as long as nothing changes, so that only a change shows that the
                    // condition is over. It is not one of those that last, since reminders would be wrong.
                    if std::mem::take(&mut ends_at_once) {
                        tracing::info!("{}: watches bring changes again", W::KIND);
                    }
                }
                if let Some(event) = gathering.take(step)
                    && events.send(vec![event]).await.is_err()
                {
                    return ReceiverClosed;
                }
            }
            Err(failure) => {
                let pause = backoff.next(failed.elapsed()).max(failure.retry_after());
                tracing::debug!("{}: {failure}; next try in {pause:?}", W::KIND);
                if failure.is_outage() {
                    is_told = true;
                    api.outage().begin(id, &failure, pause);
                }
                if matches!(failure, Failure::Brief { again: true })
                    && !std::mem::replace(&mut ends_at_once, true)
                {
                    tracing::warn!(
                        "{}: API server {} ends each watch at once: lists are read again and again instead",
                        W::KIND,
                        api.url()
                    );
                }
                tokio::time::sleep(pause).await;
                failed = Instant::now();
            }
        }
    }
}

/// Converts objects. Keeps the objects of a list until the list is complete.
struct Converter<W: Watched> {
    watched: W,
    reports: Reports,
    list: Option<Listing<W::Fact>>,
}

/// A list that is not complete yet. When an object comes several times, the last one counts.
struct Listing<F> {
    facts: Vec<Converted<F>>,
    places: BTreeMap<ObjectId, usize>,
    /// True if an element has no name that can be read, so that it may be any object.
    has_nameless: bool,
}

/// The result of converting an object.
enum Converted<F> {
    Fact(F),
    /// This proxy does not use the object, or the object is gone.
    Unused,
    /// The object cannot be read, so that what was last known of it stays.
    Unreadable,
}

impl<F> Listing<F> {
    fn new() -> Self {
        Self { facts: Vec::new(), places: BTreeMap::new(), has_nameless: false }
    }

    fn put(&mut self, id: ObjectId, fact: Converted<F>) {
        let place = *self.places.entry(id).or_insert(self.facts.len());
        match self.facts.get_mut(place) {
            Some(known) => *known = fact,
            None => self.facts.push(fact),
        }
    }

    fn lose(&mut self, id: &ObjectId) {
        let place = self.places.remove(id);
        if let Some(known) = place.and_then(|place| self.facts.get_mut(place)) {
            *known = Converted::Unused;
        }
    }

    /// Returns the facts of the list, and the objects of it that could not be read.
    fn complete(self) -> (Vec<F>, Unread<ObjectId>) {
        let (mut facts, mut unread) = (Vec::new(), BTreeSet::new());
        let mut unreadable = BTreeSet::new();
        for (place, converted) in self.facts.into_iter().enumerate() {
            match converted {
                Converted::Fact(fact) => facts.push(fact),
                Converted::Unused => {}
                Converted::Unreadable => drop(unreadable.insert(place)),
            }
        }
        if self.has_nameless {
            return (facts, Unread::Any);
        }
        if !unreadable.is_empty() {
            let unreadable = self.places.into_iter().filter(|(_, at)| unreadable.contains(at));
            unread.extend(unreadable.map(|(object, _)| object));
        }
        (facts, Unread::Named(unread))
    }
}

impl<W: Watched> Converter<W> {
    fn take(&mut self, step: Step<W::Object>) -> Option<Event> {
        match step {
            Step::Connected => None,
            Step::Begin => {
                self.list = Some(Listing::new());
                None
            }
            Step::Lost(object) => {
                let (id, list) = (W::id(&object)?, self.list.as_mut()?);
                list.lose(&id);
                None
            }
            Step::Items(items) => {
                for item in &items {
                    self.gather(item);
                }
                None
            }
            Step::Complete => {
                let list = self.list.take()?;
                let count = list.places.len();
                // An element without a name may be any object, and none is taken away.
                if !list.has_nameless {
                    self.reports.retain(|object| list.places.contains_key(object));
                }
                let (facts, unread) = list.complete();
                tracing::info!("{}: {count} listed, {} in use", W::KIND, facts.len());
                self.watched.listed(facts, unread)
            }
            Step::Put(object) => {
                let (id, fact) = self.convert(&object)?;
                match fact {
                    Converted::Fact(fact) => self.watched.put(fact),
                    Converted::Unused => self.watched.gone(&id),
                    Converted::Unreadable => None,
                }
            }
            Step::Gone(object) => {
                let id = W::id(&object)?;
                self.reports.forget(&id);
                self.watched.gone(&id)
            }
        }
    }

    fn gather(&mut self, item: &Field<W::Object>) {
        let converted = match item {
            Field::Given(object) => self.convert(object),
            Field::Absent | Field::Wrong(_) => {
                tracing::warn!(
                    "{}: an element of the list is not an object; as it may be any, no object is \
                     taken away by this list",
                    W::KIND
                );
                None
            }
        };
        match (converted, &mut self.list) {
            (Some((id, fact)), Some(list)) => list.put(id, fact),
            (None, Some(list)) => list.has_nameless = true,
            (_, None) => {}
        }
    }

    /// Converts an object and reports its problems. `None` if the object has no name: nothing
    /// identifies it then.
    fn convert(&mut self, object: &W::Object) -> Option<(ObjectId, Converted<W::Fact>)> {
        let mut problems = Vec::new();
        let fact = W::convert(object, &mut problems);
        let Some(id) = W::id(object) else {
            for problem in problems {
                tracing::warn!("{problem}");
            }
            return None;
        };
        let fact = match fact {
            Some(fact) => Converted::Fact(fact),
            None if Problem::is_unreadable(&problems) => Converted::Unreadable,
            None => Converted::Unused,
        };
        self.reports.update(&id, problems);
        Some((id, fact))
    }
}
