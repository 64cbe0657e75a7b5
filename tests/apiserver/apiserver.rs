//! Runs a small Kubernetes API server for tests.
//!
//! Takes objects from YAML, which are put, deleted or replaced as a whole. Serves list and watch of
//! Services, EndpointSlices and Nodes as a real server would
//! (kubernetes.io/docs/reference/using-api/api-concepts): over HTTP/2 or HTTP/1.1 with TLS and a
//! bearer token, with pages, bookmarks, streamed lists, selectors, and 410 for forgotten versions.
//! Keeps Events that are written, and makes errors on demand. Runs on a thread of its own, in the
//! network namespace of the thread that starts it. Does not validate objects or set defaults.
//! Accepts writes over HTTP only of Events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub, reason = "shared by several binaries")]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hyper::{Method, Version};
use serde_json::Value;
use tokio::sync::watch;

use self::events::Events;
use self::port::Kept;
use self::store::Store;
use self::tls::Identity;
pub use self::tls::{Client, Vouched};

mod events;
pub mod port;
mod serve;
mod store;
mod tls;

/// A running or stopped API server. Dropping it stops it.
pub struct ApiServer {
    shared: Arc<Shared>,
    port: Kept,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// The differences of the server from a current one that works.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The answer to `sendInitialEvents`.
    pub streaming: Streaming,
    /// The way in which a watch from a forgotten resource version is refused.
    pub gone: Gone,
    /// The version with which streamed lists begin, as of a cache that lags behind.
    pub lag: Option<u64>,
    /// True if each watch ends as soon as it has sent what is known.
    pub brief: bool,
    /// The delay before each answer to requests that `is_delayed` selects.
    pub delay: Duration,
    /// Selects the requests that are delayed.
    pub is_delayed: fn(&Seen) -> bool,
    /// The largest number of objects in a page, whatever the request asks for.
    pub page: usize,
    /// True if HTTP/2 is offered.
    pub http2: bool,
    /// A path prefix, and the status with which its requests are refused.
    pub refuse: Option<(&'static str, u16)>,
    /// A fixed answer, which is sent after the token was checked and before anything else is.
    pub canned: Option<Canned>,
}

/// A fixed answer.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Selects the requests that get it.
    pub is_for: fn(&Seen) -> bool,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// The answer to a request for a streamed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// The list is served, as since Kubernetes 1.32.
    Served,
    /// The request is refused with this status, as by servers that know streamed lists but have
    /// them switched off.
    Refused(u16),
    /// The parameters are ignored, as by servers before 1.27.
    Ignored,
}

/// The way in which a watch from a forgotten resource version is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The watch is refused by an ERROR event in the stream, as the API server does.
    InStream,
    /// The watch is refused by the HTTP status, as proxies and aggregated servers may do.
    ByStatus,
}

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The decoded pairs of the query.
    pub query: Vec<(String, String)>,
    /// The version of HTTP.
    pub version: Version,
    /// The `User-Agent`.
    pub agent: String,
    /// The status of the answer.
    pub status: u16,
    /// The time of arrival.
    pub at: Instant,
}

impl Seen {
    /// Returns the value of one parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// True if it opens a watch that begins with the initial state.
    pub fn is_streamed_list(&self) -> bool {
        self.parameter("sendInitialEvents") == Some("true")
    }

    /// True if it opens a watch after a resource version.
    pub fn is_resumed_watch(&self) -> bool {
        self.parameter("watch") == Some("true") && !self.is_streamed_list()
    }

    /// True if it is a plain list, or a page of one.
    pub fn is_list(&self) -> bool {
        self.method == Method::GET && self.parameter("watch").is_none()
    }
}

/// The state that the threads share.
struct Shared {
    store: Mutex<Store>,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    events: Mutex<Events>,
    pulse: watch::Sender<Pulse>,
    identity: Identity,
    tokens: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

/// The counters whose changes open watches and connections react to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pulse {
    version: u64,
    bookmarks: u64,
    endings: u64,
    disconnects: u64,
    stops: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn pulse(&self, change: impl FnOnce(&mut Pulse)) {
        self.pulse.send_modify(change);
    }

    fn change<R>(&self, change: impl FnOnce(&mut Store) -> R) -> R {
        let mut store = lock(&self.store);
        let result = change(&mut store);
        let version = store.version();
        self.pulse(|pulse| pulse.version = version);
        result
    }
}

