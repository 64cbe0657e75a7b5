//! The connection to the API server.
//!
//! In: a kubeconfig file, a server address, or the environment of a pod. Out: an [`Api`] that
//! speaks HTTP/2 over one connection for all watches, and HTTP/1.1 where the server knows no more.
//! A peer that vanishes without a word is noticed within 45 s. Tokens in files are read for each
//! request, and everything is read again when the server refuses it. Never: a retry; that is the
//! watches' own, so that it can be seen and told.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::io::AsyncBufRead;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use kube::client;
use tokio::runtime::Handle;
use tower::BoxError;

use super::access::{self, Access, ServiceAccount};
use super::answer;
use super::backoff::Retry;
use super::counted::Counts;
use super::outage::Outage;
use super::redact::Plugin;
use super::request_error::{RejectedBy, RequestError};
use super::tls::TlsError;
use super::transport::{self, TransportError};
use crate::config::without_password;
use crate::lasting::Lasting;
use crate::metrics::Requests;
use crate::one_line::one_line;

/// Which API server, and how to be known to it.
#[derive(Clone, Debug, Default)]
pub struct ApiSettings {
    /// `--kubeconfig`: the file to read, its current context.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: the server's URL, over what the kubeconfig says. Without a scheme it is HTTP.
    pub master: Option<String>,
    /// The pauses between tries.
    pub retry: Retry,
    /// Where there is neither: what this pod knows; `None` asks the environment.
    pub pod: Option<ServiceAccount>,
    /// How long this Node may be without an address before that is said; zero is not at all.
    pub wait_for_node: Duration,
    /// Whether pod networks are needed of this Node, so that it is told when it has none.
    pub needs_pod_nets: bool,
    /// Where requests are counted, if anywhere.
    pub requests: Option<Requests>,
    /// Where what lasts is kept for reminders: that the server does not answer, and objects that cannot be used.
    pub lasting: Lasting,
}

/// The least time between two readings of credentials that are refused.
const RENEWAL: Duration = Duration::from_secs(1);

/// An API server.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ApiSettings,
    url: String,
    outage: Outage,
    counts: Counts,
    way: Mutex<Connection>,
}

