//! Serves the running proxy's local socket, at which root asks for the names of virtual servers and for readiness.
//!
//! Takes connections of this host's root, each with one request. Sends one JSON document and closes the connection.
//! Limits the number and the duration of connections, and sends names to one client at a time. Does not answer other
//! users. Does not make the sync thread wait.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::{interval, timeout};

use super::ask::{Readiness, Request, Told, folder_of};
use super::names::{self, Names};
use crate::safe_folder;

/// The longest duration of a connection, including a round of the sync thread and a slow reader.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time in which a request may arrive. Clients send it at once.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// The largest number of connections at a time: a probe and some operators.
const MAX_CONVERSATIONS: usize = 16;

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The interval of checks whether the socket's file is still there.
const CHECK_PERIOD: Duration = Duration::from_secs(30);

/// The sources of answers.
pub struct Knowledge {
    /// The name of this node.
    pub node: Arc<str>,
    /// The channel to the sync thread, which answers questions for names between rounds.
    pub names: mpsc::Sender<names::Question>,
    /// True if the first sync has succeeded. Can be called at any time.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Starts to answer at the socket `path`. Must be called within the runtime.
///
/// # Errors
/// If the socket cannot be created, its folder is not safe, or a living process listens there.
pub fn start(path: &Path, knowledge: Knowledge) -> io::Result<()> {
    let socket = Socket::new(path)?;
    let teller = Teller { knowledge, turn: Mutex::new(()) };
    tokio::spawn(accept(socket, Arc::new(teller)));
    Ok(())
}

/// The listening socket and its file.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file.
    file_identity: Option<(u64, u64)>,
    /// The error that was logged because the file could not be created again.
    logged_error: Option<String>,
}

impl Socket {
    /// Creates the listening socket. Keeps the identity of its file, by which [`Self::restore`] notices that the file
    /// was removed or replaced.
    fn new(path: &Path) -> io::Result<Self> {
        let listener = listen(path)?;
        let file_identity = identity(path);
        Ok(Self { path: path.to_owned(), listener, file_identity, logged_error: None })
    }

    /// Creates the socket again if its file was removed or replaced. The file is in a folder that may be cleaned.
    fn restore(&mut self) {
        if self.file_identity.is_some() && identity(&self.path) == self.file_identity {
            return;
        }
        let path = self.path.display();
        match Self::new(&self.path) {
            Ok(socket) => {
                tracing::warn!(
                    "localSocket {path}: another program removed it; it was created again"
                );
                *self = socket;
            }
            Err(error) => {
                let text = Some(error.to_string());
                if self.logged_error != text {
                    tracing::warn!("localSocket {path}: another program removed it: {error}");
                    self.logged_error = text;
                }
            }
        }
    }
}

/// The device and inode of a file; `None` if there is none.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Creates the listening socket. It is created in a folder that no other user can enter. Only when its permissions are
/// set is it renamed to `path`, where it may replace the socket of a process that has ended.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = folder_of(path);
    safe_folder::create(folder).map_err(|error| {
        io::Error::new(error.kind(), format!("{error}: choose another localSocket"))
    })?;
    // Two processes that find an old socket must not both replace it. The lock ends with this function.
    let locked = fs::File::open(folder)?;
    locked.try_lock()?;
    refuse_living(path)?;
    let closed = folder.join(format!(".{}", std::process::id()));
    let unnamed = closed.join("s");
    // An ended process may have had the same process ID, as is usual in containers.
    passed_over(fs::remove_file(&unnamed))?;
    passed_over(fs::remove_dir(&closed))?;
    fs::DirBuilder::new().mode(0o700).create(&closed)?;
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, path)?;
    fs::remove_dir(&closed)?;
    drop(locked);
    Ok(listener)
}

/// Refuses to replace the socket of a living process: that process's clients would get this proxy's answers.
fn refuse_living(path: &Path) -> io::Result<()> {
    match net::UnixStream::connect(path) {
        Ok(_) => {}
        // The process lives, and belongs to another user.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(_) => return Ok(()),
    }
    let text = "another process listens there and keeps it: choose another localSocket";
    Err(io::Error::new(io::ErrorKind::AddrInUse, text))
}

/// Ignores that a file to remove does not exist.
fn passed_over(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

async fn accept(mut socket: Socket, teller: Arc<Teller>) {
    let conversations = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    let mut checks = interval(CHECK_PERIOD);
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            _ = checks.tick() => {
                socket.restore();
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) if is_of_root(&stream) => {
                let Ok(permit) = Arc::clone(&conversations).try_acquire_owned() else { continue };
                let teller = Arc::clone(&teller);
                tokio::spawn(async move {
                    let told = timeout(CONVERSATION_TIMEOUT, teller.serve_connection(stream)).await;
                    if !matches!(told, Ok(Ok(()))) {
                        tracing::debug!(
                            ?told,
                            "a request at the local socket stays without an answer"
                        );
                    }
                    drop(permit);
                });
            }
            Ok(_) => tracing::debug!("another user asks at the local socket"),
            Err(error) => {
                tracing::debug!("local socket: cannot take a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_root(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    peer.is_ok_and(|uid| may_ask(uid, geteuid().as_raw()))
}

/// True for root and for the user that the proxy itself runs as.
fn may_ask(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

struct Teller {
    knowledge: Knowledge,
    /// Held by the one connection that is sent names, which take tens of megabytes in a large cluster.
    turn: Mutex<()>,
}

impl Teller {
    async fn serve_connection(&self, mut stream: UnixStream) -> io::Result<()> {
        let text = match request(&mut stream).await? {
            Request::Ready => {
                let is_ready = (self.knowledge.is_ready)();
                serde_json::to_vec(&Readiness::new(&self.knowledge.node, is_ready))?
            }
            Request::Names => return self.tell_names(stream).await,
        };
        stream.write_all(&text).await?;
        stream.shutdown().await
    }

    async fn tell_names(&self, mut stream: UnixStream) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        let (question, answer) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.knowledge.names.send(question).await.map_err(|_| gone())?;
        let names: Names = answer.await.map_err(|_| gone())?;
        let text = serde_json::to_vec(&Told::new(&self.knowledge.node, &names))?;
        drop(names);
        stream.write_all(&text).await?;
        stream.shutdown().await
    }
}

async fn request(stream: &mut UnixStream) -> io::Result<Request> {
    let mut word = Vec::new();
    let mut stream = stream.take(Request::MAX_BYTES);
    let read = stream.read_to_end(&mut word);
    timeout(REQUEST_LIMIT, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Request::read(&word).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::may_ask;

    #[test]
    fn root_and_the_proxys_own_user_may_ask() {
        for (user, own, wanted) in
            [(0, 0, true), (0, 7, true), (7, 7, true), (7, 0, false), (8, 7, false)]
        {
            assert_eq!(may_ask(user, own), wanted, "{user} asks {own}");
        }
    }
}