impl ApiServer {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Starts on this address, in the network namespace of this thread.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::start_as(address, Vouched::Authority)
    }

    /// Starts on a free port of 127.0.0.1, with a certificate of this kind.
    pub fn vouched(vouched: Vouched) -> Self {
        Self::start_as("127.0.0.1:0".parse().unwrap(), vouched)
    }

    fn start_as(address: SocketAddr, vouched: Vouched) -> Self {
        // The port is kept while the server is stopped, too.
        let port = Kept::at(address);
        let address = port.address();
        let listener = TcpListener::bind(address).expect("bind the API server");
        let behaviour = Behaviour {
            streaming: Streaming::Served,
            gone: Gone::InStream,
            delay: Duration::ZERO,
            is_delayed: |_| true,
            page: usize::MAX,
            http2: true,
            refuse: None,
            canned: None,
            lag: None,
            brief: false,
        };
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            behaviour: Mutex::new(behaviour),
            seen: Mutex::default(),
            events: Mutex::default(),
            pulse: watch::Sender::default(),
            identity: Identity::new(address.ip(), vouched),
            tokens: Mutex::new(vec![tls::TOKEN.to_owned()]),
            connections: AtomicUsize::new(0),
        });
        let server = Self { shared, port, thread: Mutex::default() };
        server.serve(listener);
        server
    }

    /// Stops listening and closes all connections. The objects stay.
    pub fn stop(&self) {
        self.shared.pulse(|pulse| pulse.stops += 1);
        if let Some(thread) = lock(&self.thread).take() {
            thread.join().unwrap();
        }
    }

    /// Listens again after [`ApiServer::stop`], on the same port.
    pub fn restart(&self) {
        self.stop();
        self.serve(TcpListener::bind(self.address()).expect("bind the API server again"));
    }

    /// Starts the thread. It is in the network namespace of the thread that starts it.
    fn serve(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let stops = shared.pulse.borrow().stops;
        let thread = thread::spawn(move || serve::run(&shared, listener, stops));
        *lock(&self.thread) = Some(thread);
    }

    /// Returns `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Returns `ADDRESS:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Returns the certificate of the authority, as in `ca.crt`.
    pub fn authority(&self) -> &str {
        self.shared.identity.authority()
    }

    /// Returns the newest token that is accepted.
    pub fn token(&self) -> String {
        lock(&self.shared.tokens).last().unwrap().clone()
    }

    /// Accepts this token too from now on.
    pub fn admit_too(&self, token: &str) {
        lock(&self.shared.tokens).push(token.to_owned());
    }

    /// Accepts this token and no other from now on.
    pub fn admit(&self, token: &str) {
        *lock(&self.shared.tokens) = vec![token.to_owned()];
    }

    /// Accepts this client's certificate and no other from now on, on new connections.
    pub fn admit_client(&self, client: &Client) {
        self.shared.identity.admit(client);
    }

    /// Returns a kubeconfig that contains the authority's certificate and the token.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with_token(tls::TOKEN)
    }

    /// Returns a kubeconfig with another token.
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        self.shared.identity.kubeconfig(&self.url(), token)
    }

    /// Changes how the server behaves.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
    }

    /// Creates or updates the objects of these YAML documents.
    pub fn put(&self, yaml: &str) {
        for object in store::parse(yaml) {
            self.put_value(object);
        }
    }

    /// Creates or updates an object.
    pub fn put_value(&self, object: Value) {
        self.shared.change(|store| store.put(object));
    }

    /// Deletes an object; `namespace` is empty for a Node.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.shared.change(|store| store.delete(kind, namespace, name));
    }

    /// Replaces all objects by those of these YAML documents, with the fewest changes.
    pub fn replace_all(&self, yaml: &str) {
        self.shared.change(|store| store.replace_all(store::parse(yaml)));
    }

    /// Returns all objects of a kind, with their resource versions.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        lock(&self.shared.store).objects(kind)
    }

    /// Returns the Events in the order of their creation.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.shared.events).all().to_vec()
    }

    /// Forgets all Events, as a server does when they are an hour old.
    pub fn expire_events(&self) {
        lock(&self.shared.events).expire();
    }

    /// Forgets the history, so that watches from earlier versions are refused.
    pub fn compact(&self) {
        self.shared.change(Store::compact);
    }

    /// Returns the resource version of the last change.
    pub fn version(&self) -> u64 {
        lock(&self.shared.store).version()
    }

    /// Sends every watch a bookmark.
    pub fn bookmark(&self) {
        self.shared.pulse(|pulse| pulse.bookmarks += 1);
    }

    /// Ends every watch in order, as a server does when its time limit is reached.
    pub fn end_watches(&self) {
        self.shared.pulse(|pulse| pulse.endings += 1);
    }

    /// Closes every connection.
    pub fn disconnect(&self) {
        self.shared.pulse(|pulse| pulse.disconnects += 1);
    }

    /// Returns the number of connections that were opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns the requests so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
