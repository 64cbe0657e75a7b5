//! Tests each way of noticing a vanished peer, with a clock that the test moves.
//!
//! Takes a relay before the server that stops passing data and keeps its connections, or a server
//! that does not answer. Returns the time after which another connection or request is begun.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::{Log, Watching, service, settle, small_cluster};
use crate::apiserver::{ApiServer, Seen, Streaming};

/// Real time for data that is under way over the loopback device.
const SETTLE: Duration = Duration::from_millis(30);

/// A relay that passes connections on until it is frozen.
struct Relay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    is_frozen: Arc<AtomicBool>,
}

impl Relay {
    fn before(server: &ApiServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            is_frozen: Arc::default(),
        };
        let (to, connections) = (server.address(), Arc::clone(&relay.connections));
        let is_frozen = Arc::clone(&relay.is_frozen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(to) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let is_frozen = Arc::clone(&is_frozen);
                    thread::spawn(move || pass_on(from, to, &is_frozen));
                }
            }
        });
        relay
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn freeze(&self) {
        self.is_frozen.store(true, Ordering::SeqCst);
    }
}

/// Passes data on. Data that arrives while the relay is frozen is lost.
fn pass_on(mut from: TcpStream, mut to: TcpStream, is_frozen: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(length) = from.read(&mut bytes) {
        if is_frozen.load(Ordering::SeqCst) && length > 0 {
            continue;
        }
        if length == 0 || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    if !is_frozen.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// Moves the clock in steps. After each step answers have time to arrive. True if the condition
/// became true within this time.
async fn within(seconds: u64, has_come: impl Fn() -> bool) -> bool {
    for second in 1..=seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
        // A ping is waited for within each 15 s, so its answer has time to arrive.
        settle(if second % 10 == 0 { 4 * SETTLE } else { SETTLE / 10 }).await;
        if has_come() {
            return true;
        }
    }
    settle(SETTLE * 10).await;
    has_come()
}

fn through(relay: &Relay, server: &ApiServer) -> String {
    server.kubeconfig().replace(&server.url(), &format!("https://{}", relay.address))
}

#[tokio::test]
async fn a_vanished_peer_of_http2_is_noticed_within_45_s() {
    let server = small_cluster();
    let relay = Relay::before(&server);
    let mut watching = Watching::with(&through(&relay, &server)).await;
    watching.agrees_with(&server).await;
    let before = relay.connections();
    tokio::time::pause();
    assert!(!within(44, || relay.connections() > before).await, "it answers the signs of life");
    relay.freeze();
    assert!(within(46, || relay.connections() > before).await, "nothing was noticed");
}

/// With HTTP/1.1 the kernel has to notice it: `tests/netns` shows that it does.
#[tokio::test]
async fn a_vanished_peer_is_noticed_by_the_kernel_within_45_s() {
    for http2 in [false, true] {
        let server = small_cluster();
        server.behave(|behaviour| behaviour.http2 = http2);
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let mut found = 0;
        for number in 0..1024 {
            let flags = PidfdGetfdFlags::empty();
            let Ok(socket) = pidfd_getfd(&own, number, flags) else { continue };
            let peer = rustix::net::getpeername(&socket).ok().flatten();
            if peer.and_then(|peer| SocketAddr::try_from(peer).ok()) != Some(server.address()) {
                continue;
            }
            found += 1;
            assert!(sockopt::socket_keepalive(&socket).unwrap());
            let idle = sockopt::tcp_keepidle(&socket).unwrap();
            let between = sockopt::tcp_keepintvl(&socket).unwrap();
            let probes = sockopt::tcp_keepcnt(&socket).unwrap();
            assert!(idle + probes * between <= Duration::from_secs(45), "{idle:?} {between:?}");
            let unanswered =
                Duration::from_millis(sockopt::tcp_user_timeout(&socket).unwrap().into());
            assert!(unanswered <= Duration::from_secs(45) && unanswered > idle, "{unanswered:?}");
            // If the limit is set, the kernel checks it at each probe and does not count probes any
            // more.
            assert!(idle + between <= unanswered && between <= Duration::from_secs(5));
        }
        assert!(found >= 1, "{http2}");
    }
}

fn is_watch(seen: &Seen) -> bool {
    seen.is_resumed_watch()
}

#[tokio::test]
async fn a_watch_that_outlives_its_time_is_given_up() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let before = server.requests().len();
    tokio::time::pause();
    let asked_for = |seen: &Seen| seen.parameter("timeoutSeconds").unwrap().parse().unwrap();
    let longest: u64 = server.requests().iter().map(asked_for).max().unwrap();
    let shortest: u64 = server.requests().iter().map(asked_for).min().unwrap();
    assert!(!within(shortest, || server.requests().len() > before).await, "it has its time");
    let rest = longest - shortest + 20;
    assert!(
        within(rest, || server.requests().iter().filter(|seen| is_watch(seen)).count() >= 3).await
    );
}

#[tokio::test]
async fn an_answer_that_does_not_begin_is_given_up_after_a_minute() {
    for (is_delayed, streaming) in [
        (Seen::is_streamed_list as fn(&Seen) -> bool, Streaming::Served),
        (Seen::is_list, Streaming::Refused(422)),
        (Seen::is_resumed_watch, Streaming::Refused(422)),
    ] {
        let server = small_cluster();
        server.behave(|behaviour| {
            behaviour.streaming = streaming;
            behaviour.delay = Duration::from_secs(3600);
            behaviour.is_delayed = is_delayed;
        });
        let log = Log::begin();
        let _watching = Watching::new(&server).await;
        settle(10 * SETTLE).await;
        tokio::time::pause();
        let told = || !log.lines_with("no answer for 60s").is_empty();
        assert!(!within(55, told).await, "{streaming:?}");
        assert!(within(10, told).await, "{streaming:?}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_list_that_comes_to_a_halt_is_given_up_after_a_minute() {
    let server = small_cluster();
    // The server does not send the mark after the initial state.
    server.behave(|behaviour| behaviour.streaming = Streaming::Ignored);
    let log = Log::begin();
    let _watching = Watching::new(&server).await;
    settle(10 * SETTLE).await;
    tokio::time::pause();
    let again = || server.requests().len() > 3;
    assert!(!within(55, again).await);
    assert!(within(10, again).await, "{:#?}", log.lines_with(""));
}

#[tokio::test]
async fn a_server_that_lives_is_not_given_up() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    tokio::time::pause();
    assert!(!within(200, || server.requests().len() > 3).await);
    tokio::time::resume();
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    assert_eq!(server.requests().len(), 3);
}
