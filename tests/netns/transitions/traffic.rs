//! Opens many new connections: clients that never pause, and servers at any number of addresses.
//!
//! Takes frontends to connect to, and endpoints to listen at. Returns which connections failed,
//! when, and how. Each namespace has one thread, so that a small machine makes as many connections
//! as possible. Does not retry, except for datagrams and associations, see [`connect`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::node::Namespace;
use crate::traffic::Protocol;

/// The time after which a connection has failed, long after a busy emulated machine would have
/// handled it.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time after which a place counts as silent when that is only being measured: in the first
/// attempt and in later ones. Clients whose packets are dropped wait this long.
const BRIEF_PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The time from which a TCP connection may have lost a segment, because TCP sends its first
/// segment again after a second. The kernel knows if it did, and then the connection counts as
/// failed.
const SLOW: Duration = Duration::from_millis(950);
/// The number of connections that a namespace begins at once. More would only wait for each other.
const AT_ONCE: usize = 4;
/// The time after which the next connection may begin in any case.
const TURN: Duration = Duration::from_millis(100);
/// The time between two checks whether a thread should stop.
const ATTENTION: Duration = Duration::from_millis(20);

/// A protocol, an address and a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) protocol: Transport,
    pub(super) address: SocketAddr,
}

/// Like [`Protocol`], but ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::Sctp => Protocol::Sctp,
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.address, self.protocol)
    }
}

/// Servers at endpoints of one namespace. They end on drop.
pub(super) struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    /// Starts servers, which listen when this returns.
    pub(super) fn start(inside: &Namespace, places: &BTreeSet<Place>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = inside.enter(|| {
            let sockets: Vec<_> = places.iter().map(|place| (*place, listen(*place))).collect();
            // A thread that is started inside the namespace stays there.
            thread::spawn(move || {
                run(&stopped, async move {
                    for (place, socket) in sockets {
                        match place.protocol {
                            Transport::Udp => tokio::spawn(answer_datagrams(socket.into())),
                            Transport::Tcp | Transport::Sctp => {
                                tokio::spawn(answer_connections(socket.into()))
                            }
                        };
                    }
                })
            })
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn listen(place: Place) -> socket2::Socket {
    let socket = place
        .protocol
        .protocol()
        .socket(place.address)
        .unwrap_or_else(|error| panic!("{place:?}: {error}"));
    socket.set_nonblocking(true).unwrap();
    if place.protocol != Transport::Udp {
        socket.listen(1024).unwrap();
    }
    socket
}

async fn answer_connections(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(timeout(2 * PATIENCE, answer_one(stream)));
    }
}

/// Answers one client. The client sends first and closes first, so that the closed connection
/// remains on its side.
async fn answer_one(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0]).await?;
    stream.write_all(b"!").await?;
    stream.read_exact(&mut [0]).await?;
    Ok(())
}

async fn answer_datagrams(socket: std::net::UdpSocket) {
    let socket = UdpSocket::from_std(socket).unwrap();
    loop {
        if let Ok((_, peer)) = socket.recv_from(&mut [0; 16]).await {
            let _ = socket.send_to(b"!", peer).await;
        }
    }
}

/// Runs tasks until `stop` is set.
fn run(stop: &AtomicBool, start: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        start.await;
        while !stop.load(Ordering::Relaxed) {
            sleep(ATTENTION).await;
        }
    });
}

/// A connection that failed.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) to: Place,
    /// The time at which it began.
    pub(super) began: Instant,
    /// The error, and after what time it came.
    pub(super) told: String,
}

/// The source ports of one world, below those that a kernel chooses. None is used again soon, as
/// IPVS may still have a connection of a recently used port.
#[derive(Default)]
pub(super) struct SourcePorts(AtomicU16);

impl SourcePorts {
    fn next(&self) -> u16 {
        2000 + self.0.fetch_add(1, Ordering::Relaxed) % 28_000
    }
}

/// Clients in one namespace that repeatedly connect to each of many places. They end on drop.
pub(super) struct Callers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    connections: BTreeMap<Place, usize>,
    failures: Vec<Failure>,
}

impl Callers {
    /// Starts the clients.
    pub(super) fn start(
        inside: &Namespace,
        ports: &Arc<SourcePorts>,
        places: impl Iterator<Item = Place>,
    ) -> Self {
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Heard>>::default());
        let connections = places.map(|place| (place, 0)).collect();
        heard.lock().unwrap().connections = connections;
        let places: Vec<_> = heard.lock().unwrap().connections.keys().copied().collect();
        let (stopped, noted, ports) = (Arc::clone(&stop), Arc::clone(&heard), Arc::clone(ports));
        let thread = inside.enter(|| {
            thread::spawn(move || {
                // Clients that never pause must take only the time that others leave. The priority
                // is this thread's alone.
                setpriority_process(None, 10).unwrap();
                run(&stopped, async move {
                    let turns = Arc::new(Semaphore::new(AT_ONCE));
                    for place in places {
                        let (turns, noted) = (Arc::clone(&turns), Arc::clone(&noted));
                        let ports = Arc::clone(&ports);
                        tokio::spawn(async move {
                            loop {
                                let outcome =
                                    take_turn(&turns, place, connect(&ports, place)).await;
                                note(&noted, place, outcome);
                            }
                        });
                    }
                })
            })
        });
        Self { stop, thread: Some(thread), heard }
    }

    /// Returns how many connections to each place have ended so far.
    pub(super) fn counts(&self) -> BTreeMap<Place, usize> {
        self.heard.lock().unwrap().connections.clone()
    }

    /// Returns the failures so far.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.heard.lock().unwrap().failures.clone()
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn note(heard: &Mutex<Heard>, to: Place, outcome: Result<(), Failure>) {
    let mut heard = heard.lock().unwrap();
    *heard.connections.get_mut(&to).unwrap() += 1;
    heard.failures.extend(outcome.err());
}

