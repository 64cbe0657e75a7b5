//! Tests how the source follows changes after the first lists.

use std::time::Duration;

use ipvs_proxy::watch::NodesWatched;
use proxier::model::{Event, NodeReadiness, Update};

use super::{Log, Watching, asked, node, service, slice, small_cluster};
use crate::apiserver::{ApiServer, Canned, Gone, Seen, Streaming};

/// Returns how many lists were answered.
pub(super) fn lists(server: &ApiServer) -> usize {
    let is_whole = |seen: &Seen| seen.is_streamed_list() || seen.is_list();
    server.requests().iter().filter(|seen| seen.status == 200 && is_whole(seen)).count()
}

#[tokio::test]
async fn each_change_is_one_event() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    server.put(&service("web", 81));
    let Event::Service(Update::Put(web)) = watching.event().await else { panic!("not a put") };
    assert_eq!(web.ports[0].port, 81);
    server.delete("EndpointSlice", "shop", "web-a");
    let Event::Slice(Update::Gone(name)) = watching.event().await else { panic!("not gone") };
    assert_eq!(name.to_string(), "shop/web-a");
    server.put(&node("node2", "192.0.2.12"));
    server.put(&node("node1", "192.0.2.13"));
    let Event::Node(Some(node)) = watching.event().await else { panic!("not a node") };
    assert_eq!(node.addresses[0].to_string(), "192.0.2.13");
    assert_eq!(lists(&server), 3);
}

#[tokio::test]
async fn a_problem_is_told_when_it_begins_and_when_it_is_over() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    let bad = |name: &str| slice(name, "10.244.1.5").replace("addresses: [10.", "addresses: [x.");
    server.put(&bad("web"));
    log.has("WARN ipvs_proxy::lasting: EndpointSlice shop/web-a: ").await;
    server.put(&slice("web", "10.244.1.6"));
    log.has(" s: EndpointSlice shop/web-a: ").await;
    server.put(&bad("other"));
    log.has("WARN ipvs_proxy::lasting: EndpointSlice shop/other-a: ").await;
    server.delete("EndpointSlice", "shop", "other-a");
    log.has(" s: EndpointSlice shop/other-a: ").await;
    assert_eq!(log.lines_with("INFO ipvs_proxy::lasting: over after ").len(), 2);
}

#[tokio::test]
async fn a_problem_that_ends_while_nothing_is_heard_is_told_after_the_next_list() {
    let server = small_cluster();
    let bad = |name: &str| slice(name, "10.244.1.5").replace("addresses: [10.", "addresses: [x.");
    for name in ["lasting", "mended", "deleted"] {
        server.put(&bad(name));
    }
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("WARN ipvs_proxy::lasting: EndpointSlice").len(), 3);
    server.stop();
    server.put(&slice("mended", "10.244.1.6"));
    server.delete("EndpointSlice", "shop", "deleted-a");
    server.put(&bad("late"));
    server.compact();
    server.restart();
    watching.agrees_with(&server).await;
    for name in ["mended", "deleted"] {
        log.has(&format!(" s: EndpointSlice shop/{name}-a: ")).await;
    }
    log.has("WARN ipvs_proxy::lasting: EndpointSlice shop/late-a: ").await;
    assert_eq!(log.lines_with("WARN ipvs_proxy::lasting: EndpointSlice").len(), 4);
    assert_eq!(log.lines_with(" s: EndpointSlice").len(), 2);
}

#[tokio::test]
async fn a_service_that_is_no_longer_ours_is_gone() {
    let server = small_cluster();
    server.put(&service("other", 80));
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    server
        .put("{kind: Service, metadata: {name: web, namespace: shop}, spec: {type: ExternalName}}");
    let gone = watching.event().await;
    assert!(matches!(gone, Event::Service(Update::Gone(name)) if &*name.name == "web"));
    server.put(
        "{kind: Service, metadata: {name: other, namespace: shop, labels: \
         {service.kubernetes.io/service-proxy-name: ''}}, spec: {clusterIP: 10.96.0.1}}",
    );
    let gone = watching.event().await;
    assert!(matches!(gone, Event::Service(Update::Gone(name)) if &*name.name == "other"));
}

