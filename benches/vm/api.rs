//! Runs an API server that costs the measured machine no more than a remote one would.
//!
//! Takes objects as text. Serves streamed lists and watches over HTTP/1.1, and events on demand.
//! All answers are encoded beforehand. Does not use TLS, because the server's work would be counted
//! too. Refuses requests that it does not know.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::world::{self, NODE, Shape};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Service,
    Slice,
    Node,
}

/// A running server; it ends with the process.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lists: Mutex<BTreeMap<Kind, Arc<[u8]>>>,
    watches: Mutex<BTreeMap<Kind, TcpStream>>,
    opened: Condvar,
}

impl Api {
    /// Starts in the network namespace of this thread, with all objects of this shape.
    pub(crate) fn start(shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let api = Self { address, shared: Arc::clone(&shared) };
        api.hold(Kind::Node, [world::node()]);
        api.hold(Kind::Service, (0..shape.services).map(world::service));
        let slices = (0..shape.services).flat_map(|service| {
            (0..shape.slices()).map(move |part| world::slice(shape, service, part, |_| 0))
        });
        api.hold(Kind::Slice, slices);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream));
            }
        });
        api
    }

    /// Sets the objects of a kind that later lists get.
    pub(crate) fn hold(&self, kind: Kind, objects: impl IntoIterator<Item = String>) {
        let mut lines = String::new();
        for object in objects {
            lines += &line("ADDED", &object);
        }
        let (api_version, name) = match kind {
            Kind::Service => ("v1", "Service"),
            Kind::Slice => ("discovery.k8s.io/v1", "EndpointSlice"),
            Kind::Node => ("v1", "Node"),
        };
        let mark = format!(
            r#"{{"kind":"{name}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"900000","annotations":{{"k8s.io/initial-events-end":"true"}}}}}}"#
        );
        lines += &line("BOOKMARK", &mark);
        // The body is sent in pieces, as by a server that writes one object at a time.
        let mut body = Vec::with_capacity(lines.len() + lines.len() / 1000);
        for piece in lines.as_bytes().chunks(16 << 10) {
            chunk(&mut body, piece);
        }
        self.shared.lists.lock().unwrap().insert(kind, body.into());
    }

    /// Sends bytes that [`event`] has written.
    pub(crate) fn send(&self, kind: Kind, bytes: &[u8]) {
        let mut watches = self.shared.watches.lock().unwrap();
        while !watches.contains_key(&kind) {
            watches = self.shared.opened.wait(watches).unwrap();
        }
        watches.get_mut(&kind).unwrap().write_all(bytes).unwrap();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut request, mut header) = (String::new(), String::new());
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        while reader.read_line(&mut header).unwrap_or(0) > 2 {
            header.clear();
        }
        let kind = match request.split_whitespace().nth(1).unwrap_or_default() {
            path if path.starts_with("/api/v1/services?") => Kind::Service,
            path if path.starts_with("/api/v1/nodes?") => Kind::Node,
            path if path.starts_with("/apis/discovery.k8s.io/v1/endpointslices?") => Kind::Slice,
            // The proxy's own events are refused.
            _ => {
                let refusal =
                    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = (&stream).write_all(refusal);
                return;
            }
        };
        let list = self.lists.lock().unwrap().get(&kind).cloned().unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(&list));
        if sent.is_ok() {
            self.watches.lock().unwrap().insert(kind, stream);
            self.opened.notify_all();
        }
    }
}

/// Appends an event about an object, for [`Api::send`].
pub(crate) fn event(verb: &str, object: &str, bytes: &mut Vec<u8>) {
    chunk(bytes, line(verb, object).as_bytes());
}

fn line(verb: &str, object: &str) -> String {
    format!("{{\"type\":\"{verb}\",\"object\":{object}}}\n")
}

fn chunk(bytes: &mut Vec<u8>, piece: &[u8]) {
    write!(bytes, "{:x}\r\n", piece.len()).unwrap();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
}

/// Returns the arguments of a proxy that uses this server.
pub(crate) fn arguments(api: &Api) -> Vec<String> {
    vec![format!("--master=http://{}", api.address), format!("--hostname-override={NODE}")]
}