/// Returns the places that answer the given number of connections in a row. Places that do not are
/// tried again, until no further one answers: a machine that stood still for a while is no refusal.
pub(super) fn survey(
    inside: &Namespace,
    ports: &Arc<SourcePorts>,
    places: &BTreeMap<Place, usize>,
) -> BTreeSet<Place> {
    let [first, again] = BRIEF_PATIENCE;
    let mut served = ask_each(inside, ports, places, first);
    loop {
        let mut left = places.clone();
        left.retain(|place, _| !served.contains(place));
        let more = ask_each(inside, ports, &left, again);
        if more.is_empty() {
            return served;
        }
        served.extend(more);
    }
}

fn ask_each(
    inside: &Namespace,
    ports: &Arc<SourcePorts>,
    places: &BTreeMap<Place, usize>,
    patience: Duration,
) -> BTreeSet<Place> {
    inside.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let turns = Arc::new(Semaphore::new(AT_ONCE));
            let asked = places.iter().map(|(place, times)| {
                let (turns, ports) = (Arc::clone(&turns), Arc::clone(ports));
                let (place, times) = (*place, *times);
                tokio::spawn(async move {
                    for _ in 0..times {
                        take_turn(&turns, place, try_once(&ports, place, patience)).await.ok()?;
                    }
                    Some(place)
                })
            });
            let mut served = BTreeSet::new();
            for task in asked.collect::<Vec<_>>() {
                served.extend(task.await.unwrap());
            }
            served
        })
    })
}

/// Connects when it is its turn. The turn ends with the connection, or when it takes long.
async fn take_turn(
    turns: &Semaphore,
    to: Place,
    connection: impl Future<Output = io::Result<()>>,
) -> Result<(), Failure> {
    let turn = turns.acquire().await.unwrap();
    let began = Instant::now();
    tokio::pin!(connection);
    let outcome = match timeout(TURN, &mut connection).await {
        Ok(outcome) => outcome,
        Err(_) => {
            drop(turn);
            connection.await
        }
    };
    outcome.map_err(|error| Failure {
        to,
        began,
        told: format!("{error} after {} ms", began.elapsed().as_millis()),
    })
}

/// Opens a new connection, gets an answer, and closes it. For UDP and SCTP it tries a second time.
/// Packets under way are lost when their destination leaves, since these destinations do not drain.
/// A broken frontend loses the second attempt too.
async fn connect(ports: &SourcePorts, to: Place) -> io::Result<()> {
    let may_be_lost = matches!(to.protocol, Transport::Udp | Transport::Sctp);
    if may_be_lost && try_once(ports, to, BRIEF_PATIENCE[0]).await.is_ok() {
        return Ok(());
    }
    try_once(ports, to, PATIENCE).await
}

async fn try_once(ports: &SourcePorts, to: Place, patience: Duration) -> io::Result<()> {
    timeout(patience, exchange(ports, to)).await.map_err(|_| ErrorKind::TimedOut)?
}

async fn exchange(ports: &SourcePorts, to: Place) -> io::Result<()> {
    let socket = socket(ports, to)?;
    match to.protocol {
        Transport::Udp => {
            let socket = UdpSocket::from_std(socket.into())?;
            socket.connect(to.address).await?;
            socket.send(b"?").await?;
            socket.recv(&mut [0; 16]).await.map(drop)
        }
        Transport::Tcp | Transport::Sctp => {
            let began = Instant::now();
            let socket = TcpSocket::from_std_stream(socket.into());
            let mut stream = socket.connect(to.address).await?;
            stream.write_all(b"?").await?;
            stream.read_exact(&mut [0]).await?;
            if to.protocol == Transport::Tcp && began.elapsed() >= SLOW {
                nothing_sent_again(stream.local_addr()?.port())?;
            }
            Ok(())
        }
    }
}

/// Fails if the connection from this port had to send a segment again. The calling thread is in the
/// client's namespace.
fn nothing_sent_again(port: u16) -> io::Result<()> {
    let output = Command::new("ss").args(["-tinH", &format!("sport = :{port}")]).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    // `ss` prints the retransmission timeout of every connection, but the counts only if they are
    // not zero. A segment that arrived twice (D-SACK) was late, not lost.
    let count = |name: &str| -> usize {
        let word = told.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.and_then(|counts| counts.rsplit('/').next()?.parse().ok()).unwrap_or(0)
    };
    if told.contains(" rto:") && count("retrans:") <= count("dsack_dups:") {
        return Ok(());
    }
    Err(io::Error::other(format!("slow, and not for lack of time: {told}")))
}

/// Returns a socket at a free source port.
fn socket(ports: &SourcePorts, to: Place) -> io::Result<socket2::Socket> {
    let any: IpAddr = match to.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let protocol = to.protocol.protocol();
    loop {
        let source = protocol.source(SocketAddr::new(any, ports.next()), to.address)?;
        match protocol.socket(source) {
            Ok(socket) => {
                socket.set_nonblocking(true)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

#[test]
fn a_connection_whose_first_segment_is_lost_has_failed() {
    let host = Namespace::new("segment");
    let places = ["127.0.0.1:80", "127.0.0.1:81"]
        .map(|address| Place { protocol: Transport::Tcp, address: address.parse().unwrap() });
    let _servers = Servers::start(&host, &places.into());
    host.run("iptables -A INPUT -p tcp --syn --dport 81 -m statistic --mode nth --every 2 --packet 0 -j DROP");
    let times = places.map(|place| (place, 4)).into();
    assert_eq!(survey(&host, &Arc::default(), &times), [places[0]].into());
}
