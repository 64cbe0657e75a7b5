//! Tests how the source lists objects.

use std::time::Duration;

use hyper::Version;
use proxier::model::{Event, Unread, Update};

use super::{Log, Watching, asked, node, service, slice, small_cluster};
use crate::apiserver::{ApiServer, Canned, Seen, Streaming};

#[tokio::test]
async fn whole_lists_come_first() {
    let server = small_cluster();
    server.put(&node("node2", "192.0.2.12"));
    let mut watching = Watching::new(&server).await;
    let (mut services, mut slices, mut nodes) = (0, 0, 0);
    for _ in 0..3 {
        match watching.event().await {
            Event::Service(Update::Listed(list)) => services += list.len(),
            Event::Slice(Update::Listed(list)) => slices += list.len(),
            Event::Node(Some(node)) => nodes += usize::from(&*node.name == "node1"),
            other => panic!("not a list: {other:?}"),
        }
    }
    assert_eq!((services, slices, nodes), (1, 1, 1));
    assert!(watching.store.is_complete());
}

#[tokio::test]
async fn lists_are_streamed_over_http2_and_narrowed_by_selectors() {
    let server = small_cluster();
    Watching::new(&server).await.agrees_with(&server).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{requests:#?}");
    for request in &requests {
        assert!(request.is_streamed_list(), "{request:?}");
        assert_eq!(request.version, Version::HTTP_2);
        assert_eq!(request.parameter("resourceVersionMatch"), Some("NotOlderThan"));
        assert_eq!(request.parameter("allowWatchBookmarks"), Some("true"));
        assert!(request.agent.starts_with("ipvs-proxy/"), "{request:?}");
        let selectors = (request.parameter("labelSelector"), request.parameter("fieldSelector"));
        let expected = match request.path.as_str() {
            "/api/v1/services" => {
                (Some("!service.kubernetes.io/service-proxy-name"), Some("spec.clusterIP!=None"))
            }
            "/api/v1/nodes" => (None, Some("metadata.name=node1")),
            _ => (Some("!service.kubernetes.io/headless"), None),
        };
        assert_eq!(selectors, expected, "{request:?}");
    }
}

#[tokio::test]
async fn http1_will_do() {
    let server = small_cluster();
    server.behave(|behaviour| behaviour.http2 = false);
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    assert!(server.requests().iter().all(|request| request.version == Version::HTTP_11));
}

#[tokio::test]
async fn a_server_that_refuses_to_stream_is_asked_for_pages() {
    for status in [400, 403, 404, 422, 500, 504] {
        let server = small_cluster();
        server.behave(|behaviour| behaviour.streaming = Streaming::Refused(status));
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        server.put(&service("web", 81));
        server.delete("EndpointSlice", "shop", "web-a");
        watching.agrees_with(&server).await;
        let lists: Vec<_> = server.requests().into_iter().filter(|seen| seen.is_list()).collect();
        assert_eq!(lists.len(), 3);
        assert!(lists.iter().all(|list| list.parameter("limit") == Some("500")), "{lists:#?}");
        assert!(lists.iter().all(|list| list.parameter("resourceVersion") == Some("0")));
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_streaming_is_found_out() {
    let server = small_cluster();
    server.behave(|behaviour| behaviour.streaming = Streaming::Ignored);
    let mut watching = Watching::new(&server).await;
    let bookmarks = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.bookmark();
        }
    };
    tokio::select! {
        () = watching.agrees_with(&server) => {}
        () = bookmarks => {}
    }
    assert_eq!(server.requests().iter().filter(|seen| seen.is_list()).count(), 3);
}

#[tokio::test]
async fn what_changes_before_a_streamed_list_is_complete_counts() {
    let server = small_cluster();
    server.put(&service("gone", 1));
    server.put(&service("outside", 2));
    server.put(&slice("gone", "10.244.1.9"));
    let before = server.version();
    server.behave(|behaviour| behaviour.lag = Some(before));
    server.put(&service("web", 81));
    server.put(
        "{kind: Service, metadata: {name: outside, namespace: shop}, spec: {type: ExternalName, clusterIP: '', \
         externalName: example.org}}",
    );
    server.delete("Service", "shop", "gone");
    server.delete("EndpointSlice", "shop", "gone");
    server.put(&node("node1", "192.0.2.99"));
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let services: Vec<_> = watching.store.services().map(|service| &*service.name.name).collect();
    assert_eq!(services, ["web"]);
    let node = watching.store.node().unwrap();
    assert_eq!(node.addresses, ["192.0.2.99".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(server.requests().len(), 3, "one list each is enough");
    assert_eq!(log.lines_with("Service: 2 listed, 1 in use").len(), 1);
    server.put(&service("web", 82));
    watching.agrees_with(&server).await;
}

#[tokio::test]
async fn pages_make_one_list() {
    let server = ApiServer::start();
    server.behave(|behaviour| {
        behaviour.streaming = Streaming::Refused(422);
        behaviour.page = 3;
    });
    for number in 1..=10 {
        server.put(&service(&format!("web-{number}"), number));
    }
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    assert_eq!(watching.store.services().count(), 10);
    let requests = server.requests();
    let pages = requests.iter().filter(|seen| seen.path == "/api/v1/services" && seen.is_list());
    let tokens: Vec<_> = pages.map(|page| page.parameter("continue").is_some()).collect();
    assert_eq!(tokens, [false, true, true, true]);
}

#[tokio::test]
async fn a_page_that_has_expired_begins_the_list_anew_and_whole() {
    let server = ApiServer::start();
    server.behave(|behaviour| {
        behaviour.streaming = Streaming::Refused(422);
        behaviour.page = 1;
        behaviour.delay = Duration::from_millis(20);
    });
    for number in 1..=20 {
        server.put(&service(&format!("web-{number}"), number));
    }
    let mut watching = Watching::new(&server).await;
    asked(&server, |seen| seen.parameter("continue").is_some()).await;
    server.compact();
    watching.agrees_with(&server).await;
    let requests = server.requests();
    assert!(requests.iter().any(|seen| seen.status == 410), "{requests:#?}");
    assert!(requests.iter().any(|seen| seen.is_list() && seen.parameter("limit").is_none()));
}

#[tokio::test]
async fn an_empty_cluster_is_a_complete_list_of_nothing() {
    for streaming in [Streaming::Served, Streaming::Refused(422)] {
        let server = ApiServer::start();
        server.behave(|behaviour| behaviour.streaming = streaming);
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        assert!(watching.store.is_complete());
        assert_eq!(watching.store.node(), None);
    }
}

#[tokio::test]
async fn an_object_that_makes_no_sense_hides_no_other() {
    for streaming in [Streaming::Served, Streaming::Refused(422)] {
        let server = small_cluster();
        server.behave(|behaviour| behaviour.streaming = streaming);
        server.put(
            "{kind: Service, metadata: {name: bad, namespace: shop, labels: 7}, spec: {clusterIP: 5}}\n---\n\
             {kind: Service, metadata: {name: ports, namespace: shop}, spec: {clusterIP: 10.96.0.9, \
             ports: [{port: abc}, {port: 70000}, {port: 80}]}}\n---\n\
             {kind: EndpointSlice, metadata: {name: nulls, namespace: shop, labels: \
             {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: null, ports: null}\n---\n\
             {kind: EndpointSlice, metadata: {name: lists, namespace: shop, labels: \
             {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: {}, ports: [[]]}\n",
        );
        server.put(&slice("other", "10.244.1.9"));
        let log = Log::begin();
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        let ports: Vec<_> = watching
            .store
            .services()
            .map(|service| (&*service.name.name, service.ports.len()))
            .collect();
        assert_eq!(ports, [("ports", 1), ("web", 1)]);
        let line = r#"Service shop/ports: spec.ports[0].port: "abc" is not a port (1–65535)"#;
        assert_eq!(log.lines_with(line).len(), 1);
        assert_eq!(log.lines_with("Service shop/bad: spec.clusterIP: 5 is not a string").len(), 1);
        assert_eq!(log.lines_with("EndpointSlice shop/lists: endpoints: an object").len(), 1);
        server.put(&service("web", 81));
        server.compact();
        server.disconnect();
        watching.agrees_with(&server).await;
        server.put(&service("web", 82));
        watching.agrees_with(&server).await;
        assert_eq!(log.lines_with(line).len(), 1, "a relist says nothing again");
    }
}

/// Puts `web` so that its cluster IP cannot be read, and a slice so that its family cannot be read.
fn spoil(server: &ApiServer) {
    server.put("{kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 5}}");
    let slice = slice("web", "10.244.1.9").replace("addressType: IPv4", "addressType: 4");
    server.put(&slice);
}

#[tokio::test]
async fn an_object_that_becomes_unreadable_stays_as_it_was_last_known() {
    for streaming in [Streaming::Served, Streaming::Refused(422)] {
        let server = small_cluster();
        server.behave(|behaviour| behaviour.streaming = streaming);
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        let known = format!("{:?}", watching.store);
        let log = Log::begin();
        // First by the watch, then by a list.
        spoil(&server);
        let service = "Service shop/web: spec.clusterIP: 5 is not a string";
        log.has(service).await;
        log.has("EndpointSlice shop/web-a: addressType: 4 is not a string").await;
        server.compact();
        server.disconnect();
        let event = watching.event().await;
        let is_partial = |event: &Event| {
            matches!(
                event,
                Event::Service(Update::PartlyListed(..)) | Event::Slice(Update::PartlyListed(..))
            )
        };
        let mut partial = usize::from(is_partial(&event));
        while partial < 2 {
            partial += usize::from(is_partial(&watching.event().await));
        }
        assert_eq!(format!("{:?}", watching.store), known);
        assert_eq!(log.lines_with(service).len(), 1, "it is told once");
        assert_eq!(log.lines_with("what was last known of the object stays in force").len(), 2);
        server.put(&self::service("web", 81));
        server.put(&slice("web", "10.244.1.9"));
        watching.agrees_with(&server).await;
        server.put("{kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 5}}");
        server.delete("Service", "shop", "web");
        while watching.store.services().count() > 0 {
            watching.event().await;
        }
    }
}

#[tokio::test]
async fn a_list_with_an_element_that_may_be_any_object_takes_none_away() {
    let server = small_cluster();
    server.put(&service("api", 82));
    server.behave(|behaviour| behaviour.streaming = Streaming::Refused(422));
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    for element in ["5", "null", r#"{"metadata":{"name":7},"spec":{"clusterIP":"10.96.0.3"}}"#] {
        let body = format!(
            r#"{{"kind":"ServiceList","apiVersion":"v1","metadata":{{"resourceVersion":"{}"}},"items":[{element}]}}"#,
            server.version() + 1
        );
        let is_for = |seen: &Seen| seen.path == "/api/v1/services" && seen.is_list();
        let headers = Vec::new();
        let canned = Canned { is_for, status: 200, headers, body };
        server.behave(|behaviour| behaviour.canned = Some(canned));
        server.compact();
        server.disconnect();
        loop {
            if let Event::Service(update) = watching.event().await {
                assert_eq!(update, Update::PartlyListed(vec![], Unread::Any), "{element}");
                break;
            }
        }
        assert_eq!(watching.store.services().count(), 2, "{element}");
        server.behave(|behaviour| behaviour.canned = None);
    }
    server.compact();
    server.delete("Service", "shop", "api");
    server.disconnect();
    watching.agrees_with(&server).await;
}
