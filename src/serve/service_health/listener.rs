//! One listening socket and its connections.
//!
//! In: an address, and what to tell. Out: HTTP/1 answers to whoever connects. Bounded: who takes too
//! long to ask is cut off, and where too many are connected the one that came first gives way to
//! the one that comes. Never: both families on one socket, a connection after the close.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as Socket};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::answer::Shown;
use crate::serve::health::Moment;

/// How many connections a server has at a time; a health check lasts for milliseconds.
const MOST: usize = 32;

/// How long a request's head may take, from the connection or the last answer on. It is no multiple
/// of the usual periods of health checks, so that one on a kept connection does not meet its end.
const HEAD_TIME: Duration = Duration::from_secs(12);

/// A request has a few hundred bytes.
const HEAD_SIZE: usize = 16 * 1024;

/// How many connections the kernel keeps ready.
const BACKLOG: i32 = 128;

/// The pause after a connection could not be taken, for want of file descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(500);

/// A running server. Dropped, it ends soon; see [`Listener::close`].
#[derive(Debug)]
pub(super) struct Listener {
    shown: Arc<Shown>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens, and answers from now on. Must be called within the runtime.
    pub(super) fn open(address: SocketAddr, shown: Arc<Shown>) -> io::Result<Self> {
        let listener = TcpListener::from_std(socket(address)?)?;
        let task = tokio::spawn(accept(listener, Arc::clone(&shown)));
        Ok(Self { shown, task })
    }

    pub(super) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Frees the address and breaks all connections off before it returns.
    pub(super) async fn close(mut self) {
        self.task.abort();
        // It was cancelled, which is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Without `IPV6_V6ONLY` the wildcard of IPv6 would take the port of IPv4 too.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    // Connections of a server that was closed a moment ago must not keep its port.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(Socket::from(socket))
}

/// Runs until it is cancelled; its connections end with it.
async fn accept(listener: TcpListener, shown: Arc<Shown>) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => {
                by_age.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if by_age.len() >= MOST
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                by_age.push_back(connections.spawn(converse(stream, Arc::clone(&shown))));
            }
            Err(error) => {
                tracing::debug!("health check: cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, shown: Arc<Shown>) {
    let service = service_fn(|_| {
        let answer = shown.answer(Moment::now());
        async { Ok::<_, Infallible>(answer) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = conversation {
        tracing::debug!("health check: {error}");
    }
}