/// How the server is reached at present.
struct Connection {
    client: kube::Client,
    /// Read anew for each request.
    token: Option<PathBuf>,
    /// What the token file said last: it may be gone for good after the start.
    last: Option<HeaderValue>,
    /// Why the token file cannot be read, as the operator was told.
    unread: Option<String>,
    credentials: Option<PathBuf>,
    authority: Option<PathBuf>,
    made: Instant,
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
    /// A file that every pod has cannot be used.
    #[error("service account {}: {cause}", path.display())]
    Pod {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificates or keys cannot be used.
    #[error("API server {url}{}: {cause}", of(file.as_deref()))]
    Tls {
        /// The server.
        url: String,
        /// The file that they come from.
        file: Option<PathBuf>,
        /// What is wrong.
        cause: Box<TlsError>,
    },
    /// Credentials cannot be used.
    #[error("API server {url}{}: {cause}", of(file.as_deref()))]
    Credentials {
        /// The server.
        url: String,
        /// The file that they come from.
        file: Option<PathBuf>,
        /// What is wrong.
        cause: String,
    },
}

fn of(file: Option<&Path>) -> String {
    file.map(|file| format!(" of {}", file.display())).unwrap_or_default()
}

impl Api {
    /// Reads the settings and prepares a client. Nothing is sent before the first request.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn new(settings: &ApiSettings) -> Result<Self, ApiError> {
        let access = Access::read(settings).await?;
        for ignored in &access.ignored {
            tracing::warn!("{ignored}");
        }
        let (url, way) = Connection::new(settings, access)?;
        let outage = Outage::new(url.clone(), settings.lasting.clone());
        let counts = Counts::new(settings.requests.clone(), &url);
        let shared =
            Shared { settings: settings.clone(), url, outage, counts, way: Mutex::new(way) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The server's address, if its URL has an address and no name.
    pub fn address(&self) -> Option<IpAddr> {
        access::address(self.url())
    }

    /// The pauses between tries.
    pub fn retry(&self) -> Retry {
        self.shared.settings.retry
    }

    pub(super) fn settings(&self) -> &ApiSettings {
        &self.shared.settings
    }

    pub(super) fn outage(&self) -> &Outage {
        &self.shared.outage
    }

    /// The body of a good answer.
    pub(super) async fn text(&self, request: Request<Vec<u8>>) -> Result<String, RequestError> {
        let (client, request) = self.way().prepare(request)?;
        let begun = Counts::begin(&request);
        let answer = text(&client, request).await;
        self.shared.counts.end(begun, answer.as_ref().ok().map(String::len));
        self.reload_credentials(answer).await
    }

    /// The same, read as it comes.
    pub(super) async fn stream(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<impl AsyncBufRead + Send + use<>, RequestError> {
        let (client, request) = self.way().prepare(request)?;
        let answer = send(&client, request).await;
        let body = self.reload_credentials(answer).await?.into_body().into_data_stream();
        let counts = self.shared.counts.clone();
        let body = body.inspect_ok(move |_| counts.heard());
        Ok(body.map_err(std::io::Error::other).into_async_read())
    }

    /// A request of that method waited so long for its turn.
    pub(crate) fn waited(&self, method: &str, waited: Duration) {
        self.shared.counts.waited(method, waited);
    }

    /// A refusal that other credentials or certificates may end has the files read again, and names them.
    async fn reload_credentials<T>(
        &self,
        answer: Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let Err(mut request_error) = answer else { return answer };
        let Some(doubted) = request_error.doubted() else { return Err(request_error) };
        let file = match doubted {
            RejectedBy::Credentials => self.way().credentials.clone(),
            RejectedBy::Certificate => self.way().authority.clone(),
        };
        if let Some(file) = file {
            request_error.name_file(doubted, &file);
        }
        self.renew().await;
        Err(request_error)
    }

    /// Reads the files again. What cannot be used does not take the place of what is there.
    async fn renew(&self) {
        if self.way().made.elapsed() < RENEWAL {
            return;
        }
        self.way().made = Instant::now();
        let (settings, runtime) = (self.shared.settings.clone(), Handle::current());
        // A kubeconfig may name a program that fetches credentials.
        let renewed = tokio::task::spawn_blocking(move || {
            let access = runtime.block_on(Access::read(&settings))?;
            Connection::new(&settings, access)
        });
        match renewed.await {
            Ok(Ok((_, way))) => self.way().become_new(way),
            Ok(Err(error)) => tracing::debug!("{error}"),
            Err(error) => tracing::debug!("reading the credentials: {error}"),
        }
    }

    /// A panic elsewhere leaves it as good as it was.
    fn way(&self) -> MutexGuard<'_, Connection> {
        self.shared.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// The server's URL, and the way to it.
    fn new(settings: &ApiSettings, access: Access) -> Result<(String, Self), ApiError> {
        let Access { config, token, credentials, authority, ignored: _ } = access;
        let url = config.cluster_url.to_string();
        let url = without_password(url.trim_end_matches('/'));
        let counts = Counts::new(settings.requests.clone(), &url);
        let refuse = |cause: BoxError| {
            let (url, file) = (url.clone(), authority.clone());
            let cause = one_line(&*Plugin::of(&config.auth_info).redact(cause));
            ApiError::Credentials { url, file, cause }
        };
        let client = transport::client(&config, &counts).map_err(|error| match error {
            TransportError::Tls(cause) => {
                ApiError::Tls { url: url.clone(), file: authority.clone(), cause: Box::new(cause) }
            }
            TransportError::Other(cause) => refuse(cause),
        })?;
        let made = Instant::now();
        let (last, unread) = (None, None);
        Ok((url, Self { client, token, last, unread, credentials, authority, made }))
    }

    /// What the operator was told of the token file is told of the new one too.
    fn become_new(&mut self, way: Self) {
        let unread = self.unread.take();
        *self = Self { unread, ..way };
    }

    /// The client, and the request with the token that the file has now.
    fn prepare(
        &mut self,
        mut request: Request<Vec<u8>>,
    ) -> Result<(kube::Client, Request<Vec<u8>>), RequestError> {
        if let Some(path) = &self.token {
            match (access::bearer(path), &self.last) {
                (Ok(token), _) => {
                    self.last = Some(token);
                    note(&mut self.unread, path, None);
                }
                (Err(error), Some(_)) => note(&mut self.unread, path, Some(error.to_string())),
                (Err(error), None) => {
                    let text = format!("token file {}: {error}", path.display());
                    return Err(RequestError::unreachable(text));
                }
            }
        }
        if let Some(token) = &self.last {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        Ok((self.client.clone(), request))
    }
}

/// A good answer, as soon as it begins.
async fn send(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> Result<Response<client::Body>, RequestError> {
    answer::good(client.send(request.map(client::Body::from)).await?).await
}

/// The whole body of a good answer.
async fn text(client: &kube::Client, request: Request<Vec<u8>>) -> Result<String, RequestError> {
    let body = send(client, request).await?.into_body().collect().await?.to_bytes();
    let text = String::from_utf8(body.into());
    text.map_err(|error| RequestError::unreachable(format!("the answer is not UTF-8: {error}")))
}

/// Says when a token file can no longer be read though its last token is in use, and when it can again.
fn note(unread: &mut Option<String>, path: &Path, reason: Option<String>) {
    let path = path.display();
    match (&*unread, &reason) {
        (_, Some(why)) if *unread != reason => {
            tracing::warn!("token file {path}: {why}; the last token that was in it is used");
        }
        (Some(_), None) => tracing::info!("token file {path}: read again"),
        (_, _) => {}
    }
    *unread = reason;
}
