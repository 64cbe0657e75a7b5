//! The running proxy's side: a local socket at which root learns the names of virtual servers.
//!
//! In: connections of this host's root, who says nothing. Out: one JSON document each, and the end of
//! the connection. Never: more than one conversation at a time, one that lasts, an answer to another
//! user, a wait of the sync thread.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::ask::{Told, folder_of};
use super::names::{Names, Question};

/// How long a conversation may last, a round of the sync thread and a slow reader included.
const LIMIT: Duration = Duration::from_secs(30);

/// The pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(500);

/// Answers at a path from now on. Must be called within the runtime.
///
/// # Errors
/// If the socket cannot be made, or its folder is not safe.
pub fn start(path: &Path, node: &str, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let listener = listen(path)?;
    tokio::spawn(accept(listener, node.to_owned(), questions));
    Ok(())
}

/// The socket is made in a folder that nobody else can enter, and takes its name, and the place of one that
/// another process has left, only once nobody else may use it.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = folder_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    refuse_unsafe(folder)?;
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
    Ok(listener)
}

/// What is not there need not be removed.
fn passed_over(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// A folder in which another user can put something else in the socket's place.
fn refuse_unsafe(folder: &Path) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let metadata = fs::metadata(folder)?;
    let (owner, mode) = (metadata.uid(), metadata.mode());
    let why = if owner != 0 && owner != geteuid().as_raw() {
        format!("belongs to user {owner}, who could put another socket there")
    } else if mode & 0o002 != 0 && mode & STICKY == 0 {
        "is writable for everybody, who could put another socket there".to_owned()
    } else {
        return Ok(());
    };
    let text = format!("the folder {} {why}: choose another localSocket", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

async fn accept(listener: UnixListener, node: String, questions: mpsc::Sender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_of_root(&stream) => {
                let told = tokio::time::timeout(LIMIT, tell(stream, &node, &questions)).await;
                if !matches!(told, Ok(Ok(()))) {
                    tracing::debug!(
                        ?told,
                        "a question at the local socket stays without an answer"
                    );
                }
            }
            Ok(_) => tracing::debug!("another user asks at the local socket"),
            Err(error) => {
                tracing::debug!("local socket: cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Root, or whoever the proxy itself runs as.
fn is_of_root(stream: &UnixStream) -> bool {
    let peer = stream.peer_cred().map(|peer| peer.uid());
    peer.is_ok_and(|uid| uid == 0 || uid == geteuid().as_raw())
}

async fn tell(
    mut stream: UnixStream,
    node: &str,
    questions: &mpsc::Sender<Question>,
) -> io::Result<()> {
    let (question, answer) = oneshot::channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    questions.send(question).await.map_err(|_| gone())?;
    let names: Names = answer.await.map_err(|_| gone())?;
    let text = serde_json::to_vec(&Told::new(node, &names))?;
    drop(names);
    stream.write_all(&text).await?;
    stream.shutdown().await
}
