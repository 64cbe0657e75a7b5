//! Ensures one proxy per network namespace.
//!
//! Returns a [`Lock`], held until it is dropped or the process ends, or else its holder. Leaves no file behind when
//! the process is killed. Does not wait for the holder.
//!
//! The lock is the name of an abstract Unix socket. The kernel keeps such names per network namespace, like virtual
//! servers, sets and rules, so containers with different file systems see each other's. It frees a name when the
//! process ends. Any user can take the name, so a holder counts only if it could program the kernel.

use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::net::unix::UCred;

/// The name of the socket.
const NAME: &str = "ipvs-proxy.io/lock";

/// The number of attempts to take the name while its holder disappears before it can be identified.
const TRIES: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// `CAP_NET_ADMIN` in a mask of capabilities (capabilities(7)).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The held lock.
#[derive(Debug)]
pub struct Lock {
    listener: UnixListener,
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

/// The reason why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another proxy, or a cleanup, holds the lock.
    #[error("{0} runs ipvs-proxy in this network namespace already: end it first")]
    Held(Holder),
    /// Another proxy, or a cleanup, held the lock a moment ago, or cannot be identified.
    #[error("another process runs ipvs-proxy in this network namespace already: end it first")]
    HeldBySomebody,
    /// A process that cannot program the kernel has taken the name.
    #[error("{0} of user {uid} has taken the name of the lock and is no proxy", uid = .0.uid)]
    Misused(Holder),
    /// The system cannot provide the lock.
    #[error(transparent)]
    Unavailable(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of this thread's network namespace.
    ///
    /// # Errors
    /// See [`Error`]. Only [`Error::Held`] and [`Error::HeldBySomebody`] mean that another proxy or cleanup runs.
    pub fn take() -> Result<Self, Error> {
        Self::take_named(NAME)
    }

    /// Takes a lock with another name, for tests.
    ///
    /// # Errors
    /// See [`take`](Self::take).
    pub fn take_named(name: &str) -> Result<Self, Error> {
        let address = SocketAddr::from_abstract_name(name)?;
        for _ in 0..TRIES {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    return Ok(Self { listener });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
            match holder(name) {
                Ok(Some(holder)) if could_program(holder) => return Err(Error::Held(holder)),
                Ok(Some(holder)) => return Err(Error::Misused(holder)),
                // The holder has ended, or has the name and does not listen yet.
                Ok(None) => std::thread::sleep(RETRY_PAUSE),
                Err(error) => {
                    tracing::debug!("the lock's holder is not known: {error}");
                    break;
                }
            }
        }
        Err(Error::HeldBySomebody)
    }

    /// Closes the connections of processes that look for the holder, so that the next one can connect. Must run within
    /// the runtime. Ends when its future is dropped.
    ///
    /// # Errors
    /// If the system cannot wait for connections.
    pub async fn answer(&self) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        loop {
            if listener.accept().await.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
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

fn has_net_admin(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & CAP_NET_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a name that no other test uses.
    fn name(label: &str) -> String {
        format!("ipvs-proxy.io/test-{label}-{}", std::process::id())
    }

    #[test]
    fn the_second_one_is_told_who_is_first_until_that_one_ends() {
        let name = name("second");
        let lock = Lock::take_named(&name).unwrap();
        // The holder does not accept connections, so this must not fill its queue.
        for _ in 0..3 {
            let error = Lock::take_named(&name).unwrap_err();
            let own = format!("process {} runs ipvs-proxy", std::process::id());
            assert!(error.to_string().starts_with(&own), "{error}");
        }
        drop(lock);
        Lock::take_named(&name).unwrap();
    }

    #[tokio::test]
    async fn looking_at_it_again_and_again_fills_no_queue() {
        let name = name("queue");
        let lock = Lock::take_named(&name).unwrap();
        let backlog: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let looking = tokio::task::spawn_blocking(move || {
            for _ in 0..2 * backlog.max(128) {
                let held = matches!(Lock::take_named(&name), Err(Error::Held(_)));
                assert!(held);
            }
        });
        tokio::select! {
            looked = looking => looked.unwrap(),
            ended = lock.answer() => panic!("{ended:?}"),
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
