//! Tests the proxy's own servers if a port is taken.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ipvs_proxy::events::Sink;
use ipvs_proxy::lasting::Lasting;
use ipvs_proxy::metrics::{Build, Metrics};
use ipvs_proxy::serve::{Inspect, OnBindFailure, Process, Server, ServerKind, Unbound};
use tokio::time::timeout;

use super::{LIMIT, free_port, listens, v4};
use crate::watch::Log;

async fn serve(port: u16, without_port: OnBindFailure) -> Unbound {
    let metrics = Arc::new(Metrics::new(&Build::default()).unwrap());
    let server = Server {
        which: ServerKind::Metrics,
        address: v4(port),
        without_port,
        node: "node1".into(),
        events: Sink::log(),
        lasting: Lasting::default(),
    };
    Inspect::new(Process::default(), metrics, None).serve(server).await
}

#[tokio::test]
async fn a_port_that_becomes_free_is_taken_and_the_wait_is_told_once() {
    let log = Log::begin();
    let port = free_port();
    let other = TcpListener::bind(v4(port)).unwrap();
    let task = tokio::spawn(serve(port, OnBindFailure::TryAgain(Duration::from_millis(10))));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(log.lines_with("cannot listen on").len(), 1);
    assert_eq!(log.lines_with("Address already in use").len(), 1);
    drop(other);
    listens(port).await;
    assert_eq!(log.lines_with("over after ").len(), 1);
    assert_eq!(log.lines_with("cannot listen on").len(), 2, "when it begins and when it is over");
    assert!(!task.is_finished());
    task.abort();
}

#[tokio::test]
async fn a_port_that_must_be_had_ends_it_with_an_event_and_a_reason() {
    let log = Log::begin();
    let port = free_port();
    let _other = TcpListener::bind(v4(port)).unwrap();
    let unbound = timeout(LIMIT, serve(port, OnBindFailure::End)).await.expect("it ends");
    assert_eq!(
        unbound.to_string(),
        format!(
            "the metrics server (metricsBindAddress) cannot listen on 127.0.0.1:{port} and \
             bindAddressHardFail is set: Address already in use (os error 98)"
        )
    );
    assert_eq!(
        log.lines_with("Node node1: FailedToStartMetricServer: the metrics server").len(),
        1
    );
}
