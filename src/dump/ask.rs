//! The protocol of the local socket, and its client.
//!
//! Takes the path of a running proxy's socket. Returns its [`Names`], or whether it is ready, or the reason why that is
//! unknown. Limits the time and the memory for an answer.

use std::borrow::Cow;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use proxier::model::{Protocol, ServiceName};
use proxier::plan::VirtualServerKey;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::names::{Name, Names};

/// The `apiVersion` of answers and of a dump.
pub(super) const API_VERSION: &str = "ipvs-proxy.io/v1alpha1";
const NAMES: &str = "Names";
const READINESS: &str = "Readiness";

/// The longest wait for names: a round of the proxy, and the names of a large cluster.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest wait for readiness, shorter than the usual timeout of a probe.
const READY_LIMIT: Duration = Duration::from_secs(3);
/// The longest answer in bytes: a hundred thousand frontends with long names.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// A request. The client ends it by closing its sending side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The names of all frontends.
    Names,
    /// The question if the first sync has succeeded.
    Ready,
}

impl Request {
    /// The longest request in bytes.
    pub(super) const MAX_BYTES: u64 = 16;

    fn word(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Ready => "ready",
        }
    }

    /// Parses a request. Returns `None` for an unknown one, and for the empty one of a client that only tries to
    /// connect.
    pub(super) fn read(word: &[u8]) -> Option<Self> {
        match word {
            b"names" => Some(Self::Names),
            b"ready" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// The document that says whether the proxy is ready.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Readiness<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    node: Cow<'a, str>,
    ready: bool,
}

impl<'a> Readiness<'a> {
    pub(super) fn new(node: &'a str, ready: bool) -> Self {
        Self { api_version: API_VERSION.into(), kind: READINESS.into(), node: node.into(), ready }
    }
}

/// The document that lists names. When sent it borrows its text from the names; when received it owns its text.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    node: Cow<'a, str>,
    frontends: Vec<Frontend<'a>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Frontend<'a> {
    protocol: Cow<'a, str>,
    address: IpAddr,
    port: u16,
    namespace: Cow<'a, str>,
    name: Cow<'a, str>,
    port_name: Cow<'a, str>,
}

impl<'a> Told<'a> {
    pub(super) fn new(node: &'a str, names: &'a Names) -> Self {
        let frontend = |name: &'a Name| Frontend {
            protocol: name.key.protocol.name().into(),
            address: name.key.address,
            port: name.key.port,
            namespace: (&*name.service.namespace).into(),
            name: (&*name.service.name).into(),
            port_name: (&*name.port).into(),
        };
        Self {
            api_version: API_VERSION.into(),
            kind: NAMES.into(),
            node: node.into(),
            frontends: names.iter().map(frontend).collect(),
        }
    }

    /// Returns the names; skips entries that cannot be frontends.
    fn names(self) -> Names {
        let name = |told: Frontend<'a>| {
            let named = |protocol: &Protocol| protocol.name() == told.protocol;
            let protocol = Protocol::ALL.into_iter().find(named)?;
            let key = VirtualServerKey { protocol, address: told.address, port: told.port };
            let service = ServiceName::new(&*told.namespace, &*told.name);
            Some(Name { key, service, port: told.port_name.into() })
        };
        self.frontends.into_iter().filter_map(name).collect()
    }
}

/// Asks the running proxy for names.
///
/// # Errors
/// If no process listens there, or an untrusted user's process does. If this user may not ask. If the answer makes no
/// sense or does not come in time.
pub fn ask(path: &Path) -> io::Result<Names> {
    ask_within(path, CONVERSATION_TIMEOUT)
}

/// Asks the running proxy for names, with another time limit than [`ask`].
///
/// # Errors
/// See [`ask`].
pub fn ask_within(path: &Path, limit: Duration) -> io::Result<Names> {
    understand(&answer(path, Request::Names, limit)?)
}

/// Asks the running proxy whether its first sync has succeeded.
///
/// # Errors
/// See [`ask`]. Also if the proxy does not answer within three seconds.
pub fn is_ready(path: &Path) -> io::Result<bool> {
    let text = answer(path, Request::Ready, READY_LIMIT)?;
    if text.is_empty() {
        return Err(io::Error::other("the proxy gives no answer to this user, or is ending"));
    }
    let told: Readiness<'_> = serde_json::from_slice(&text)?;
    match (&*told.api_version, &*told.kind) {
        (API_VERSION, READINESS) => Ok(told.ready),
        _ => Err(io::Error::other("the proxy that runs is of another version")),
    }
}

fn answer(path: &Path, request: Request, limit: Duration) -> io::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let heard = runtime.block_on(async { tokio::time::timeout(limit, hear(path, request)).await });
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
    heard.map_err(late)?
}

/// Sends a request and returns the whole answer.
async fn hear(path: &Path, request: Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    let teller = stream.peer_cred()?.uid();
    // Another user who has put a socket there could name Services at will. A proxy that does not run as root has a
    // folder of its own.
    let owner = fs::metadata(folder_of(path))?.uid();
    if !may_tell(teller, geteuid().as_raw(), owner) {
        let who = "is neither root, nor this user, nor the owner of its folder";
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("user {teller}, who listens there, {who}"),
        ));
    }
    stream.write_all(request.word().as_bytes()).await?;
    stream.shutdown().await?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut text).await?;
    Ok(text)
}

/// True if answers of this user are trusted: root, this process's user, and the owner of the socket's folder.
fn may_tell(teller: u32, own: u32, owner: u32) -> bool {
    [0, own, owner].contains(&teller)
}

/// The folder of a socket.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

fn understand(text: &[u8]) -> io::Result<Names> {
    if text.is_empty() {
        return Err(io::Error::other(
            "the proxy gives no answer to this user, is ending, or has not listed everything yet",
        ));
    }
    let told: Told<'_> = serde_json::from_slice(text)?;
    if (&*told.api_version, &*told.kind) != (API_VERSION, NAMES) {
        return Err(io::Error::other("the proxy that runs is of another version"));
    }
    Ok(told.names())
}

#[cfg(test)]
mod tests {
    use super::may_tell;

    #[test]
    fn another_user_who_listens_there_is_not_believed() {
        for (teller, own, owner, wanted) in
            [(0, 7, 8, true), (7, 7, 8, true), (8, 7, 8, true), (9, 7, 8, false), (9, 0, 0, false)]
        {
            assert_eq!(may_tell(teller, own, owner), wanted, "{teller} tells {own}");
        }
    }
}
