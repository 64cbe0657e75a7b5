//! Tests that listeners follow their table.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::{Client, GET, LIMIT, Serving, brief, check, free_port, tells, v4, v6};
use crate::watch::Log;

#[tokio::test]
async fn each_family_has_a_socket_of_its_own() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    assert_eq!(brief(v6(port)).await, "refused");
    serving.show(&[("web", check(port, Some(1), Some(2)))]);
    tells(v6(port), "200 2").await;
    assert_eq!(brief(v4(port)).await, "200 1");
    serving.show(&[("web", check(port, None, Some(0)))]);
    tells(v4(port), "refused").await;
    assert_eq!(brief(v6(port)).await, "503 0");
}

#[tokio::test]
async fn another_count_is_told_on_connections_that_are_open() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut client = Client::connect(v4(port)).await.unwrap();
    assert!(client.ask(GET).await.unwrap().contains("Weight: 1\r\n"));
    serving.show(&[("web", check(port, Some(0), None))]);
    tells(v4(port), "503 0").await;
    assert!(client.ask(GET).await.unwrap().contains("Weight: 0\r\n"));
    serving.show(&[("web", check(port, Some(2), None))]);
    tells(v4(port), "200 2").await;
    assert!(client.ask(GET).await.unwrap().contains("Weight: 2\r\n"));
}

#[tokio::test]
async fn another_port_closes_the_first_one_with_its_connections() {
    let (serving, first, second) = (Serving::start(), free_port(), free_port());
    serving.show(&[("web", check(first, Some(1), None))]);
    tells(v4(first), "200 1").await;
    let mut client = Client::connect(v4(first)).await.unwrap();
    client.ask(GET).await.unwrap();
    serving.show(&[("web", check(second, Some(1), None))]);
    tells(v4(second), "200 1").await;
    assert_eq!(brief(v4(first)).await, "refused");
    assert!(client.is_ended(LIMIT).await);
    serving.show(&[]);
    tells(v4(second), "refused").await;
}

#[tokio::test]
async fn addresses_come_and_go_and_the_rest_is_left_alone() {
    let (serving, port) = (Serving::start(), free_port());
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), port);
    serving.show(&[("web", check(port, Some(1), Some(1)))]);
    tells(other, "200 1").await;
    serving.listen_on(&["127.0.0.1"]);
    tells(other, "refused").await;
    assert_eq!(brief(v6(port)).await, "refused");
    let mut client = Client::connect(v4(port)).await.unwrap();
    client.ask(GET).await.unwrap();
    serving.listen_on(&["127.0.0.1", "127.0.0.2", "::1"]);
    tells(other, "200 1").await;
    tells(v6(port), "200 1").await;
    client.ask(GET).await.expect("its server stood");
    serving.listen_on(&[]);
    tells(other, "refused").await;
    assert!(client.is_ended(LIMIT).await);
}

#[tokio::test]
async fn two_services_may_change_ports_with_each_other() {
    let (serving, first, second) = (Serving::start(), free_port(), free_port());
    serving.show(&[("a", check(first, Some(1), None)), ("b", check(second, Some(2), None))]);
    tells(v4(first), "200 1").await;
    tells(v4(second), "200 2").await;
    let log = Log::begin();
    serving.show(&[("a", check(second, Some(1), None)), ("b", check(first, Some(2), None))]);
    tells(v4(first), "200 2").await;
    tells(v4(second), "200 1").await;
    assert!(log.lines_with("FailedToStart").is_empty());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_once_and_had_when_it_is_free() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (log, serving) = (Log::begin(), Serving::start());
    serving.show(&[("web", check(port, Some(1), Some(1)))]);
    tells(v6(port), "200 1").await;
    log.has("Service shop/web: FailedToStartServiceHealthcheck: node node1").await;
    // Longer than the time until the next try.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = log.lines_with("FailedToStart");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(&format!("0.0.0.0:{port}: Address already in use")), "{told:#?}");
    assert!(told[0].contains("WARN"), "{told:#?}");
    drop(taken);
    tells(v4(port), "200 1").await;
    log.has(" s: Service shop/web: FailedToStartServiceHealthcheck").await;
}

#[tokio::test]
async fn of_two_services_with_one_port_the_first_has_it_until_it_goes() {
    let (log, serving, port) = (Log::begin(), Serving::start(), free_port());
    serving.show(&[("b", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    serving.show(&[("a", check(port, Some(2), None)), ("b", check(port, Some(1), None))]);
    log.has("Service shop/a: FailedToStartServiceHealthcheck").await;
    let told = log.lines_with("FailedToStart");
    assert_eq!(told.len(), 1, "{told:#?}");
    let clash = format!("0.0.0.0:{port}: Service shop/b has the same healthCheckNodePort");
    assert!(told[0].contains(&clash), "{told:#?}");
    assert_eq!(brief(v4(port)).await, "200 1");
    serving.show(&[("a", check(port, Some(2), None))]);
    tells(v4(port), "200 2").await;
}

#[tokio::test]
async fn an_address_that_the_node_lacks_does_not_take_the_others_away() {
    let (log, serving, port) = (Log::begin(), Serving::start(), free_port());
    serving.listen_on(&["127.0.0.1", "192.0.2.77"]);
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    log.has(&format!("192.0.2.77:{port}: Cannot assign requested address")).await;
}

#[tokio::test]
async fn all_servers_close_when_the_table_is_given_up() {
    let (mut serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    serving.table = tokio::sync::watch::channel(ipvs_proxy::serve::HealthTable::default()).0;
    tells(v4(port), "refused").await;
}
