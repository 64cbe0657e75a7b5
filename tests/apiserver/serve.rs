//! Serves the HTTP requests of the test API server.
//!
//! Takes connections. Returns answers from the store, with the requested behaviour, and records
//! every request. Does not change objects other than Events.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::store::Selector;
use super::{Canned, Gone, Pulse, Seen, Shared, Streaming, lock};

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Lines = mpsc::Sender<Bytes>;

/// Serves until the count of stops changes.
pub fn run(shared: &Arc<Shared>, listener: TcpListener, stops: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut pulse = shared.pulse.subscribe();
    runtime.block_on(async {
        tokio::select! {
            () = accept(shared, listener) => {}
            _ = pulse.wait_for(|pulse| pulse.stops != stops) => {}
        }
    });
}

async fn accept(shared: &Arc<Shared>, listener: TcpListener) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let mut pulse = shared.pulse.subscribe();
            let disconnects = pulse.borrow().disconnects;
            tokio::select! {
                () = converse(&shared, socket) => {}
                _ = pulse.wait_for(|pulse| pulse.disconnects != disconnects) => {}
            }
        });
    }
}

async fn converse(shared: &Arc<Shared>, socket: tokio::net::TcpStream) {
    let http2 = lock(&shared.behaviour).http2;
    let Ok(socket) = shared.identity.acceptor(http2).accept(socket).await else { return };
    let is_known = socket.get_ref().1.peer_certificates().is_some();
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(answer(&shared, request, is_known).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(socket), service).await;
}

/// Answers a request. A client is identified by its certificate, or else by its token.
async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    is_known: bool,
) -> Response<Body> {
    let header = |name| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let kind = header("content-type");
    let mut seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: pairs(request.uri().query().unwrap_or_default()),
        version: request.version(),
        agent: header("user-agent"),
        status: 0,
        at: Instant::now(),
    };
    let authorization = header("authorization");
    let (delay, is_delayed) = {
        let behaviour = lock(&shared.behaviour);
        (behaviour.delay, (behaviour.is_delayed)(&seen))
    };
    if is_delayed {
        tokio::time::sleep(delay).await;
    }
    let is_known = is_known
        || lock(&shared.tokens).iter().any(|token| authorization == format!("Bearer {token}"));
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let response = match (is_known, &seen.method) {
        (false, _) => failure(401, "Unauthorized"),
        (true, &Method::GET) => route(shared, &seen),
        (true, _) => write(shared, &seen, &kind, &body),
    };
    seen.status = response.status().as_u16();
    lock(&shared.seen).push(seen);
    response
}

fn write(shared: &Shared, request: &Seen, kind: &str, body: &[u8]) -> Response<Body> {
    if let Some((prefix, status)) = lock(&shared.behaviour).refuse
        && request.path.starts_with(prefix)
    {
        return failure(status, "refused by the test");
    }
    let mut events = lock(&shared.events);
    match events.write(&request.method, &request.path, kind, body) {
        Ok((code, event)) => {
            let mut response = Response::new(whole(&event));
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            response
        }
        Err((code, message)) => failure(code, &message),
    }
}

fn route(shared: &Arc<Shared>, request: &Seen) -> Response<Body> {
    let behaviour = lock(&shared.behaviour).clone();
    if let Some(canned) = behaviour.canned.filter(|canned| (canned.is_for)(request)) {
        return as_it_stands(canned);
    }
    if let Some((prefix, status)) = behaviour.refuse
        && request.path.starts_with(prefix)
    {
        return failure(status, "refused by the test");
    }
    let (version, kind) = match request.path.as_str() {
        "/api/v1/services" => ("v1", "Service"),
        "/api/v1/nodes" => ("v1", "Node"),
        "/apis/discovery.k8s.io/v1/endpointslices" => ("discovery.k8s.io/v1", "EndpointSlice"),
        _ => return failure(404, "the server could not find the requested resource"),
    };
    let parameter = |name| request.parameter(name).unwrap_or_default();
    let selector = Selector::new(parameter("labelSelector"), parameter("fieldSelector"));
    if request.is_list() {
        return list(shared, request, version, kind, &selector, behaviour.page);
    }
    let since: u64 = parameter("resourceVersion").parse().unwrap_or(0);
    let begin = match (request.is_streamed_list(), behaviour.streaming) {
        (true, Streaming::Refused(status)) => {
            return failure(status, "sendInitialEvents: Forbidden: not on this server");
        }
        (true, Streaming::Served) => Begin::StateAndMark,
        (true, Streaming::Ignored) => Begin::State,
        (false, _) if since == 0 => Begin::State,
        (false, _) => Begin::After(since),
    };
    if let Begin::After(since) = begin
        && behaviour.gone == Gone::ByStatus
        && !lock(&shared.store).knows(since)
    {
        return failure(410, "too old resource version");
    }
    let (sender, receiver) = mpsc::channel(64);
    let watch = Watch {
        shared: Arc::clone(shared),
        kind,
        api_version: version,
        selector,
        bookmarks: parameter("allowWatchBookmarks") == "true",
        lines: sender,
    };
    let limit = parameter("timeoutSeconds").parse().unwrap_or(3600);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(Duration::from_secs(limit), watch.run(begin)).await;
    });
    let lines = stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), receiver))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(lines)))
}

