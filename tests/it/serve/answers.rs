//! Tests the answers to health checks.

use std::sync::Arc;

use super::{Client, Serving, check, fall_behind, free_port, get, tells, v4};
use crate::recorded::Case;
use proxier::model::ServiceName;

/// Returns the answer in its recorded form: without `Date`, and with lines that end in a line feed.
fn recorded_form(answer: &str) -> String {
    let lines = answer.lines().filter(|line| !line.starts_with("Date: "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn answers_are_byte_for_byte_those_recorded() {
    for (step, count) in Case::named("lb-local").steps().iter().zip([2, 0]) {
        let recorded = step.text("healthcheck.txt");
        let (_, recorded) = recorded.trim_end().split_once('\n').unwrap();
        let (serving, port) = (Serving::start(), free_port());
        serving.table.send_modify(|table| {
            let lb = ServiceName::new("default", "lb");
            Arc::make_mut(&mut table.checks).insert(lb, check(port, Some(count), None));
        });
        let status = if count == 0 { "503 0" } else { "200 2" };
        tells(v4(port), status).await;
        let answer = get(v4(port)).await.unwrap();
        assert!(answer.contains("\r\nDate: "), "{answer}");
        assert_eq!(recorded_form(&answer), recorded);
    }
}

#[tokio::test]
async fn every_path_and_method_is_answered_on_one_connection() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(1), None))]);
    tells(v4(port), "200 1").await;
    let mut client = Client::connect(v4(port)).await.unwrap();
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND", "GET"] {
        for path in ["/", "/healthz", "/a/b?c=d", "*"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = client.ask(&request).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{method} {path}: {answer}");
        }
    }
    let head = client.ask("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    assert!(client.ask(post).await.unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    let mut old = Client::connect(v4(port)).await.unwrap();
    let answer = old.ask("GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn a_proxy_that_does_not_keep_up_is_503_until_it_does() {
    let (serving, port) = (Serving::start(), free_port());
    serving.show(&[("web", check(port, Some(3), None))]);
    tells(v4(port), "200 3").await;
    fall_behind(&serving.health);
    let answer = get(v4(port)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": false\n}"));
    serving.health.started();
    tells(v4(port), "200 3").await;
}

#[tokio::test]
async fn without_a_health_server_the_proxy_counts_as_healthy() {
    let (serving, port) = (Serving::with(|_| None), free_port());
    serving.show(&[("web", check(port, Some(3), None))]);
    tells(v4(port), "200 3").await;
    fall_behind(&serving.health);
    let answer = get(v4(port)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true\n}"));
}
