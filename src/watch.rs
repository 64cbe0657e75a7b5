//! THE DOOR TO THE CLUSTER: Services, EndpointSlices and this Node from an API server.
//!
//! In: what an API server sends ([`Api`] says which one). Out: [`Event`]s: for each kind one whole
//! list, then changes, and another list whenever the thread is lost. Objects are converted as they
//! arrive, so no Kubernetes type leaves this module and only one is held at a time. A server that
//! cannot be reached is asked again for ever, and the operator is told when that begins and when it
//! ends. Never: an event that takes facts away because of a failure; what was last known stays.

use std::collections::BTreeMap;

use proxier::model::Event;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

pub use self::access::ServiceAccount;
pub use self::backoff::Retry;
pub(crate) use self::backoff::{Backoff, random};
pub use self::client::{Api, ApiError, ApiSettings};
use self::failure::Failure;
use self::node::ThisNode;
use self::node_address_wait::NodeAddressWait;
use self::nodes::Nodes;
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

/// Which nodes matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodesWatched {
    /// This one.
    This,
    /// This one, and of all others whether they are ready.
    All,
}

/// Watches every kind until nobody listens to `events` any more.
pub async fn run(api: &Api, node_name: &str, nodes: NodesWatched, events: Sender<Event>) {
    let ApiSettings { wait_for_node, needs_pod_nets, .. } = *api.settings();
    let patience = NodeAddressWait::new(wait_for_node);
    tokio::select! {
        () = events.closed() => {}
        () = patience.end(&events) => {}
        _ = follow(Nodes::default(), api, &events), if nodes == NodesWatched::All => {}
        _ = follow(Services, api, &events) => {}
        _ = follow(Slices, api, &events) => {}
        _ = follow(ThisNode::new(node_name, needs_pod_nets, &patience), api, &events) => {}
    }
}

/// One kind of object: how to ask for it and what its facts are.
trait Watched {
    /// The object as it is read.
    type Object: DeserializeOwned + Send;
    /// The object as the model says it.
    type Fact;
    /// Its kind.
    const KIND: Kind;
    /// Its `apiVersion`.
    const API_VERSION: &'static str;

    fn resource(&self) -> Resource;
    /// What the object itself says of its type.
    fn said_type(object: &Self::Object) -> SaidType<'_>;
    fn id(object: &Self::Object) -> Option<ObjectId>;
    fn resource_version(object: &Self::Object) -> Option<&str>;
    fn convert(object: &Self::Object, problems: &mut Vec<Problem>) -> Option<Self::Fact>;

    /// All there is, after a complete list.
    fn listed(&mut self, facts: Vec<Self::Fact>) -> Option<Event>;
    /// One object as it is now.
    fn put(&mut self, fact: Self::Fact) -> Option<Event>;
    /// One object that is gone, or that this proxy is not concerned with any more.
    fn gone(&mut self, object: &ObjectId) -> Option<Event>;
}

/// The receiver is gone.
struct ReceiverClosed;

/// Turns the steps of one kind's stream into events.
async fn follow<W: Watched>(watched: W, api: &Api, events: &Sender<Event>) -> ReceiverClosed {
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
                // An answer that has begun may still come to nothing.
                let works =
                    matches!(step, Step::Connected | Step::Complete | Step::Put(_) | Step::Gone(_));
                if works && std::mem::take(&mut is_told) {
                    api.outage().over(id);
                }
                if matches!(step, Step::Put(_) | Step::Gone(_)) {
                    backoff.reset();
                    if std::mem::take(&mut ends_at_once) {
                        tracing::info!("{}: watches bring changes again", W::KIND);
                    }
                }
                if let Some(event) = gathering.take(step)
                    && events.send(event).await.is_err()
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

/// Converts objects, and keeps those of a list together until it is complete.
struct Converter<W: Watched> {
    watched: W,
    reports: Reports,
    list: Option<Listing<W::Fact>>,
}

/// A list that is not complete yet. Of an object that comes several times the last word counts.
struct Listing<F> {
    facts: Vec<Option<F>>,
    places: BTreeMap<ObjectId, usize>,
}

impl<F> Listing<F> {
    fn new() -> Self {
        Self { facts: Vec::new(), places: BTreeMap::new() }
    }

    fn put(&mut self, id: ObjectId, fact: Option<F>) {
        let place = *self.places.entry(id).or_insert(self.facts.len());
        match self.facts.get_mut(place) {
            Some(known) => *known = fact,
            None => self.facts.push(fact),
        }
    }

    fn lose(&mut self, id: &ObjectId) {
        let place = self.places.remove(id);
        if let Some(known) = place.and_then(|place| self.facts.get_mut(place)) {
            *known = None;
        }
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
                let Listing { facts, places } = self.list.take()?;
                self.reports.retain(|object| places.contains_key(object));
                let facts: Vec<_> = facts.into_iter().flatten().collect();
                tracing::info!("{}: {} listed, {} in use", W::KIND, places.len(), facts.len());
                self.watched.listed(facts)
            }
            Step::Put(object) => {
                let (id, fact) = self.convert(&object)?;
                match fact {
                    Some(fact) => self.watched.put(fact),
                    None => self.watched.gone(&id),
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
        let Field::Given(object) = item else {
            tracing::warn!("{}: an element of the list is not an object", W::KIND);
            return;
        };
        let converted = self.convert(object);
        if let (Some((id, fact)), Some(list)) = (converted, &mut self.list) {
            list.put(id, fact);
        }
    }

    /// `None` for an object without a name, which cannot be told from any other.
    fn convert(&mut self, object: &W::Object) -> Option<(ObjectId, Option<W::Fact>)> {
        let mut problems = Vec::new();
        let fact = W::convert(object, &mut problems);
        let Some(id) = W::id(object) else {
            for problem in problems {
                tracing::warn!("{problem}");
            }
            return None;
        };
        self.reports.update(&id, problems);
        Some((id, fact))
    }
}
