//! Sends requests to the API server.
//!
//! Takes a kubeconfig file, a server address, or the environment of a pod. Returns an [`Api`] that
//! speaks HTTP/2 over one connection for all watches, or HTTP/1.1 if the server speaks only that. A
//! peer that vanishes without closing the connection is noticed within 45 s. Token files are read
//! for each request, and everything is read again when the server refuses the credentials. Does not
//! retry: the watches do, so that retries can be counted and reported.

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
use crate::lasting::{Area, Lasting};
use crate::metrics::Requests;
use crate::one_line::one_line;

/// The API server to use, and the credentials for it.
#[derive(Clone, Debug, Default)]
pub struct ApiSettings {
    /// `--kubeconfig`: the file whose current context is used.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: the server's URL, which overrides the one in the kubeconfig. Without a scheme it
    /// is HTTP.
    pub master: Option<String>,
    /// The pauses between tries.
    pub retry: Retry,
    /// The pod's account, used if there is neither a kubeconfig nor a URL. `None` reads the
    /// environment.
    pub pod: Option<ServiceAccount>,
    /// The time to wait for an address of this Node before its state is reported. Zero does not
    /// wait.
    pub wait_for_node: Duration,
    /// True if this Node needs pod networks. The operator is warned if it has none.
    pub needs_pod_nets: bool,
    /// The counters of requests, if they are counted.
    pub requests: Option<Requests>,
    /// The register of lasting problems, for reminders: an unreachable server, and objects that
    /// cannot be used.
    pub lasting: Lasting,
}

/// The shortest time between two readings of refused credentials.
const RENEWAL: Duration = Duration::from_secs(1);

/// A client of one API server. Clones share the connection.
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

/// The key of the condition that the token file cannot be read.
const TOKEN_FILE: &str = "token file";

/// The present client and the files of its credentials.
struct Connection {
    client: kube::Client,
    /// The token file. It is read for each request.
    token: Option<PathBuf>,
    /// The last token that was read. The file may disappear after the start.
    last: Option<HeaderValue>,
    credentials: Option<PathBuf>,
    authority: Option<PathBuf>,
    made: Instant,
}

/// The reasons why an [`Api`] cannot be made. The operator has to fix each of them; none goes away
/// by itself.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The kubeconfig file cannot be read, parsed or used.
    #[error("kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// The path of the file.
        path: PathBuf,
        /// The cause of the error.
        cause: String,
    },
    /// There is neither a kubeconfig nor a server, and this process does not run in a pod.
    #[error("not in a cluster ({cause}): use --kubeconfig, --master or --manifests")]
    NotInCluster {
        /// The variable that is not set, or the URL that is invalid.
        cause: String,
    },
    /// The value of `--master` is not a URL.
    #[error("--master {url}: {cause}")]
    Master {
        /// The value, without a password.
        url: String,
        /// The cause of the error.
        cause: String,
    },
    /// A file of the pod's service account cannot be used.
    #[error("service account {}: {cause}", path.display())]
    Pod {
        /// The path of the file.
        path: PathBuf,
        /// The cause of the error.
        cause: String,
    },
    /// Certificates or keys cannot be used.
    #[error("API server {url}{}: {cause}", of(file.as_deref()))]
    Tls {
        /// The server's URL.
        url: String,
        /// The file that they come from.
        file: Option<PathBuf>,
        /// The cause of the error.
        cause: Box<TlsError>,
    },
    /// Credentials cannot be used.
    #[error("API server {url}{}: {cause}", of(file.as_deref()))]
    Credentials {
        /// The server's URL.
        url: String,
        /// The file that they come from.
        file: Option<PathBuf>,
        /// The cause of the error.
        cause: String,
    },
}

fn of(file: Option<&Path>) -> String {
    file.map(|file| format!(" of {}", file.display())).unwrap_or_default()
}

impl Api {
    /// Reads the settings and prepares a client. Sends nothing before the first request.
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

    /// Returns the server's URL.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Returns the server's address if the host of its URL is an IP address.
    pub fn address(&self) -> Option<IpAddr> {
        access::address(self.url())
    }

    /// Returns the pauses between tries.
    pub fn retry(&self) -> Retry {
        self.shared.settings.retry
    }

    pub(super) fn settings(&self) -> &ApiSettings {
        &self.shared.settings
    }

    pub(super) fn outage(&self) -> &Outage {
        &self.shared.outage
    }

