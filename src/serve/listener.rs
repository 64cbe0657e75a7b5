//! One listening socket and its connections.
//!
//! Takes an address and a handler. Answers HTTP/1 requests. Cuts off a client that takes too long to send a request.
//! When there are too many connections, one without a request makes room for the next. Does not listen on both families
//! with one socket unless asked to. Leaves no connection open after [`Listener::close`].

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

/// A complete HTTP answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// Returns the answer. It may set the length of its body; otherwise hyper does.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// The families that a wildcard address stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// The address's own family.
    OwnFamily,
    /// Both families, for either of the two wildcard addresses (spec 10.1).
    Both,
}

/// The largest number of connections of a server at a time. It is more than probes and scrapers need, and less than the
/// files that a process may open.
const MAX_CONNECTIONS: usize = 512;

/// The longest time for a request's head, from the connection or the last answer on. It is no multiple of the usual
/// periods of health checks, so that a check on a kept connection does not collide with the timeout.
const HEAD_TIME: Duration = Duration::from_secs(12);

/// The largest size of a request's head in bytes, which each connection may occupy. A head usually has a few hundred
/// bytes, but meshes and gateways may add much. Go's limit is a megabyte.
const HEAD_SIZE: usize = 68 * 1024;

/// The largest number of lines in a request's head.
const HEADERS: usize = 256;

/// The number of connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// The pause after a connection could not be accepted, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A running server. When dropped it ends soon; [`Listener::close`] waits for its end.
#[derive(Debug)]
pub(super) struct Listener<A> {
    answers: Arc<A>,
    task: JoinHandle<()>,
}

impl<A: Handler> Listener<A> {
    /// Opens the socket and starts to answer. Must be called within the runtime.
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

    /// Frees the address and ends all connections before it returns.
    pub(super) async fn close(mut self) {
        self.task.abort();
        // The error only says that the task was cancelled.
        let _ = (&mut self.task).await;
    }
}

impl<A> Drop for Listener<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Checks that one of the proxy's own servers could listen at this address. Closes the socket again.
///
/// # Errors
/// The system's error.
pub fn try_to_listen(address: SocketAddr) -> io::Result<()> {
    socket_at(address, Wildcard::Both).map(drop)
}

fn socket_at(address: SocketAddr, wildcard: Wildcard) -> io::Result<Socket> {
    match wildcard {
        Wildcard::Both if address.ip().is_unspecified() => socket_of_both(address.port()),
        Wildcard::Both | Wildcard::OwnFamily => socket(address, Wildcard::OwnFamily),
    }
}

/// Opens the wildcard socket of both families. On a host without IPv6 it opens that of IPv4.
fn socket_of_both(port: u16) -> io::Result<Socket> {
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match socket(v6, Wildcard::Both) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            socket(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), Wildcard::OwnFamily)
        }
        result => result,
    }
}

/// Opens a socket. Without `IPV6_V6ONLY` the IPv6 wildcard takes the IPv4 port too.
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
    // Connections of a server that has just been closed must not block its port.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(Socket::from(socket))
}

/// Accepts connections until it is cancelled. Its connections end with it.
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
