//! One listening socket and its connections.
//!
//! In: an address, and what to tell. Out: HTTP/1 answers to whoever connects. Bounded: who takes too
//! long to ask is cut off, and where too many are connected those without a request give way to
//! the one that comes. Never: both families on one socket unless asked for, a connection after the
//! close.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as Socket};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use self::connections::{Connections, IdleGuard};

mod connections;

/// What is sent back.
pub(super) type Answer = Response<Full<Bytes>>;

/// Somebody who answers requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer at this moment. The length of its body is its to say, hyper says it otherwise.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Which families a wildcard address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// Its own.
    OwnFamily,
    /// Both, whichever of the two wildcards it is (spec 10.1).
    Both,
}

/// How many connections a server has at a time: more than any crowd of probes and scrapers, fewer than
/// a process may have files.
const MAX_CONNECTIONS: usize = 512;

/// How long a request's head may take, from the connection or the last answer on. It is no multiple
/// of the usual periods of health checks, so that one on a kept connection does not meet its end.
const HEAD_TIME: Duration = Duration::from_secs(12);

/// A request's head has a few hundred bytes as a rule; what meshes and gateways add can be much, and Go
/// takes a megabyte. So much of it is kept for each connection at worst.
const HEAD_SIZE: usize = 68 * 1024;

/// How many lines a head may have.
const HEADERS: usize = 256;

/// How many connections the kernel keeps ready.
const BACKLOG: i32 = 128;

/// The pause after a connection could not be taken, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A running server. Dropped, it ends soon; see [`Listener::close`].
#[derive(Debug)]
pub(super) struct Listener<A> {
    answers: Arc<A>,
    task: JoinHandle<()>,
}

impl<A: Handler> Listener<A> {
    /// Listens, and answers from now on. Must be called within the runtime.
    pub(super) fn open(
        address: SocketAddr,
        wildcard: Wildcard,
        answers: Arc<A>,
    ) -> io::Result<Self> {
        let listener = TcpListener::from_std(socket_at(address, wildcard)?)?;
        let task = tokio::spawn(accept(listener, Arc::clone(&answers), MAX_CONNECTIONS));
        Ok(Self { answers, task })
    }
}

impl<A> Listener<A> {
    pub(super) fn answers(&self) -> &A {
        &self.answers
    }

    /// Frees the address and breaks all connections off before it returns.
    pub(super) async fn close(mut self) {
        self.task.abort();
        // It was cancelled, which is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl<A> Drop for Listener<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Finds out whether one of the proxy's own servers could listen at this address; nobody listens there afterwards.
///
/// # Errors
/// What the system says.
pub fn try_to_listen(address: SocketAddr) -> io::Result<()> {
    socket_at(address, Wildcard::Both).map(drop)
}

fn socket_at(address: SocketAddr, wildcard: Wildcard) -> io::Result<Socket> {
    match wildcard {
        Wildcard::Both if address.ip().is_unspecified() => socket_of_both(address.port()),
        Wildcard::Both | Wildcard::OwnFamily => socket(address, Wildcard::ExtensionConfig),
    }
}

/// A host without IPv6 has the wildcard of IPv4 only.
fn socket_of_both(port: u16) -> io::Result<Socket> {
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match socket(v6, Wildcard::Both) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), Wildcard::OwnFamily)
        }
        result => result,
    }
}

/// Without `IPV6_V6ONLY` the wildcard of IPv6 takes the port of IPv4 too.
fn socket(address: SocketAddr, wildcard: Wildcard) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, wildcard == Wildcard::OwnFamily)?;
    }
    // Connections of a server that was closed a moment ago must not keep its port.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(Socket::from(socket))
}

/// Runs until it is cancelled; its connections end with it.
async fn accept<A: Handler>(listener: TcpListener, answers: Arc<A>, most: usize) {
    let mut connections = Connections::new(most);
    loop {
        let accepted = tokio::select! {
            () = connections.ended() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.room().await;
                connections.begin(|rest| serve_connection(stream, Arc::clone(&answers), rest));
            }
            Err(error) => {
                tracing::debug!("http: cannot take a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<A: Handler>(stream: TcpStream, answers: Arc<A>, rest: IdleGuard) {
    let service = service_fn(|request| {
        let (answers, rest) = (Arc::clone(&answers), rest.clone());
        async move {
            rest.ends();
            let answer = answers.answer(request).await;
            rest.begins();
            Ok::<_, Infallible>(answer)
        }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = conversation {
        tracing::debug!("http: {error}");
    }
}

#[cfg(test)]
mod tests;
