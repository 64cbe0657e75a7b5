//! Tests events that are written to the test API server.
//!
//! Takes events that are sent to a sink. Compares them with those that the server has. Does not use
//! a cluster.

use std::fs;
use std::time::{Duration, Instant};

use hyper::Method;
use ipvs_proxy::events::{self, Event, Kind, Regarding, Sink};
use ipvs_proxy::watch::{Api, ApiSettings, Retry};
use proxier::model::ServiceName;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::apiserver::ApiServer;

/// Long enough for a busy machine; no test waits that long if all is well.
const LIMIT: Duration = Duration::from_secs(20);

const EVENTS: &str = "/apis/events.k8s.io/";

/// A sink whose events are written to a server.
struct Writing {
    sink: Sink,
    task: JoinHandle<()>,
}

impl Writing {
    async fn to(server: &ApiServer) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), server.kubeconfig()).unwrap();
        let settings = ApiSettings {
            kubeconfig: Some(file.path().to_owned()),
            retry: Retry { first: Duration::from_millis(50), longest: Duration::from_millis(200) },
            ..ApiSettings::default()
        };
        let api = Api::new(&settings).await.unwrap();
        let (sink, queue) = events::channel();
        let task = tokio::spawn(events::write(queue, api, "host-a".to_owned()));
        Self { sink, task }
    }

    fn tell(&self, note: &str) {
        self.sink.tell(trouble(note));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn trouble(note: &str) -> Event {
    Event {
        kind: Kind::Warning,
        reason: "FailedToStartServiceHealthcheck",
        action: "Listen",
        regarding: Regarding::Service(ServiceName::new("shop", "web")),
        note: note.to_owned(),
    }
}

/// Waits until the server's events fulfil the condition.
async fn has(server: &ApiServer, like: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    until(|| Some(server.events()).filter(|events| like(events)))
        .await
        .unwrap_or_else(|| panic!("{:#?}", server.events()))
}

async fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if let Some(found) = look() {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    None
}

/// Returns how many requests for events were answered with this status.
fn answered(server: &ApiServer, method: &Method, status: u16) -> usize {
    let requests = server.requests().into_iter();
    let like = |seen: &crate::apiserver::Seen| {
        seen.path.starts_with(EVENTS) && seen.method == *method && seen.status == status
    };
    requests.filter(like).count()
}

fn notes(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["note"].as_str().unwrap_or("")).collect()
}

#[tokio::test]
async fn an_event_arrives_whole() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    writing.tell("the port is taken");
    let mut event = has(&server, |events| events.len() == 1).await.remove(0);
    let name = event["metadata"]["name"].take();
    let nanos = name.as_str().unwrap().strip_prefix("web.").unwrap();
    assert!(u64::from_str_radix(nanos, 16).is_ok(), "{nanos}");
    event["eventTime"].take();
    let wanted = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "shop", "name": null},
        "eventTime": null,
        "reportingController": "kube-proxy",
        "reportingInstance": "kube-proxy-host-a",
        "type": "Warning",
        "reason": "FailedToStartServiceHealthcheck",
        "action": "Listen",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
        "note": "the port is taken",
    });
    assert_eq!(event, wanted);
    let request = server.requests().remove(0);
    assert!(request.agent.starts_with("ipvs-proxy/"), "{}", request.agent);
}

#[tokio::test]
async fn an_event_of_the_node_has_no_note_and_is_in_the_default_namespace() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    writing.sink.tell(Event {
        kind: Kind::Normal,
        reason: "Starting",
        action: "StartKubeProxy",
        regarding: Regarding::Node("node1".into()),
        note: String::new(),
    });
    let event = has(&server, |events| events.len() == 1).await.remove(0);
    assert_eq!(event["metadata"]["namespace"], "default");
    assert_eq!(event["regarding"], json!({"apiVersion": "v1", "kind": "Node", "name": "node1"}));
    assert_eq!(event["reason"], "Starting");
    assert!(event.get("note").is_none(), "{event}");
}

#[tokio::test]
async fn equal_events_become_a_series_and_others_objects_of_their_own() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    writing.tell("a");
    has(&server, |events| events.len() == 1).await;
    writing.tell("a");
    writing.tell("b");
    let events = has(&server, |events| events.len() == 2).await;
    assert_eq!(notes(&events), ["a", "b"]);
    assert_eq!(events[0]["series"]["count"], 2);
    assert!(events[1].get("series").is_none(), "{}", events[1]);
}

#[tokio::test]
async fn an_event_whose_object_has_expired_is_created_again() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    writing.tell("a");
    has(&server, |events| events.len() == 1).await;
    server.expire_events();
    writing.tell("a");
    let events = has(&server, |events| events.len() == 1).await;
    assert_eq!(answered(&server, &Method::PATCH, 404), 1);
    assert_eq!(notes(&events), ["a"]);
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_again() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    for (note, status) in [("a", 503), ("b", 429), ("c", 401)] {
        server.behave(|behaviour| behaviour.refuse = Some((EVENTS, status)));
        writing.tell(note);
        until(|| (answered(&server, &Method::POST, status) == 6).then_some(())).await.unwrap();
        server.behave(|behaviour| behaviour.refuse = None);
        has(&server, |events| events.last().is_some_and(|event| event["note"] == note)).await;
    }
    assert_eq!(notes(&server.events()), ["a", "b", "c"]);
}

#[tokio::test]
async fn events_of_an_outage_are_written_after_it() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    server.stop();
    writing.tell("a");
    // Many times the longest pause.
    tokio::time::sleep(Duration::from_secs(3)).await;
    writing.tell("b");
    writing.tell("a");
    server.restart();
    let events = has(&server, |events| events.len() == 2).await;
    assert_eq!(notes(&events), ["a", "b"]);
    has(&server, |events| events[0]["series"]["count"] == 2).await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_given_up_and_the_next_one_is_not() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    for status in [403, 404, 409, 422] {
        server.behave(|behaviour| behaviour.refuse = Some((EVENTS, status)));
        writing.tell(&status.to_string());
        until(|| (answered(&server, &Method::POST, status) == 1).then_some(())).await.unwrap();
    }
    server.behave(|behaviour| behaviour.refuse = None);
    writing.tell("c");
    let events = has(&server, |events| !events.is_empty()).await;
    assert_eq!(notes(&events), ["c"]);
    for status in [403, 404, 409, 422] {
        assert_eq!(answered(&server, &Method::POST, status), 1, "a refusal is final");
    }
}

#[tokio::test]
async fn without_a_server_nobody_waits() {
    let server = ApiServer::start();
    let writing = Writing::to(&server).await;
    server.stop();
    let begin = Instant::now();
    for number in 0..10 * events::QUEUE {
        writing.tell(&number.to_string());
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    server.restart();
    has(&server, |events| events.len() > 5).await;
}