    /// Sends a request and returns the body of a successful answer.
    pub(super) async fn text(&self, request: Request<Vec<u8>>) -> Result<String, RequestError> {
        let (client, request) =
            self.connection().prepare(request, &self.shared.settings.lasting)?;
        let begun = Counts::begin(&request);
        let answer = text(&client, request).await;
        self.shared.counts.end(begun, answer.as_ref().ok().map(String::len));
        self.reload_after_refusal(answer).await
    }

    /// Sends a request and returns the body of a successful answer as a stream.
    pub(super) async fn stream(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<impl AsyncBufRead + Send + use<>, RequestError> {
        let (client, request) =
            self.connection().prepare(request, &self.shared.settings.lasting)?;
        let answer = send(&client, request).await;
        let body = self.reload_after_refusal(answer).await?.into_body().into_data_stream();
        let counts = self.shared.counts.clone();
        let body = body.inspect_ok(move |_| counts.heard());
        Ok(body.map_err(std::io::Error::other).into_async_read())
    }

    /// Counts how long a request of this method waited before it was sent.
    pub(crate) fn waited(&self, method: &str, waited: Duration) {
        self.shared.counts.waited(method, waited);
    }

    /// Returns the answer as it is. If it is an error that new files may end, reads credentials and
    /// trusted certificates again for later requests, and adds the name of the file to the error's text.
    async fn reload_after_refusal<T>(
        &self,
        answer: Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        let Err(mut request_error) = answer else { return answer };
        let Some(doubted) = request_error.doubted() else { return Err(request_error) };
        let file = match doubted {
            RejectedBy::Credentials => self.connection().credentials.clone(),
            RejectedBy::Certificate => self.connection().authority.clone(),
        };
        if let Some(file) = file {
            request_error.name_file(doubted, &file);
        }
        self.renew().await;
        Err(request_error)
    }

    /// Reads the files again. Keeps the present connection if the files cannot be used. Does nothing
    /// within a second of the last reading.
    async fn renew(&self) {
        if self.connection().made.elapsed() < RENEWAL {
            return;
        }
        self.connection().made = Instant::now();
        let (settings, runtime) = (self.shared.settings.clone(), Handle::current());
        // A kubeconfig may name a program that fetches credentials.
        let renewed = tokio::task::spawn_blocking(move || {
            let access = runtime.block_on(Access::read(&settings))?;
            Connection::new(&settings, access)
        });
        match renewed.await {
            Ok(Ok((_, way))) => *self.connection() = way,
            Ok(Err(error)) => tracing::debug!("{error}"),
            Err(error) => tracing::debug!("reading the credentials: {error}"),
        }
    }

    /// Locks the connection. A panic of another thread leaves it valid.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.shared.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Returns the server's URL and the connection to it.
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
        Ok((url, Self { client, token, last: None, credentials, authority, made }))
    }

    /// Returns the client, and the request with the present token of the file.
    fn prepare(
        &mut self,
        mut request: Request<Vec<u8>>,
        lasting: &Lasting,
    ) -> Result<(kube::Client, Request<Vec<u8>>), RequestError> {
        if let Some(path) = &self.token {
            match (access::bearer(path), &self.last) {
                (Ok(token), _) => {
                    self.last = Some(token);
                    lasting.end(Area::Source, TOKEN_FILE);
                }
                (Err(error), Some(_)) => {
                    let path = path.display();
                    let text = format!(
                        "token file {path}: {error}; the last token that was in it is used"
                    );
                    lasting.begin(Area::Source, TOKEN_FILE, text);
                }
                (Err(error), None) => {
                    lasting.end(Area::Source, TOKEN_FILE);
                    let text = format!("token file {}: {error}", path.display());
                    return Err(RequestError::unreachable(text));
                }
            }
        } else {
            // New credentials may be of another form.
            lasting.end(Area::Source, TOKEN_FILE);
        }
        if let Some(token) = &self.last {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        Ok((self.client.clone(), request))
    }
}

/// Sends a request and returns a successful answer as soon as its head arrives.
async fn send(
    client: &kube::Client,
    request: Request<Vec<u8>>,
) -> Result<Response<client::Body>, RequestError> {
    answer::good(client.send(request.map(client::Body::from)).await?).await
}

/// Sends a request and returns the whole body of a successful answer.
async fn text(client: &kube::Client, request: Request<Vec<u8>>) -> Result<String, RequestError> {
    let body = send(client, request).await?.into_body().collect().await?.to_bytes();
    let text = String::from_utf8(body.into());
    text.map_err(|error| RequestError::unreachable(format!("the answer is not UTF-8: {error}")))
}