#[tokio::test]
async fn a_node_that_is_deleted_stays_as_it_was() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    server.delete("Node", "", "node1");
    server.put(&service("web", 81));
    assert!(matches!(watching.event().await, Event::Service(Update::Put(_))));
    server.compact();
    server.disconnect();
    server.put(&service("web", 82));
    while watching.store.services().any(|service| service.ports[0].port != 82) {
        watching.event().await;
    }
    assert!(watching.store.node().is_some());
}

#[tokio::test]
async fn a_watch_that_ends_is_resumed_where_it_was() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    for round in 1..=3 {
        for (step, interrupt) in [ApiServer::disconnect, ApiServer::end_watches].iter().enumerate()
        {
            server.delete("EndpointSlice", "shop", "web-a");
            interrupt(&server);
            // Each watch brings something: one that keeps ending without a change is given up.
            let number = 10 * round + u16::try_from(step).unwrap();
            server.put(&service("web", number));
            server.put(&slice("web", &format!("10.244.1.{number}")));
            server.put(&node("node1", &format!("192.0.2.{number}")));
            watching.agrees_with(&server).await;
        }
    }
    assert_eq!(lists(&server), 3, "nothing was listed again");
}

#[tokio::test]
async fn a_bookmark_moves_the_place_to_resume_from() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    for number in 0..5 {
        server.put(&node("node2", &format!("192.0.2.{number}")));
    }
    server.bookmark();
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.disconnect();
    let is_slices = |seen: &Seen| seen.path.ends_with("endpointslices");
    let resumed = asked(&server, |seen| seen.is_resumed_watch() && is_slices(seen)).await;
    // There were three objects and five changes of another node: the slices' watch saw only the
    // bookmark.
    let version: u64 = resumed.parameter("resourceVersion").unwrap().parse().unwrap();
    assert!(version >= 8, "{version}");
}

#[tokio::test]
async fn a_version_that_is_too_old_leads_to_a_list() {
    for (gone, streaming) in [
        (Gone::InStream, Streaming::Served),
        (Gone::ByStatus, Streaming::Served),
        (Gone::InStream, Streaming::Refused(422)),
        (Gone::ByStatus, Streaming::Refused(422)),
    ] {
        let server = small_cluster();
        server.behave(|behaviour| {
            behaviour.gone = gone;
            behaviour.streaming = streaming;
        });
        server.put(&service("doomed", 80));
        let mut watching = Watching::new(&server).await;
        watching.agrees_with(&server).await;
        server.stop();
        let before = server.requests().len();
        server.delete("Service", "shop", "doomed");
        server.put(&service("new", 80));
        server.put(&slice("web", "10.244.1.6"));
        server.compact();
        server.restart();
        watching.agrees_with(&server).await;
        server.put(&service("new", 81));
        watching.agrees_with(&server).await;
        assert!(lists(&server) > 3, "{gone:?} {streaming:?}");
        // The server's cache may be older than what was known before.
        let is_list = |seen: &Seen| seen.is_list() || seen.is_streamed_list();
        let lists: Vec<_> = server.requests().into_iter().skip(before).filter(is_list).collect();
        assert!(!lists.is_empty());
        assert!(lists.iter().all(|list| list.parameter("resourceVersion").is_none()), "{lists:#?}");
    }
}

/// A small random generator with a period that no test reaches (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

#[tokio::test]
async fn nothing_is_lost_whatever_happens() {
    for seed in 1..=4 {
        let mut chance = Chance(seed);
        let server = small_cluster();
        server.behave(|behaviour| {
            behaviour.gone = if seed % 2 == 0 { Gone::InStream } else { Gone::ByStatus };
            behaviour.streaming =
                if seed < 3 { Streaming::Served } else { Streaming::Refused(422) };
            behaviour.page = 2;
        });
        let mut watching = Watching::new(&server).await;
        for _ in 0..150 {
            let name = format!("web-{}", chance.below(8));
            let number = u16::try_from(chance.below(60_000) + 1).unwrap();
            match chance.below(20) {
                0..5 => server.put(&service(&name, number)),
                5..9 => server.put(&slice(&name, &format!("10.244.1.{}", number % 250))),
                9..11 => server.delete("Service", "shop", &name),
                11..13 => server.delete("EndpointSlice", "shop", &format!("{name}-a")),
                13 => server.put(&node("node1", &format!("192.0.2.{}", number % 250))),
                14 => server.bookmark(),
                15 => server.end_watches(),
                16 => server.disconnect(),
                17 => server.compact(),
                18 if number % 4 == 0 => server.restart(),
                _ => watching.agrees_with(&server).await,
            }
        }
        watching.agrees_with(&server).await;
        // Events that are still under way must not change the result.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for event in std::iter::from_fn(|| watching.events.try_recv().ok()).flatten() {
            watching.store.fold(event, &mut proxier::model::Dirty::default());
        }
        watching.agrees_with(&server).await;
    }
}

