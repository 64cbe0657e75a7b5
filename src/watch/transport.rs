//! The client of HTTP under the requests.
//!
//! In: the client's configuration. Out: a client that speaks HTTP/2 over one connection, or HTTP/1.1 where the
//! server knows no more, and that gives a connection up when its peer has vanished without a word. Does not
//! try again.

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

/// How long a connection of HTTP/2 is silent before the peer is asked for a sign of life.
const PING: Duration = Duration::from_secs(30);

/// How long that sign is waited for.
const PONG: Duration = Duration::from_secs(15);

/// After so long without a sign of life the kernel gives a connection up.
const VANISHED: Duration = Duration::from_secs(40);

/// The time between two of the kernel's probes.
const PROBE: Duration = Duration::from_secs(5);

/// How many probes the kernel sends at most.
const PROBES: u32 = 3;

/// Why there is no client.
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

/// kube's own client speaks HTTP/1.1 only (kube-rs/kube#1923): one connection for each watch, and
/// a dead one found only when the watch would have ended anyway.
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

/// A peer that has vanished is noticed by TCP too, whether something is on its way to it or not: HTTP/1.1 has no
/// sign of life of its own.
fn connector() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(10)));
    // The kernel looks at the limit only when a probe is due, and the next one is 75 s away by default.
    http.set_keepalive(Some(VANISHED - PROBES * PROBE));
    http.set_keepalive_interval(Some(PROBE));
    http.set_keepalive_retries(Some(PROBES));
    http.set_tcp_user_timeout(Some(VANISHED));
    http
}
