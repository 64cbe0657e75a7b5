//! Ensures one proxy per network namespace.
//!
//! Returns a [`Lock`], held until it is dropped or the process ends, or else its holder. Does not wait for the holder.
//!
//! The lock has two parts. The first is the name of an abstract Unix socket. The kernel keeps such names per network
//! namespace, like virtual servers, sets and rules, so containers with different file systems see each other's. Any
//! user can take the name, so a holder counts only if it could program the kernel. The second part is a locked file in
//! a folder of root's, one file per network namespace, which decides if another user has the name. The kernel frees
//! both when the process ends; the empty file stays.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

use self::file::FileLock;

mod file;

/// The name of the socket.
const NAME: &str = "ipvs-proxy.io/lock";

/// The folder of the files.
const FOLDER: &str = "/run/ipvs-proxy";

/// The number of attempts to take the name while its holder disappears before it can be identified.
const TRIES: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// `CAP_NET_ADMIN` in a mask of capabilities (capabilities(7)).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The held lock.
#[derive(Debug)]
pub struct Lock {
    /// `None` if the file alone is held.
    listener: Option<UnixListener>,
    /// `None` if the name alone is held.
    file: Option<FileLock>,
    misused_by: Option<NameTaker>,
}

/// The process that holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process's number as this process sees it; `None` in another PID namespace.
    pub pid: Option<i32>,
    /// The user that the process runs as, as this process sees it.
    pub uid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("a process in another container, whose number is not known here"),
        }
    }
}

/// A process that has taken the name of the lock and is not known to be a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameTaker {
    /// A process that cannot program the kernel.
    Unprivileged(Holder),
    /// A process that does not accept connections, so that its user is not known.
    Unknown,
}

impl fmt::Display for NameTaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprivileged(holder) => {
                let uid = holder.uid;
                write!(f, "{holder} of user {uid} has taken the name of the lock and is no proxy")
            }
            Self::Unknown => f.write_str(
                "a process that accepts no connection has taken the name of the lock, so who it is is not known",
            ),
        }
    }
}

/// The reason why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another proxy, or a cleanup, holds the lock.
    #[error("{0} runs ipvs-proxy in this network namespace already: end it first")]
    Held(Holder),
    /// Another proxy, or a cleanup, holds the file.
    #[error("another process runs ipvs-proxy in this network namespace already: end it first")]
    HeldBySomebody,
    /// The name is taken, and the system cannot provide the file.
    #[error("{0}, and there is no other lock: {1}")]
    Misused(NameTaker, io::Error),
    /// The system can provide neither the name nor the file.
    #[error(transparent)]
    Unavailable(#[from] io::Error),
}

/// The result of an attempt to take the name.
enum Name {
    Taken(UnixListener),
    Misused(NameTaker),
    Unavailable(io::Error),
}

impl Lock {
    /// Takes the lock of this thread's network namespace.
    ///
    /// # Errors
    /// See [`Error`]. Only [`Error::Held`] and [`Error::HeldBySomebody`] mean that another proxy or cleanup runs.
    pub fn take() -> Result<Self, Error> {
        Self::take_from(NAME, Path::new(FOLDER))
    }

