//! One of the proxy's own servers, from its start to the end of the process.
//!
//! In: where to listen, and who answers. Out: an open port; where it cannot be had, one line when that
//! begins and one when it ends, and another try every few seconds, or the end of the process if the
//! operator has asked for that. Never: a wait of anybody else.
//!
//! Source: spec 10.1, 10.3, 12.8.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::listener::{Handler, Listener, Wildcard};
use crate::events::{Event, Kind, Regarding, Sink};
use crate::lasting::{Area, Lasting};

/// How long until a port that could not be had is tried again.
pub const RETRY: Duration = Duration::from_secs(5);

/// How long the event of a failure may take on its way before the process ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// That of `/healthz` and `/livez`.
    Health,
    /// That of `/metrics`.
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

/// What happens where a port cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBindFailure {
    /// It is tried again after so long.
    TryAgain(Duration),
    /// The process ends (`bindAddressHardFail`).
    End,
}

/// A server cannot listen, and is not to be done without.
#[derive(Debug, thiserror::Error)]
#[error("the {what} cannot listen on {address} and bindAddressHardFail is set: {cause}")]
pub struct Unbound {
    what: &'static str,
    address: SocketAddr,
    cause: io::Error,
}

/// Where a server listens, and who is told if it cannot.
#[derive(Clone, Debug)]
pub struct Server {
    /// Which one it is.
    pub which: ServerKind,
    /// The address; a wildcard of either family stands for both.
    pub address: SocketAddr,
    /// What happens without it.
    pub without_port: OnBindFailure,
    /// This node's name for events.
    pub node: Arc<str>,
    /// Where events go.
    pub events: Sink,
    /// Where a port that cannot be had is kept for reminders.
    pub lasting: Lasting,
}

impl Server {
    /// Serves until it is cancelled.
    pub(super) async fn serve<A: Handler>(self, answers: Arc<A>) -> Unbound {
        let (what, address) = (self.which.name(), self.address);
        let mut is_told = false;
        loop {
            let cause = match Listener::open(address, Wildcard::Both, Arc::clone(&answers)) {
                Ok(listener) => {
                    if is_told {
                        self.lasting.end(Area::Ports, what);
                        tracing::info!("the {what} listens on {address} now");
                    }
                    // It takes connections by itself, and stops when this is dropped.
                    let _listener = listener;
                    std::future::pending().await
                }
                Err(cause) => cause,
            };
            match self.without_port {
                OnBindFailure::End => return self.give_up(cause).await,
                OnBindFailure::TryAgain(pause) => {
                    let text = format!("the {what} cannot listen on {address}: {cause}");
                    self.lasting.begin(Area::Ports, what, text);
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::error!(
                            "the {what} cannot listen on {address}, trying again every {pause:?}: \
                             {cause}"
                        );
                    }
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
