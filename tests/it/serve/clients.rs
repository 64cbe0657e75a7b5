//! Tests clients that are malicious or faulty.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{Client, Serving, brief, check, free_port, tells, v4};

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(Client::connect(v4(port)).await.unwrap());
    }
    assert_eq!(brief(v4(port)).await, "200 1");
    let mut open = 0;
    for client in &mut silent {
        open += usize::from(!client.is_ended(Duration::from_millis(5)).await);
    }
    assert_eq!(open, 100, "none had to give way");
}

#[tokio::test]
async fn a_client_that_takes_for_ever_to_ask_is_cut_off() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut slow = Client::connect(v4(port)).await.unwrap();
    slow.0.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let dribble = async {
        while slow.0.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), dribble).await.expect("it is cut off");
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut endless = Client::connect(v4(port)).await.unwrap();
    endless.0.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let mut sent = 0;
    while endless.0.write_all(&[b'x'; 4096]).await.is_ok() && sent < 1 << 24 {
        sent += 4096;
    }
    assert!(sent < 1 << 24, "it took all of {sent} bytes");
}

#[tokio::test]
async fn nonsense_is_refused_and_the_server_goes_on() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut client = Client::connect(v4(port)).await.unwrap();
    client.0.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    assert!(client.is_ended(Duration::from_secs(5)).await);
    assert_eq!(brief(v4(port)).await, "200 1");
}