    /// Takes a lock with another name, and with its file in another folder.
    fn take_from(name: &str, folder: &Path) -> Result<Self, Error> {
        let name = take_name(name)?;
        let file = match FileLock::take(folder) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => return Err(Error::HeldBySomebody),
            Err(error) => Err(error),
        };
        match (name, file) {
            (Name::Taken(listener), file) => {
                if let Err(error) = &file {
                    tracing::debug!("the lock has no file: {error}");
                }
                Ok(Self { listener: Some(listener), file: file.ok(), misused_by: None })
            }
            (Name::Misused(taker), Ok(file)) => {
                Ok(Self { listener: None, file: Some(file), misused_by: Some(taker) })
            }
            (Name::Misused(taker), Err(error)) => Err(Error::Misused(taker, error)),
            (Name::Unavailable(error), Ok(file)) => {
                tracing::debug!("the lock has no name: {error}");
                Ok(Self { listener: None, file: Some(file), misused_by: None })
            }
            (Name::Unavailable(error), Err(_)) => Err(error.into()),
        }
    }

    /// Returns the process that has taken the name; `None` if this process has it.
    pub fn misused_by(&self) -> Option<NameTaker> {
        self.misused_by
    }

    /// True if the lock shows that no other proxy runs in this network namespace. Otherwise the file alone is held, and
    /// it did not exist before: a proxy may run in a container with another `/run/ipvs-proxy`.
    pub fn excludes_others(&self) -> bool {
        self.misused_by.is_none() || self.file.as_ref().is_some_and(FileLock::existed)
    }

    /// Closes the connections of processes that look for the holder, so that the next one can connect. Must run within
    /// the runtime. Ends when its future is dropped.
    ///
    /// # Errors
    /// If the system cannot wait for connections.
    pub async fn answer(&self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return std::future::pending().await };
        let listener = tokio::net::UnixListener::from_std(listener.try_clone()?)?;
        loop {
            if listener.accept().await.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Tries to take the name.
///
/// # Errors
/// [`Error::Held`] if a process that can program the kernel has it.
fn take_name(name: &str) -> Result<Name, Error> {
    for _ in 0..TRIES {
        match listen(name) {
            Ok(listener) => return Ok(Name::Taken(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Ok(Name::Unavailable(error)),
        }
        match holder(name) {
            Ok(Some(holder)) if could_program(holder) => return Err(Error::Held(holder)),
            Ok(Some(holder)) => return Ok(Name::Misused(NameTaker::Unprivileged(holder))),
            // The holder has ended, or has the name and does not listen yet.
            Ok(None) => {}
            // The queue of connections may be full.
            Err(error) => tracing::debug!("the lock's holder is not known: {error}"),
        }
        std::thread::sleep(RETRY_PAUSE);
    }
    Ok(Name::Misused(NameTaker::Unknown))
}

fn listen(name: &str) -> io::Result<UnixListener> {
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Returns the process that listens under the name; `None` if no process does.
fn holder(name: &str) -> io::Result<Option<Holder>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let peer =
        runtime.block_on(async { UnixStream::connect(format!("\0{name}")).await?.peer_cred() });
    match peer {
        Ok(peer) => Ok(Some(Holder::of(peer))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error),
    }
}

impl Holder {
    /// Makes a holder of a socket's peer. The kernel reports the process ID 0 for a process in another PID namespace.
    fn of(peer: UCred) -> Self {
        Self { pid: peer.pid().filter(|pid| *pid > 0), uid: peer.uid() }
    }
}

/// True for root, for this process's own user, and for a process with the capability `CAP_NET_ADMIN`.
fn could_program(holder: Holder) -> bool {
    let is_of_us = holder.uid == 0 || holder.uid == geteuid().as_raw();
    is_of_us || holder.pid.is_some_and(has_net_admin)
}

/// True if the process has `CAP_NET_ADMIN` in its effective set. False if its status cannot be read.
fn has_net_admin(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & CAP_NET_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
    };

    use super::*;

    /// Returns a name that no other test uses.
    fn name(label: &str) -> String {
        format!("ipvs-proxy.io/test-{label}-{}", std::process::id())
    }

    /// Takes the lock with a file in a folder that cannot exist.
    fn take_named(name: &str) -> Result<Lock, Error> {
        Lock::take_from(name, Path::new("/proc/none"))
    }

    #[test]
    fn the_second_one_is_told_who_is_first_until_that_one_ends() {
        let name = name("second");
        let lock = take_named(&name).unwrap();
        // The holder does not accept connections, so this must not fill its queue.
        for _ in 0..3 {
            let error = take_named(&name).unwrap_err();
            let own = format!("process {} runs ipvs-proxy", std::process::id());
            assert!(error.to_string().starts_with(&own), "{error}");
        }
        drop(lock);
        take_named(&name).unwrap();
    }

    #[tokio::test]
    async fn looking_at_it_again_and_again_fills_no_queue() {
        let name = name("queue");
        let lock = take_named(&name).unwrap();
        let backlog: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let looking = tokio::task::spawn_blocking(move || {
            for _ in 0..2 * backlog.max(128) {
                let held = matches!(take_named(&name), Err(Error::Held(_)));
                assert!(held);
            }
        });
        tokio::select! {
            looked = looking => looked.unwrap(),
            ended = lock.answer() => panic!("{ended:?}"),
        }
    }

    /// A socket that has the name, in a way that leaves its user unknown.
    fn squat(name: &str, fill: bool) -> Vec<OwnedFd> {
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        let socket = || {
            let flags = SocketFlags::NONBLOCK;
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
        };
        let mut sockets = vec![socket()];
        bind(&sockets[0], &address).unwrap();
        if fill {
            rustix::net::listen(&sockets[0], 0).unwrap();
            for _ in 0..3 {
                sockets.push(socket());
                let _ = connect(sockets.last().unwrap(), &address);
            }
        }
        sockets
    }

    #[test]
    fn who_has_the_name_and_is_not_known_keeps_one_proxy_from_nothing_and_hides_no_other() {
        for fill in [false, true] {
            let name = name(&format!("squat-{fill}"));
            let squatter = squat(&name, fill);
            let folder = tempfile::tempdir().unwrap();
            let lock = Lock::take_from(&name, folder.path()).unwrap();
            assert_eq!(lock.misused_by(), Some(NameTaker::Unknown));
            assert!(!lock.excludes_others(), "a container may have another folder");
            let second = Lock::take_from(&name, folder.path()).unwrap_err();
            assert!(matches!(second, Error::HeldBySomebody), "{second}");
            // The name is free again, and the first one still runs.
            drop(squatter);
            let second = Lock::take_from(&name, folder.path()).unwrap_err();
            assert!(matches!(second, Error::HeldBySomebody), "{second}");
            drop(lock);
            let squatter = squat(&name, fill);
            assert!(Lock::take_from(&name, folder.path()).unwrap().excludes_others());
            let nowhere = take_named(&name).unwrap_err();
            assert!(matches!(nowhere, Error::Misused(NameTaker::Unknown, _)), "{nowhere}");
            drop(squatter);
        }
    }

    #[test]
    fn a_process_elsewhere_is_not_named_by_a_number() {
        let holder = Holder { pid: None, uid: 0 };
        let said = Error::Held(holder).to_string();
        assert!(
            said.starts_with("a process in another container") && !said.contains('0'),
            "{said}"
        );
    }

    #[test]
    fn only_who_could_program_the_kernel_counts_as_a_holder() {
        let own = geteuid().as_raw();
        assert!(could_program(Holder { pid: None, uid: 0 }));
        assert!(could_program(Holder { pid: None, uid: own }));
        assert!(!could_program(Holder { pid: None, uid: own + 7 }));
        let capable = has_net_admin(std::process::id().try_into().unwrap());
        let holder = Holder { pid: i32::try_from(std::process::id()).ok(), uid: own + 7 };
        assert_eq!(could_program(holder), capable);
    }
}
