//! A small Kubernetes API server for tests: TLS, a bearer token, list and watch of Services,
//! EndpointSlices and Nodes, Events that are kept, and faults on demand.
//!
//! In: objects from YAML, put, deleted or replaced as a whole. Out: what a real server would send
//! for them (kubernetes.io/docs/reference/using-api/api-concepts), over HTTP/2 or HTTP/1.1: pages,
//! bookmarks, streamed lists, selectors, 410 for what is no longer known. It runs on a thread of
//! its own, in the network namespace of the thread that starts it. Never: validation, defaults, or
//! writes over HTTP of anything but Events.

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

/// A running, or stopped, API server. Dropping it stops it.
pub struct ApiServer {
    shared: Arc<Shared>,
    port: Kept,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// How the server differs from a good one of today.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What becomes of `sendInitialEvents`.
    pub streaming: Streaming,
    /// How a watch from a forgotten resource version is refused.
    pub gone: Gone,
    /// The version of which streamed lists begin, as a cache that lags behind has it.
    pub lag: Option<u64>,
    /// Whether each watch ends as soon as it has said what it knows.
    pub brief: bool,
    /// Wait before each answer to requests like this.
    pub delay: Duration,
    /// Which requests have to wait.
    pub is_delayed: fn(&Seen) -> bool,
    /// Lists have no more than this many objects a page, whatever the request says.
    pub page: usize,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// Answer each request to this path prefix with this status.
    pub refuse: Option<(&'static str, u16)>,
    /// Answer the requests that it is for with this, before anything else is looked at but the token.
    pub canned: Option<Canned>,
}

/// An answer as it stands.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Which requests get it.
    pub is_for: fn(&Seen) -> bool,
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What becomes of a request for a streamed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// It is served, as since Kubernetes 1.32.
    Served,
    /// It is refused with this status, as by servers that know it but have it switched off.
    Refused(u16),
    /// The parameters are ignored, as by servers before 1.27.
    Ignored,
}

/// How a watch from a forgotten resource version is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// By an ERROR event in the stream, as the API server does.
    InStream,
    /// By the HTTP status, as proxies and aggregated servers may.
    ByStatus,
}

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The version of HTTP.
    pub version: Version,
    /// The `User-Agent`.
    pub agent: String,
    /// The status it was answered with.
    pub status: u16,
    /// When it came.
    pub at: Instant,
}

impl Seen {
    /// The value of one parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it opens a watch that begins with the state.
    pub fn is_streamed_list(&self) -> bool {
        self.parameter("sendInitialEvents") == Some("true")
    }

    /// Whether it opens a watch after a resource version.
    pub fn is_resumed_watch(&self) -> bool {
        self.parameter("watch") == Some("true") && !self.is_streamed_list()
    }

    /// Whether it is a plain list, or a page of one.
    pub fn is_list(&self) -> bool {
        self.method == Method::GET && self.parameter("watch").is_none()
    }
}

/// What the threads share.
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

/// Counts of what open watches and connections have to notice.
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

    /// Starts on a free port of 127.0.0.1, with such a certificate.
    pub fn vouched(vouched: Vouched) -> Self {
        Self::start_as("127.0.0.1:0".parse().unwrap(), vouched)
    }

    fn start_as(address: SocketAddr, vouched: Vouched) -> Self {
        // Kept while the server is stopped, too.
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

    /// Stops listening and breaks all connections off. The objects stay.
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

    /// A thread is in the network namespace of the one that starts it.
    fn serve(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let stops = shared.pulse.borrow().stops;
        let thread = thread::spawn(move || serve::run(&shared, listener, stops));
        *lock(&self.thread) = Some(thread);
    }

    /// `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// `ADDRESS:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The certificate of the authority, as in `ca.crt`.
    pub fn authority(&self) -> &str {
        self.shared.identity.authority()
    }

    /// The newest token that is admitted.
    pub fn token(&self) -> String {
        lock(&self.shared.tokens).last().unwrap().clone()
    }

    /// From now on admits this token too.
    pub fn admit_too(&self, token: &str) {
        lock(&self.shared.tokens).push(token.to_owned());
    }

    /// From now on admits this token and no other.
    pub fn admit(&self, token: &str) {
        *lock(&self.shared.tokens) = vec![token.to_owned()];
    }

    /// From now on knows this client by its certificate, on new connections, and no other.
    pub fn admit_client(&self, client: &Client) {
        self.shared.identity.admit(client);
    }

    /// A kubeconfig with the authority's certificate and the token inside.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with_token(tls::TOKEN)
    }

    /// The same with another token.
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

    /// Makes these YAML documents all the objects there are, by the fewest changes.
    pub fn replace_all(&self, yaml: &str) {
        self.shared.change(|store| store.replace_all(store::parse(yaml)));
    }

    /// All objects of a kind, with their resource versions.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        lock(&self.shared.store).objects(kind)
    }

    /// The Events there are, in the order in which they were created.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.shared.events).all().to_vec()
    }

    /// Forgets all Events, as the server does when they are an hour old.
    pub fn expire_events(&self) {
        lock(&self.shared.events).expire();
    }

    /// Forgets the history, so that watches from before now are refused.
    pub fn compact(&self) {
        self.shared.change(Store::compact);
    }

    /// The resource version of the last change.
    pub fn version(&self) -> u64 {
        lock(&self.shared.store).version()
    }

    /// Sends every watch a bookmark.
    pub fn bookmark(&self) {
        self.shared.pulse(|pulse| pulse.bookmarks += 1);
    }

    /// Ends every watch in order, as the server does when its time is up.
    pub fn end_watches(&self) {
        self.shared.pulse(|pulse| pulse.endings += 1);
    }

    /// Breaks every connection off.
    pub fn disconnect(&self) {
        self.shared.pulse(|pulse| pulse.disconnects += 1);
    }

    /// How many connections have been begun so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The requests so far, in order of their answers.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
