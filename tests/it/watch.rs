//! Tests the watch source against the test API server: TLS, HTTP, lists, watches, faults.
//!
//! Takes objects that are put into the server. Compares the model's store, fed by the source's
//! events, with the same objects converted directly. Does not use a cluster.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::sync::Once;
use std::time::Duration;

use ipvs_proxy::objects::{EndpointSlice, Node, Service, convert};
use ipvs_proxy::watch::{self, Api, ApiSettings, NodesWatched, Retry};
use proxier::model::{Batch, Dirty, Event, Store, Update};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::apiserver::{ApiServer, Seen};

mod answers;
mod certificates;
mod changes;
mod credentials;
mod failures;
mod kubeconfig;
mod lists;
mod vanished;

/// Longer than the time in which a vanished peer is noticed (45 s).
const LIMIT: Duration = Duration::from_secs(60);

/// A source that watches a server, and the store of its events.
struct Watching {
    events: Receiver<Batch>,
    store: Store,
    task: JoinHandle<()>,
    /// The kubeconfig, which is read again whenever credentials are refused.
    kubeconfig: Option<tempfile::NamedTempFile>,
}

impl Watching {
    async fn new(server: &ApiServer) -> Self {
        Self::with(&server.kubeconfig()).await
    }

    async fn with(kubeconfig: &str) -> Self {
        Self::watching(kubeconfig, NodesWatched::This).await
    }

    async fn watching(kubeconfig: &str, nodes: NodesWatched) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), kubeconfig).unwrap();
        let kubeconfig = Some(file.path().to_owned());
        let settings = ApiSettings { kubeconfig, ..ApiSettings::default() };
        let mut watching = Self::watching_by(settings, nodes).await;
        watching.kubeconfig = Some(file);
        watching
    }

    async fn by(settings: ApiSettings) -> Self {
        Self::watching_by(settings, NodesWatched::This).await
    }

    async fn watching_by(settings: ApiSettings, nodes: NodesWatched) -> Self {
        let retry = Retry { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
        let api = Api::new(&ApiSettings { retry, ..settings }).await.unwrap();
        let (sender, events) = mpsc::channel(16);
        let task = tokio::spawn(async move { watch::run(&api, "node1", nodes, sender).await });
        let mut store = Store::default();
        // Another source sends this event; without it the facts are not complete.
        store.fold(Event::Addresses(vec![]), &mut Dirty::default());
        Self { events, store, task, kubeconfig: None }
    }

    /// Returns the next event, and folds it into the store.
    async fn event(&mut self) -> Event {
        let mut batch = timeout(LIMIT, self.events.recv()).await.expect("an event").unwrap();
        let event = batch.pop().expect("an event");
        assert_eq!(batch, [], "more than one event at once");
        self.store.fold(event.clone(), &mut Dirty::default());
        event
    }

    /// Folds events until the store agrees with the server's objects.
    async fn agrees_with(&mut self, server: &ApiServer) {
        let wanted = format!("{:?}", meaning(server));
        let agree = async {
            while format!("{:?}", self.store) != wanted {
                self.event().await;
            }
        };
        if timeout(LIMIT, agree).await.is_err() {
            assert_eq!(format!("{:#?}", self.store), format!("{:#?}", meaning(server)));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for a request that fulfils the condition.
async fn asked(server: &ApiServer, like: impl Fn(&Seen) -> bool) -> Seen {
    let asked = async {
        loop {
            if let Some(seen) = server.requests().into_iter().find(&like) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, asked).await.expect("a request")
}

/// Lets everything that is ready run for a while. A paused clock does not move while a task runs.
pub(crate) async fn settle(time: Duration) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

/// Waits until the condition is true.
async fn until(has_come: impl Fn() -> bool) {
    let come = async {
        while !has_come() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, come).await.expect("it has come about");
}

/// Waits until this many requests have fulfilled the condition.
async fn asked_like(server: &ApiServer, count: usize, like: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    let asked = async {
        loop {
            let seen: Vec<_> = server.requests().into_iter().filter(&like).collect();
            if seen.len() >= count {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, asked).await.expect("requests")
}

/// Waits until this many requests have been made in all.
async fn asked_times(server: &ApiServer, count: usize) {
    let asked = async {
        while server.requests().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, asked).await.expect("requests");
}

/// Converts the server's objects without the source.
fn meaning(server: &ApiServer) -> Store {
    let problems = &mut Vec::new();
    let mut store = Store::default();
    let services = objects::<Service>(server, "Service");
    let services =
        services.iter().filter_map(|object| convert::service(object, problems)).collect();
    let slices = objects::<EndpointSlice>(server, "EndpointSlice");
    let slices = slices.iter().filter_map(|object| convert::slice(object, problems)).collect();
    let nodes = objects::<Node>(server, "Node");
    let mut nodes = nodes.iter().filter_map(|object| convert::node(object, problems));
    let node = nodes.find(|node| &*node.name == "node1");
    for event in [
        Event::Service(Update::Listed(services)),
        Event::Slice(Update::Listed(slices)),
        Event::Node(node),
        Event::Addresses(vec![]),
    ] {
        store.fold(event, &mut Dirty::default());
    }
    store
}

fn objects<T: DeserializeOwned>(server: &ApiServer, kind: &str) -> Vec<T> {
    let objects = server.objects(kind).into_iter();
    objects.map(|object| serde_json::from_value(object).unwrap()).collect()
}

fn service(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, spec: \
         {{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ipFamilies: [IPv4], \
         ports: [{{name: http, port: {port}}}]}}}}\n"
    )
}

fn slice(name: &str, address: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}-a, \
         namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}, addressType: IPv4, \
         ports: [{{name: http, port: 8080, protocol: TCP}}], endpoints: [{{addresses: [{address}]}}]}}\n"
    )
}

fn node(name: &str, address: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{addresses: \
         [{{type: InternalIP, address: {address}}}]}}}}\n"
    )
}

/// Returns a server with one object of each kind.
fn small_cluster() -> ApiServer {
    let server = ApiServer::start();
    server.put(&service("web", 80));
    server.put(&slice("web", "10.244.1.5"));
    server.put(&node("node1", "192.0.2.11"));
    server
}

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this thread at level info and above. All threads share one subscriber: with one for
/// each, `tracing` sometimes forgets call sites.
pub(crate) struct Log;

impl Log {
    pub(crate) fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time();
            subscriber.with_writer(|| Logged).init();
        });
        LOGGED.take();
        Self
    }

    pub(crate) fn lines_with(&self, part: &str) -> Vec<String> {
        let text = LOGGED.with_borrow(|bytes| String::from_utf8(bytes.clone()).unwrap());
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    pub(crate) async fn has(&self, part: &str) {
        self.has_times(part, 1).await;
    }

    /// Waits until this many lines contain the text.
    pub(crate) async fn has_times(&self, part: &str, times: usize) {
        let found = async {
            while self.lines_with(part).len() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, found)
            .await
            .unwrap_or_else(|_| panic!("{times} lines with {part:?}: {:#?}", self.lines_with("")));
    }
}

struct Logged;

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
