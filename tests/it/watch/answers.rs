//! Tests answers that are successful but are no lists, and answers that ask for a pause.

use std::time::Duration;

use super::{Log, Watching, asked_like, service, small_cluster};
use crate::apiserver::{ApiServer, Canned, Seen, Streaming};

fn is_for_services(seen: &Seen) -> bool {
    seen.path == "/api/v1/services"
}

fn is_list_of_services(seen: &Seen) -> bool {
    is_for_services(seen) && (seen.is_list() || seen.is_streamed_list())
}

fn is_watch_of_services(seen: &Seen) -> bool {
    is_for_services(seen) && seen.is_resumed_watch()
}

fn canned(is_for: fn(&Seen) -> bool, body: &str) -> Canned {
    Canned { is_for, status: 200, headers: Vec::new(), body: body.to_owned() }
}

const PAGE: &str = "\n<!doctype html><title>Sign in</title>\n";
const HTML: &str = "a page of HTML or XML instead of JSON";

/// Answers that would remove every Service if they were accepted as lists of Services.
const NO_LISTS: &[(&str, &str)] = &[
    (PAGE, HTML),
    ("", "EOF while parsing"),
    ("[]", "no kind and no apiVersion instead of a ServiceList of v1"),
    (
        r#"{"kind":"Status","apiVersion":"v1","metadata":{"resourceVersion":"9"},"message":"in  repair"}"#,
        r#"kind "Status" of apiVersion "v1" instead of a ServiceList of v1: in  repair"#,
    ),
    (
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[]}"#,
        r#"kind "PodList" of apiVersion "v1" instead of a ServiceList of v1"#,
    ),
    (
        r#"{"kind":"ServiceList","apiVersion":"v2","metadata":{"resourceVersion":"9"},"items":[]}"#,
        r#"kind "ServiceList" of apiVersion "v2" instead of a ServiceList of v1"#,
    ),
    (
        r#"{"apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[]}"#,
        r#"no kind of apiVersion "v1" instead of a ServiceList of v1"#,
    ),
    (
        r#"{"kind":"ServiceList","metadata":{"resourceVersion":"9"},"items":[]}"#,
        r#"kind "ServiceList" and no apiVersion instead of a ServiceList of v1"#,
    ),
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"9"}}"#,
        "a list without items",
    ),
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":{}}"#,
        "a list without items",
    ),
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":"x"}"#,
        "a list without items",
    ),
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[]}"#,
        "a list without a resource version",
    ),
    // The second page is the first one again.
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"x"},"items":[]}"#,
        "a list whose `continue` token leads to a page that was sent before",
    ),
];

/// Answers that would do so where lists are streamed.
const NO_STREAMS: &[(&str, &str)] = &[
    (PAGE, HTML),
    (
        r#"{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[]}"#,
        "missing field `type`",
    ),
    (
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        r#"kind "Pod" of apiVersion "v1" instead of a Service of v1"#,
    ),
    (
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        "no kind and no apiVersion instead of a Service of v1",
    ),
    (
        r#"{"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        "a list without a resource version",
    ),
    (
        r#"{"type":"ADDED","object":{"kind":"Endpoints","apiVersion":"v1","metadata":{"name":"web","namespace":"shop"}}}"#,
        r#"kind "Endpoints" of apiVersion "v1" instead of a Service of v1"#,
    ),
];

