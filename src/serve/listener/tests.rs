//! Tests of a server with few connections and slow answers.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::*;
use crate::serve::plain;

const LIMIT: Duration = Duration::from_secs(20);

/// A handler that takes this long for each answer.
struct Slow(Duration);

impl Handler for Slow {
    async fn answer(&self, _: Request<Incoming>) -> Answer {
        sleep(self.0).await;
        plain::text(http::StatusCode::OK, "ok")
    }
}

/// Starts a server with at most `most` connections.
async fn serve(most: usize, takes: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, Arc::new(Slow(takes)), most));
    address
}

/// Advances the clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Sends a request and returns the beginning of the answer.
async fn ask(stream: &mut TcpStream, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = [0; 1024];
    let read = timeout(LIMIT, stream.read(&mut bytes)).await.expect("an answer")?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

async fn is_answered(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    ask(&mut stream, GET).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 OK\r\n"))
}

async fn answered(address: SocketAddr, clients: usize) -> usize {
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..clients {
        asking.spawn(is_answered(address));
    }
    asking.join_all().await.into_iter().filter(|is_answered| *is_answered).count()
}

#[tokio::test]
async fn fifty_clients_at_once_are_answered_however_long_it_takes() {
    let address = serve(MAX_CONNECTIONS, Duration::from_millis(300)).await;
    assert_eq!(answered(address, 50).await, 50);
}

#[tokio::test]
async fn whoever_finds_all_busy_waits_and_breaks_nobody_off() {
    let address = serve(4, Duration::from_millis(100)).await;
    assert_eq!(answered(address, 20).await, 20);
}

#[tokio::test]
async fn of_those_at_rest_the_one_that_has_rested_longest_gives_way() {
    let address = serve(3, Duration::ZERO).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(TcpStream::connect(address).await.unwrap());
    }
    // The first connection is the last one to be answered.
    for at in [1, 2, 0] {
        ask(&mut kept[at], GET).await.unwrap();
        pass(Duration::from_millis(20)).await;
    }
    // By now each of them has been idle for long enough.
    pass(Duration::from_secs(1)).await;
    assert!(is_answered(address).await);
    for (at, is_open) in [(0, true), (2, true), (1, false)] {
        let answer = ask(&mut kept[at], GET).await;
        assert_eq!(answer.is_ok_and(|answer| !answer.is_empty()), is_open, "{at}");
    }
}

#[tokio::test]
async fn hoarders_keep_nobody_out_for_long() {
    let address = serve(4, Duration::ZERO).await;
    let mut hoard = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTT").await.unwrap();
        hoard.push(stream);
    }
    let start = Instant::now();
    assert!(is_answered(address).await);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn large_heads_are_taken_up_to_a_bound() {
    let address = serve(MAX_CONNECTIONS, Duration::ZERO).await;
    for (lines, length, status) in [(1, 64_000, "200"), (250, 200, "200"), (300, 10, "431")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let name = |at| format!("X-{at}: {}\r\n", "x".repeat(length));
        let lines: String = (0..lines).map(name).collect();
        let answer = ask(&mut stream, &format!("GET / HTTP/1.1\r\n{lines}\r\n")).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}