#[tokio::test]
async fn the_readiness_of_every_node_is_told_when_it_differs() {
    let with = |name: &str, status: &str, beat: u8| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, status: {{conditions: [\
             {{type: MemoryPressure, status: 'False'}}, {{type: Ready, status: '{status}', \
             lastHeartbeatTime: '2026-01-01T00:00:0{beat}Z'}}]}}}}\n"
        )
    };
    let server = ApiServer::start();
    server.put(&with("node1", "True", 0));
    server.put(&with("node2", "True", 0));
    let mut watching = Watching::watching(&server.kubeconfig(), NodesWatched::All).await;
    let mut readiness = async || loop {
        if let Event::NodeReadiness(update) = watching.event().await {
            return update;
        }
    };
    let of = |name: &str, ready| NodeReadiness { name: name.into(), ready, addresses: vec![] };
    assert_eq!(readiness().await, Update::Listed(vec![of("node1", true), of("node2", true)]));
    // Only the time differs, so the next event is about the change after it.
    server.put(&with("node2", "True", 1));
    server.put(&with("node2", "Unknown", 2));
    assert_eq!(readiness().await, Update::Put(of("node2", false)));
    server.delete("Node", "", "node2");
    assert_eq!(readiness().await, Update::Gone("node2".into()));
}

#[tokio::test]
async fn the_addresses_of_all_nodes_are_read_once_a_service_has_one_outside() {
    let is_table = |seen: &Seen| seen.parameter("includeObject").is_some();
    let body = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","columnDefinitions":
        [{"name":"Name"},{"name":"Internal-IP"},{"name":"External-IP"}],
        "rows":[{"cells":["node1","192.0.2.11","<none>"]},{"cells":["node2","192.0.2.12","<none>"]}]}"#;
    let headers = Vec::new();
    let table = Canned { is_for: is_table, status: 200, headers, body: body.to_owned() };
    let server = small_cluster();
    server.behave(|behaviour| behaviour.canned = Some(table));
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    assert!(!server.requests().iter().any(is_table), "no Service has an address outside");
    server.put(
        "{kind: Service, metadata: {name: out, namespace: shop}, spec: {clusterIP: 10.96.0.7, \
         externalIPs: [192.0.2.11, 192.0.2.12], ports: [{port: 80}]}}",
    );
    let nodes = loop {
        if let Event::OtherNodes(nodes) = watching.event().await {
            break nodes;
        }
    };
    assert_eq!(nodes.len(), 2);
    let told: Vec<_> = watching.store.foreign_addresses().iter().map(ToString::to_string).collect();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.contains("shop/out") && told.contains("192.0.2.12 is the address of node node2"));
    let asked: Vec<_> = server.requests().into_iter().filter(is_table).collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].parameter("resourceVersion"), Some("0"));
}

#[tokio::test]
async fn a_refusal_of_the_addresses_of_all_nodes_is_told_and_costs_nothing() {
    let is_table = |seen: &Seen| seen.parameter("includeObject").is_some();
    let headers = Vec::new();
    let refusal = Canned { is_for: is_table, status: 403, headers, body: "no".to_owned() };
    let server = small_cluster();
    server.behave(|behaviour| behaviour.canned = Some(refusal));
    server.put(
        "{kind: Service, metadata: {name: out, namespace: shop}, spec: {clusterIP: 10.96.0.7, \
         externalIPs: [192.0.2.12], ports: [{port: 80}]}}",
    );
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    log.has("the addresses of other nodes cannot be read").await;
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("not reachable"), [""; 0]);
}
