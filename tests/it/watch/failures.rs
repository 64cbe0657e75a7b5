//! Tests what is logged when the API server cannot be used.

use std::path::PathBuf;
use std::time::Duration;

use ipvs_proxy::watch::{Api, ApiError, ApiSettings};

use super::changes::lists;
use super::{Log, Watching, service, small_cluster};
use crate::apiserver::{ApiServer, Canned, Seen};

#[tokio::test]
async fn a_refused_token_is_told_once_and_nothing_is_sent() {
    let server = small_cluster();
    let log = Log::begin();
    let mut watching = Watching::with(&server.kubeconfig_with_token("wrong")).await;
    log.has("HTTP 401: Unauthorized").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(watching.events.try_recv().is_err());
    let lines = log.lines_with("API server");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(&server.url()), "{lines:#?}");
    assert!(server.requests().len() > 5, "it keeps trying");
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_waited_for() {
    let server = small_cluster();
    server.stop();
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    log.has("Connection refused").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(log.lines_with(&server.url()).len(), 1);
    server.restart();
    watching.agrees_with(&server).await;
    log.has("over after ").await;
    let lines = log.lines_with(&server.url());
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[tokio::test]
async fn an_outage_changes_nothing_and_is_told_once() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    server.stop();
    log.has("Connection refused").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(watching.events.try_recv().is_err());
    server.put(&service("web", 81));
    server.restart();
    watching.agrees_with(&server).await;
    log.has("over after ").await;
    assert_eq!(log.lines_with("WARN ipvs_proxy::lasting: ").len(), 1);
    assert_eq!(lists(&server), 3, "the versions are as good as they were");
}

#[tokio::test]
async fn a_version_that_is_refused_three_times_leads_to_a_list() {
    let server = small_cluster();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    let is_for = |seen: &Seen| seen.path == "/api/v1/services" && seen.is_resumed_watch();
    let (headers, body) = (Vec::new(), "that is no version of mine".to_owned());
    let refusal = Canned { is_for, status: 400, headers, body };
    server.behave(|behaviour| behaviour.canned = Some(refusal));
    let log = Log::begin();
    server.disconnect();
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    log.has("HTTP 400: that is no version of mine").await;
    log.has("over after ").await;
    let of_services = |seen: &Seen| seen.path == "/api/v1/services";
    let requests = super::asked_like(&server, 5, of_services).await;
    let kinds: Vec<_> = requests.iter().map(Seen::is_streamed_list).collect();
    assert_eq!(kinds, [true, false, false, false, true], "{requests:#?}");
}

#[tokio::test]
async fn one_kind_that_is_forbidden_is_told_and_the_others_go_on() {
    let server = small_cluster();
    server.behave(|behaviour| behaviour.refuse = Some(("/apis/discovery", 403)));
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    watching.event().await;
    watching.event().await;
    log.has("HTTP 403: refused by the test").await;
    assert!(!watching.store.is_complete());
    server.behave(|behaviour| behaviour.refuse = None);
    watching.agrees_with(&server).await;
    assert_eq!(log.lines_with("over after ").len(), 1);
}

#[tokio::test]
async fn every_outage_is_told_while_one_kind_is_forbidden_for_good() {
    let server = small_cluster();
    server.behave(|behaviour| behaviour.refuse = Some(("/api/v1/nodes", 403)));
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    watching.event().await;
    watching.event().await;
    log.has("HTTP 403: refused by the test").await;
    for turn in 1..3 {
        server.stop();
        log.has_times("Connection refused (os error 111); trying again", turn).await;
        // Every watch has to notice the outage.
        tokio::time::sleep(Duration::from_millis(600)).await;
        server.put(&service("web", 80 + u16::try_from(turn).unwrap()));
        server.restart();
        watching.event().await;
        log.has_times("over after ", turn).await;
    }
    assert_eq!(log.lines_with("HTTP 403").len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_list_takes_nothing_away() {
    let server = small_cluster();
    let log = Log::begin();
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    server.behave(|behaviour| behaviour.refuse = Some(("/", 200)));
    server.compact();
    server.disconnect();
    log.has("answer not understood").await;
    assert!(watching.events.try_recv().is_err());
    let tries = server.requests().len();
    super::asked_times(&server, tries + 9).await;
    assert_eq!(log.lines_with("answer not understood").len(), 1);
    assert_eq!(log.lines_with("over after ").len(), 0, "an answer alone is no work");
    server.behave(|behaviour| behaviour.refuse = None);
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
}

#[tokio::test]
async fn watches_that_end_at_once_are_told_of_once() {
    let server = small_cluster();
    let log = Log::begin();
    server.behave(|behaviour| behaviour.brief = true);
    let mut watching = Watching::new(&server).await;
    watching.agrees_with(&server).await;
    log.has_times("ends each watch at once", 3).await;
    let tries = server.requests().len();
    super::asked_times(&server, tries + 20).await;
    assert_eq!(log.lines_with("ends each watch at once").len(), 3, "one for each kind");
    server.behave(|behaviour| behaviour.brief = false);
    // Every watch has begun after that.
    let tries = server.requests().len();
    super::asked_times(&server, tries + 3).await;
    server.put(&service("web", 81));
    watching.agrees_with(&server).await;
    log.has("Service: watches bring changes again").await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_told() {
    let (server, other) = (small_cluster(), ApiServer::start());
    let log = Log::begin();
    let kubeconfig = other.kubeconfig().replace(&other.url(), &server.url());
    let _watching = Watching::with(&kubeconfig).await;
    log.has("invalid peer certificate").await;
}

#[tokio::test]
async fn master_wins_over_the_kubeconfig() {
    let server = small_cluster();
    let file = tempfile::NamedTempFile::new().unwrap();
    let kubeconfig = server.kubeconfig().replace(&server.url(), "https://192.0.2.1:1");
    std::fs::write(file.path(), kubeconfig).unwrap();
    let kubeconfig = Some(file.path().to_owned());
    let settings = ApiSettings { kubeconfig, master: Some(server.url()), ..ApiSettings::default() };
    assert_eq!(Api::new(&settings).await.unwrap_or_else(|_| panic!()).url(), server.url());
    let settings = ApiSettings { master: Some("10.0.0.1:8080".to_owned()), ..Default::default() };
    assert_eq!(
        Api::new(&settings).await.unwrap_or_else(|_| panic!()).url(),
        "http://10.0.0.1:8080"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_in_one_line() {
    let error = async |settings: ApiSettings| match Api::new(&settings).await {
        Ok(_) => panic!("usable"),
        Err(error) => error,
    };
    let missing = PathBuf::from("/nonexistent/kubeconfig");
    let missing = error(ApiSettings { kubeconfig: Some(missing), ..Default::default() }).await;
    assert!(missing.to_string().starts_with("kubeconfig /nonexistent/kubeconfig: "), "{missing}");
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "clusters: {").unwrap();
    let broken = Some(file.path().to_owned());
    let broken = error(ApiSettings { kubeconfig: broken, ..Default::default() }).await;
    assert!(matches!(broken, ApiError::Kubeconfig { .. }), "{broken}");
    assert!(!broken.to_string().contains('\n'), "{broken}");
    let master = error(ApiSettings { master: Some("ht tp://".to_owned()), ..Default::default() });
    assert!(matches!(master.await, ApiError::Master { .. }));
}
