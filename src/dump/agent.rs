//! The running proxy's side: a local socket at which root learns the names of virtual servers, and whether the
//! proxy is ready.
//!
//! In: connections of this host's root, each with one request. Out: one JSON document each, and the end of
//! the connection. Never: more than a few conversations at a time, more than one about names, one that
//! lasts, an answer to another user, a wait of the sync thread.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::ask::{Readiness, Request, Told, folder_of};
use super::names::{self, Names};

/// How long a conversation may last, a round of the sync thread and a slow reader included.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request may take to arrive. Who asks sends it at once.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How many conversations there may be at a time; a probe, and people.
const MAX_CONVERSATIONS: usize = 16;

/// The pause after a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What requests are answered with.
pub struct Knowledge {
    /// The name of this node.
    pub node: Arc<str>,
    /// Who knows the names of virtual servers: the sync thread, when it looks.
    pub names: mpsc::Sender<names::Question>,
    /// Whether the first sync has succeeded, known at any time.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Answers at a path from now on. Must be called within the runtime.
///
/// # Errors
/// If the socket cannot be made, its folder is not safe, or a process that lives listens there.
pub fn start(path: &Path, knowledge: Knowledge) -> io::Result<()> {
    let listener = listen(path)?;
    let teller = Teller { knowledge, turn: Mutex::new(()) };
    tokio::spawn(accept(listener, Arc::new(teller)));
    Ok(())
}

/// The socket is made in a folder that nobody else can enter, and takes its name, and the place of one that
/// ended process has left, only once nobody else may use it.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = folder_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    refuse_unsafe(folder)?;
    // Two processes that find an old socket must not both take its place. The lock ends with this function.
    let locked = fs::File::open(folder)?;
    locked.try_lock()?;
    refuse_living(path)?;
    let closed = folder.join(format!(".{}", std::process::id()));
    let unnamed = closed.join("s");
    // A process of the same number, as in every container, may have ended in between.
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

/// Refuses to take the place of a process that lives: whoever asks there would get this one's answers.
fn refuse_living(path: &Path) -> io::Result<()> {
    match net::UnixStream::connect(path) {
        Ok(_) => {}
        // It lives, and is another user's.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(_) => return Ok(()),
    }
    let text = "another process listens there and keeps it: choose another localSocket";
    Err(io::Error::new(io::ErrorKind::AddrInUse, text))
}

/// What is not there need not be removed.
fn passed_over(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// Refuses a folder in which another user can put something else in the socket's place, or that another user
/// can replace as a whole because of a folder above it.
fn refuse_unsafe(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    for folder in folder.ancestors() {
        let metadata = fs::metadata(folder)?;
        let Some(why) = unsafe_because(metadata.uid(), metadata.mode()) else { continue };
        let text = format!(
            "the folder {} {why}, who could put another socket there: choose another localSocket",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// Whom else a folder's owner and mode let rename or remove what others have in it. An access control list
/// shows in the bits of the group.
fn unsafe_because(owner: u32, mode: u32) -> Option<String> {
    const STICKY: u32 = 0o1000;
    if owner != 0 && owner != geteuid().as_raw() {
        return Some(format!("belongs to user {owner}"));
    }
    let who = match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => "everybody",
        (false, true) => "its group",
        (false, false) => return None,
    };
    (mode & STICKY == 0).then(|| format!("is writable for {who}"))
}

async fn accept(listener: UnixListener, teller: Arc<Teller>) {
    let conversations = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
    loop {
        match listener.accept().await {
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

/// Root may ask, and whoever the proxy itself runs as.
fn may_ask(user: u32, own: u32) -> bool {
    user == 0 || user == own
}

struct Teller {
    knowledge: Knowledge,
    /// Names of a big cluster are tens of megabytes: one conversation about them at a time.
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
    use super::{may_ask, unsafe_because};

    #[test]
    fn root_and_the_proxys_own_user_may_ask() {
        for (user, own, wanted) in
            [(0, 0, true), (0, 7, true), (7, 7, true), (7, 0, false), (8, 7, false)]
        {
            assert_eq!(may_ask(user, own), wanted, "{user} asks {own}");
        }
    }

    #[test]
    fn a_folder_of_another_user_is_unsafe_whatever_its_mode() {
        let own = rustix::process::geteuid().as_raw();
        for mode in [0o700, 0o1777, 0o755] {
            let why = unsafe_because(own + 1, mode);
            assert_eq!(why, Some(format!("belongs to user {}", own + 1)), "{mode:o}");
            assert_eq!(unsafe_because(own, mode), None, "{mode:o}");
        }
        assert_eq!(unsafe_because(0, 0o755), None);
    }
}