/// Returns a page of a list. The page token is the version of the list and the index of the next
/// object.
fn list(
    shared: &Shared,
    request: &Seen,
    api_version: &str,
    kind: &str,
    selector: &Selector,
    page: usize,
) -> Response<Body> {
    let store = lock(&shared.store);
    let token = request.parameter("continue").and_then(|token| token.split_once(':'));
    let (version, start) = token.map_or((store.version(), 0), |(version, start)| {
        (version.parse().unwrap(), start.parse().unwrap())
    });
    if token.is_some() && !store.knows(version) {
        return failure(410, "The provided continue parameter is too old");
    }
    let objects = store.list(kind, selector, version);
    let limit = request.parameter("limit").and_then(|limit| limit.parse().ok());
    let end = match limit {
        Some(limit) => objects.len().min(start + page.min(limit)),
        None => objects.len(),
    };
    let mut meta = json!({"resourceVersion": version.to_string()});
    if end < objects.len() {
        meta["continue"] = json!(format!("{version}:{end}"));
    }
    let mut items = objects[start.min(end)..end].to_vec();
    // Only the list has a type, as in a real server.
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.remove("kind");
        item.remove("apiVersion");
    }
    // Go writes empty lists as null.
    let items = if items.is_empty() { Value::Null } else { json!(items) };
    let kind = format!("{kind}List");
    let list = json!({"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items});
    Response::new(whole(&list))
}

enum Begin {
    State,
    StateAndMark,
    After(u64),
}

/// One open watch.
struct Watch {
    shared: Arc<Shared>,
    kind: &'static str,
    api_version: &'static str,
    selector: Selector,
    bookmarks: bool,
    lines: Lines,
}

/// Says that the client is gone, or that the watch is over.
struct Over;

impl Watch {
    async fn run(self, begin: Begin) {
        let mut pulse = self.shared.pulse.subscribe();
        let _ = self.follow(begin, &mut pulse).await;
    }

    async fn follow(&self, begin: Begin, pulse: &mut watch::Receiver<Pulse>) -> Result<(), Over> {
        let mut last = *pulse.borrow_and_update();
        let mut version = match begin {
            Begin::After(version) if !lock(&self.shared.store).knows(version) => {
                self.send("ERROR", status(410, "too old resource version")).await?;
                return Err(Over);
            }
            Begin::After(version) => version,
            Begin::State => self.state().await?,
            Begin::StateAndMark => {
                let lag = lock(&self.shared.behaviour).lag;
                let version = match lag {
                    Some(version) => {
                        self.state_at(version).await?;
                        self.news(version).await?
                    }
                    None => self.state().await?,
                };
                let mark = json!({"k8s.io/initial-events-end": "true"});
                self.bookmark(version, mark).await?;
                version
            }
        };
        loop {
            // The next pulse reports what happens after this.
            let now = *pulse.borrow_and_update();
            version = self.news(version).await?;
            if now.bookmarks != last.bookmarks && self.bookmarks {
                self.bookmark(version, Value::Null).await?;
            }
            if now.endings != last.endings || lock(&self.shared.behaviour).brief {
                return Err(Over);
            }
            last = now;
            tokio::select! {
                changed = pulse.changed() => changed.map_err(|_| Over)?,
                () = self.lines.closed() => return Err(Over),
            }
        }
    }

    async fn state(&self) -> Result<u64, Over> {
        let version = lock(&self.shared.store).version();
        self.state_at(version).await?;
        Ok(version)
    }

    async fn state_at(&self, version: u64) -> Result<(), Over> {
        let objects = lock(&self.shared.store).list(self.kind, &self.selector, version);
        for object in objects {
            self.send("ADDED", object).await?;
        }
        Ok(())
    }

    async fn news(&self, version: u64) -> Result<u64, Over> {
        let (now, news) = {
            let store = lock(&self.shared.store);
            (store.version(), store.since(self.kind, &self.selector, version))
        };
        for event in news {
            self.send(event.kind, event.object).await?;
        }
        Ok(now)
    }

    async fn bookmark(&self, version: u64, annotations: Value) -> Result<(), Over> {
        let meta = json!({"resourceVersion": version.to_string(), "annotations": annotations});
        let object = json!({"kind": self.kind, "apiVersion": self.api_version, "metadata": meta});
        self.send("BOOKMARK", object).await
    }

    async fn send(&self, kind: &str, object: Value) -> Result<(), Over> {
        // The event is written as Go does: `type` comes before `object`.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.lines.send(line.into()).await.map_err(|_| Over)
    }
}

fn as_it_stands(canned: Canned) -> Response<Body> {
    let mut response = Response::builder().status(canned.status);
    for (name, value) in canned.headers {
        response = response.header(name, value);
    }
    response.body(BodyExt::boxed_unsync(Full::new(Bytes::from(canned.body)))).unwrap()
}

fn failure(code: u16, message: &str) -> Response<Body> {
    let mut response = Response::new(whole(&status(code, message)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        410 => "Expired",
        _ => "Invalid",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn whole(value: &Value) -> Body {
    BodyExt::boxed_unsync(Full::new(Bytes::from(value.to_string())))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let pair = [*high, *low];
                let pair = std::str::from_utf8(&pair).unwrap();
                bytes.push(u8::from_str_radix(pair, 16).unwrap());
                rest = tail;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
