//! Runs one of the proxy's own servers until the process ends.
//!
//! Takes an address and a handler. Serves at the address. If the port cannot be bound, logs it once and tries again
//! every few seconds until it can, which it logs too. With `bindAddressHardFail` it returns an error instead, which
//! ends the process.
//!
//! Source: spec 10.1, 10.3, 12.8.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::listener::{Handler, Listener, Wildcard};
use crate::events::{Event, Kind, Regarding, Sink};
use crate::lasting::{Area, Lasting};

/// The pause before another attempt to bind a port.
pub const RETRY: Duration = Duration::from_secs(5);

/// The pause before the process ends, in which the event of the failure can be sent.
const FAREWELL: Duration = Duration::from_millis(500);

/// The proxy's own servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// The server of `/healthz` and `/livez`.
    Health,
    /// The server of `/metrics`.
    Metrics,
}

impl ServerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Health => "health server (healthzBindAddress)",
            Self::Metrics => "metrics server (metricsBindAddress)",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Health => "FailedToStartProxierHealthcheck",
            Self::Metrics => "FailedToStartMetricServer",
        }
    }
}

/// The reaction to a port that cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBindFailure {
    /// The server tries again after this pause.
    TryAgain(Duration),
    /// The process ends (`bindAddressHardFail`).
    End,
}

/// The error of a server that cannot listen although it must.
#[derive(Debug, thiserror::Error)]
#[error("the {what} cannot listen on {address} and bindAddressHardFail is set: {cause}")]
pub struct Unbound {
    what: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

/// The address of a server, and where its failures are reported.
#[derive(Clone, Debug)]
pub struct Server {
    /// The kind of the server.
    pub which: ServerKind,
    /// The address; a wildcard of either family stands for both.
    pub address: SocketAddr,
    /// The reaction to a port that cannot be bound.
    pub without_port: OnBindFailure,
    /// This node's name, for events.
    pub node: Arc<str>,
    /// The sink of events.
    pub events: Sink,
    /// The conditions to which a failure to bind the port is added, for reminders.
    pub lasting: Lasting,
}

impl Server {
    /// Serves until it is cancelled. Returns the error if the port cannot be bound and the process must end.
    pub(super) async fn serve<A: Handler>(self, answers: Arc<A>) -> Unbound {
        let (what, address) = (self.which.name(), self.address);
        loop {
            let cause = match Listener::open(address, Wildcard::Both, Arc::clone(&answers)) {
                Ok(listener) => {
                    self.lasting.end(Area::Ports, what);
                    // The listener runs by itself, and stops when this is dropped.
                    let _listener = listener;
                    std::future::pending().await
                }
                Err(cause) => cause,
            };
            match self.without_port {
                OnBindFailure::End => return self.give_up(cause).await,
                OnBindFailure::TryAgain(pause) => {
                    let text = format!(
                        "the {what} cannot listen on {address}, trying again every {pause:?}: {cause}"
                    );
                    self.lasting.begin(Area::Ports, what, text);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn give_up(self, cause: io::Error) -> Unbound {
        let unbound = Unbound { what: self.which.name(), address: self.address, cause };
        self.events.tell(Event {
            kind: Kind::Warning,
            reason: self.which.reason(),
            action: "StartKubeProxy",
            regarding: Regarding::Node(self.node),
            note: unbound.to_string(),
        });
        tokio::time::sleep(FAREWELL).await;
        unbound
    }
}
