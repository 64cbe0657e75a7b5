//! What is asked and said at the local socket, and how it is heard.
//!
//! In: the path of a running proxy's socket. Out: its [`Names`], or whether it is ready; else why that is not
//! known. Never: a wait without an end, or more memory than a big cluster's names need.

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

/// The `apiVersion` of what is said, and of a dump.
pub(super) const API_VERSION: &str = "ipvs-proxy.io/v1alpha1";
const NAMES: &str = "Names";
const READINESS: &str = "Readiness";

/// How long a conversation may last: a round of the proxy, and a big cluster's names.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer to whether it is ready may take: less than a probe has.
const READY_LIMIT: Duration = Duration::from_secs(3);
/// A hundred thousand frontends with long names.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// What can be asked. A request ends with the sending side of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The names of all frontends.
    Names,
    /// Whether the first sync has succeeded.
    Ready,
}

impl Request {
    /// No request is longer, in bytes.
    pub(super) const MAX_BYTES: u64 = 16;

    fn word(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Ready => "ready",
        }
    }

    /// Nothing at all asks for nothing: whoever only looks whether somebody listens says that.
    pub(super) fn read(word: &[u8]) -> Option<Self> {
        match word {
            b"names" => Some(Self::Names),
            b"ready" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// The answer to whether the proxy is ready.
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

/// The document. What is said shares its text with the names; what is heard has its own.
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

    /// What cannot be a frontend is left out.
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

/// Asks the running proxy.
///
/// # Errors
/// If nobody listens there, somebody else does, this user may not ask, what is said makes no sense, or is
/// not said in time.
pub fn ask(path: &Path) -> io::Result<Names> {
    ask_within(path, CONVERSATION_TIMEOUT)
}

/// The same with another limit.
///
/// # Errors
/// The same.
pub fn ask_within(path: &Path, limit: Duration) -> io::Result<Names> {
    understand(&answer(path, Request::Names, limit)?)
}

/// Asks the running proxy whether its first sync has succeeded.
///
/// # Errors
/// The same; also if it does not answer within three seconds.
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

/// Everything that is said there, to its end.
async fn hear(path: &Path, request: Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path).await?;
    let teller = stream.peer_cred()?.uid();
    // Whoever else has put a socket there could name Services as it likes. A proxy that is not root's has a
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

/// Root may tell, and this user, and the owner of the socket's folder.
fn may_tell(teller: u32, own: u32, owner: u32) -> bool {
    [0, own, owner].contains(&teller)
}

/// Where a socket is.
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
