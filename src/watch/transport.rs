//! Builds the HTTP client.
//!
//! Takes the client's configuration. Returns a client that speaks HTTP/2 over one connection, or
//! HTTP/1.1 if the server speaks only that. It closes a connection whose peer has vanished. Does
//! not retry.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::ConfigExt;
use tower::{BoxError, ServiceBuilder};

use super::alert::Alerts;
use super::counted::{Counted, Counts};
use super::redact::Plugin;
use super::tls::{self, TlsError};

/// The silence on an HTTP/2 connection after which the peer is pinged.
const PING: Duration = Duration::from_secs(30);

/// The time to wait for the answer to a ping.
const PONG: Duration = Duration::from_secs(15);

/// The silence after which the kernel closes a connection.
const VANISHED: Duration = Duration::from_secs(40);

/// The time between two keepalive probes of the kernel.
const PROBE: Duration = Duration::from_secs(5);

/// The number of keepalive probes that the kernel sends.
const PROBES: u32 = 3;

/// The reasons why a client cannot be built.
#[derive(Debug)]
pub(super) enum TransportError {
    /// Certificates or keys cannot be used.
    Tls(TlsError),
    /// Credentials or names cannot be used.
    Other(BoxError),
}

impl<E: Into<BoxError>> From<E> for TransportError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Builds the client. kube's own client speaks HTTP/1.1 only (kube-rs/kube#1923): it needs one
/// connection for each watch, and finds a dead one only when the watch would have ended anyway.
pub(super) fn client(config: &Config, counts: &Counts) -> Result<kube::Client, TransportError> {
    // A credential plugin that gives a token runs once; certificates have it run for them.
    let plugin = Plugin::of(&config.auth_info);
    let user = config.auth_layer()?;
    let mut without_plugin = config.clone();
    if user.is_some() {
        without_plugin.auth_info.exec = None;
    }
    let tls = tls::client_config(&without_plugin).map_err(|error| match error {
        TlsError::Plugin(cause) => TransportError::Other(cause),
        error => TransportError::Tls(error),
    })?;
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let https = match &config.tls_server_name {
        Some(name) => {
            https.with_server_name_resolver(FixedServerNameResolver::new(name.clone().try_into()?))
        }
        None => https,
    };
    let alerts = Alerts::default();
    let heard = alerts.clone();
    let connection = ServiceBuilder::new()
        .map_response(move |connection| heard.listen(connection))
        .service(https.enable_all_versions().wrap_connector(connector()));
    let service = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_keep_alive_while_idle(true)
        .build(connection);
    let service = ServiceBuilder::new()
        .map_err(move |error: BoxError| plugin.redact(error))
        .layer(config.base_uri_layer())
        .option_layer(user)
        .layer(config.extra_headers_layer()?)
        .layer_fn(|inner| Counted::new(inner, counts.clone()))
        .map_err(move |error| alerts.explain(error))
        .service(service);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Returns a connector whose connections use TCP keepalive. TCP notices a vanished peer whether or
/// not data is in flight. HTTP/1.1 has no ping of its own.
fn connector() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(10)));
    // The kernel checks the limit only when a probe is due, and the next one is 75 s away by
    // default.
    http.set_keepalive(Some(VANISHED - PROBES * PROBE));
    http.set_keepalive_interval(Some(PROBE));
    http.set_keepalive_retries(Some(PROBES));
    http.set_tcp_user_timeout(Some(VANISHED));
    http
}