/// Events that would remove a Service.
const NO_CHANGES: &[(&str, &str)] = &[
    (PAGE, HTML),
    (
        r#"{"type":"DELETED","object":{"kind":"Endpoints","apiVersion":"v1","metadata":{"name":"web","namespace":"shop"}}}"#,
        r#"kind "Endpoints" of apiVersion "v1" instead of a Service of v1"#,
    ),
    (
        r#"{"type":"DELETED","object":{"metadata":{"name":"web","namespace":"shop"}}}"#,
        "no kind and no apiVersion instead of a Service of v1",
    ),
    (
        r#"{"type":"MODIFIED","object":{"kind":"Service","apiVersion":"serving.knative.dev/v1","metadata":{"name":"web","namespace":"shop"}}}"#,
        r#"kind "Service" of apiVersion "serving.knative.dev/v1" instead of a Service of v1"#,
    ),
    (r#"{"type":"DELETED","object":{"kind":7,"apiVersion":null}}"#, "kind 7 and no apiVersion"),
    (r#"{"type":"VANISHED","object":{}}"#, "unknown variant"),
];

/// Sends each of the answers instead of a valid one. Checks that the Service stays, and that the
/// watch recovers.
async fn take_nothing_away(
    answers: &[(&str, &str)],
    is_for: fn(&Seen) -> bool,
    streaming: Streaming,
    interrupt: fn(&ApiServer),
) {
    let server = small_cluster();
    server.behave(|behaviour| behaviour.streaming = streaming);
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    for (number, (body, wanted)) in answers.iter().enumerate() {
        let log = Log::begin();
        server.behave(|behaviour| behaviour.canned = Some(canned(is_for, body)));
        interrupt(&server);
        log.has("answer not understood: ").await;
        let told = log.lines_with("answer not understood: ");
        assert!(told[0].contains(wanted), "{body}: {told:#?}");
        // Other events that have come are not about Services.
        for event in std::iter::from_fn(|| watching.events.try_recv().ok()).flatten() {
            watching.store.fold(event, &mut proxier::model::Dirty::default());
        }
        assert_eq!(watching.store.services().count(), 1, "{body}");
        server.behave(|behaviour| behaviour.canned = None);
        server.put(&service("web", 81 + u16::try_from(number).unwrap()));
        watching.agrees_with(&server).await;
        log.has("over after ").await;
    }
}

fn forget_and_disconnect(server: &ApiServer) {
    server.compact();
    server.disconnect();
}

#[tokio::test]
async fn a_good_answer_that_is_no_list_takes_nothing_away() {
    let refused = Streaming::Refused(422);
    take_nothing_away(NO_LISTS, is_list_of_services, refused, forget_and_disconnect).await;
}

#[tokio::test]
async fn a_good_answer_that_is_no_streamed_list_takes_nothing_away() {
    let served = Streaming::Served;
    take_nothing_away(NO_STREAMS, is_list_of_services, served, forget_and_disconnect).await;
}

#[tokio::test]
async fn a_change_of_something_else_takes_nothing_away() {
    let served = Streaming::Served;
    take_nothing_away(NO_CHANGES, is_watch_of_services, served, ApiServer::disconnect).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_has_it_and_the_next_try_is_told() {
    for status in [429, 503] {
        let server = small_cluster();
        let headers = vec![("retry-after", "1".to_owned())];
        let body = String::new();
        let busy = Canned { is_for: is_for_services, status, headers, body };
        server.behave(|behaviour| {
            behaviour.streaming = Streaming::Refused(422);
            behaviour.canned = Some(busy);
        });
        let log = Log::begin();
        let mut watching = Watching::new(&server).await;
        // A plain list follows at once when a list cannot be streamed.
        let seen = asked_like(&server, 4, is_for_services).await;
        let pauses = seen.windows(2).map(|pair| pair[1].at - pair[0].at);
        let long = pauses.filter(|pause| *pause >= Duration::from_secs(1)).count();
        assert!(long >= 1, "{seen:#?}");
        let short = asked_like(&server, 4, is_for_services).await.len();
        assert!(short >= 4);
        let told = log.lines_with(&format!("HTTP {status}: "));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(
            told[0].ends_with("(it asks for a pause); trying again until it works, first in 1.0 s"),
            "{told:#?}"
        );
        server.behave(|behaviour| behaviour.canned = None);
        watching.agrees_with(&server).await;
    }
}

#[tokio::test]
async fn a_refusal_cannot_ask_for_a_pause() {
    let server = small_cluster();
    let headers = vec![("retry-after", "3600".to_owned())];
    let forbidden = Canned { is_for: is_for_services, status: 403, headers, body: "no".to_owned() };
    server.behave(|behaviour| behaviour.canned = Some(forbidden));
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    asked_like(&server, 6, is_for_services).await;
    server.behave(|behaviour| behaviour.canned = None);
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("it asks for a pause"), [""; 0]);
}
