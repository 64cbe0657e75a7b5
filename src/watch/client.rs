//! The connection to the API server.
//!
//! In: a kubeconfig file, a server address, or the environment of a pod. Out: an [`Api`] that
//! speaks HTTP/2 over one connection for all watches, and HTTP/1.1 where the server knows no more.
//! A peer that vanishes without a word is noticed within 45 s. Never: a retry; that is the
//! watches' own, so that it can be seen and told.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::io::AsyncBufRead;
use http::{Request, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, client};
use tower::{BoxError, ServiceBuilder};

use super::backoff::Retry;
use super::outage::Outage;

/// Which API server, and how to be known to it.
#[derive(Clone, Debug, Default)]
pub struct ApiSettings {
    /// `--kubeconfig`: the file to read, its current context.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: the server's URL, over what the kubeconfig says. Without a scheme it is HTTP.
    pub master: Option<String>,
    /// The pauses between tries.
    pub retry: Retry,
}

/// An API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    url: Arc<str>,
    retry: Retry,
    outage: Arc<Outage>,
}

/// Why there is no [`Api`]. All of these are the operator's to mend; none goes away by itself.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The kubeconfig file cannot be read, parsed or used.
    #[error("kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Neither a kubeconfig nor a server was named, and this is not a pod.
    #[error("not in a cluster ({cause}): use --kubeconfig, --master or --manifests")]
    NotInCluster {
        /// What is missing.
        cause: String,
    },
    /// `--master` is not a URL.
    #[error("--master {url}: {cause}")]
    Master {
        /// What was given.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificates, keys or credentials cannot be used.
    #[error("API server {url}: {cause}")]
    Credentials {
        /// The server.
        url: String,
        /// What is wrong.
        cause: String,
    },
}

impl Api {
    /// Reads the settings and prepares a client. Nothing is sent before the first request.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn new(settings: &ApiSettings) -> Result<Self, ApiError> {
        let mut config = config(settings).await?;
        // Where no TLS is spoken, a machine without certificate authorities is none the worse.
        if config.cluster_url.scheme_str() == Some("http") {
            config.root_cert.get_or_insert_default();
        }
        let url = config.cluster_url.to_string();
        let url = url.trim_end_matches('/');
        let client = client(&config).map_err(|cause| ApiError::Credentials {
            url: url.to_owned(),
            cause: chain(&*cause),
        })?;
        let outage = Arc::new(Outage::new(url.to_owned()));
        Ok(Self { client, url: url.into(), retry: settings.retry, outage })
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pauses between tries.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    pub(super) fn outage(&self) -> &Outage {
        &self.outage
    }

    /// The body of a good answer; `kube::Error::Api` for any other.
    pub(super) async fn text(&self, request: Request<Vec<u8>>) -> kube::Result<String> {
        self.client.request_text(request).await
    }

    /// The same, read as it comes.
    pub(super) async fn stream(
        &self,
        request: Request<Vec<u8>>,
    ) -> kube::Result<impl AsyncBufRead + Send + use<>> {
        self.client.request_stream(request).await
    }
}

async fn config(settings: &ApiSettings) -> Result<Config, ApiError> {
    let mut config = match (&settings.kubeconfig, &settings.master) {
        (Some(path), _) => from_file(path.clone()).await?,
        (None, Some(url)) => Config::new(master(url)?),
        (None, None) => {
            Config::incluster().map_err(|cause| ApiError::NotInCluster { cause: chain(&cause) })?
        }
    };
    if let Some(url) = &settings.master {
        config.cluster_url = master(url)?;
    }
    Ok(config)
}

async fn from_file(path: PathBuf) -> Result<Config, ApiError> {
    let read = async {
        let file = Kubeconfig::read_from(&path)?;
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
    };
    let config = read.await;
    let config = config
        .map_err(|cause| ApiError::Kubeconfig { path: path.clone(), cause: chain(&cause) })?;
    if config.proxy_url.is_some() {
        let cause = "proxy-url is not supported".to_owned();
        return Err(ApiError::Kubeconfig { path, cause });
    }
    Ok(config)
}

fn master(url: &str) -> Result<Uri, ApiError> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Result<Uri, _> = whole.parse();
    uri.map_err(|cause| ApiError::Master { url: url.to_owned(), cause: cause.to_string() })
}

/// kube's own client speaks HTTP/1.1 only (kube-rs/kube#1923): one connection for each watch, and
/// a dead one found only when the watch would have ended anyway.
fn client(config: &Config) -> Result<kube::Client, BoxError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(Duration::from_secs(10)));
    http.set_keepalive(Some(Duration::from_secs(30)));
    http.set_tcp_user_timeout(Some(Duration::from_secs(45)));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    let https = match &config.tls_server_name {
        Some(name) => {
            https.with_server_name_resolver(FixedServerNameResolver::new(name.clone().try_into()?))
        }
        None => https,
    };
    let service = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(15))
        .http2_keep_alive_while_idle(true)
        .build(https.enable_all_versions().wrap_connector(http));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(service);
    Ok(client::Client::new(service, config.default_namespace.clone()))
}

/// An error with what caused it, in one line, each said once: wrappers often end with their
/// cause's own text, and parsers append the place in several lines.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let first_line = |error: &dyn Error| error.to_string().lines().next().unwrap_or("").to_owned();
    let mut text = first_line(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said = first_line(cause);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
