//! Tests `dump` without a kernel: the local socket, the source of names, and the documented form.
//!
//! Takes a core that has planned, real sockets, and the binary. Returns names and texts. Does not
//! use a kernel with IPVS: `tests/netns/dump.rs` does.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipvs_proxy::dump::agent::Knowledge;
use ipvs_proxy::dump::{Dump, Names, NamesFrom, Question, Questions, agent, ask, names};
use ipvs_proxy::folder;
use ipvs_proxy::kernel::snapshot::{HeldDestination, HeldServer, KernelSnapshot};
use proxier::Proxier;
use proxier::model::{Event, Family, PerFamily, Protocol, ServiceName};
use proxier::plan::{
    ChainKey, Entry, Jump, Rules, ServerSettings, SetKey, SetName, VirtualServerKey,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Sender;

use crate::watch::{Log, settle};

const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.3
  externalIPs: [203.0.113.7]
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: odd, port: 30080, nodePort: 30081}
---
apiVersion: v1
kind: Service
metadata: {name: one, namespace: shop}
spec: {clusterIP: 'fd00::3', ipFamilies: [IPv6], ports: [{port: 53, protocol: UDP}]}
";

fn planned() -> Proxier {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), OBJECTS).unwrap();
    let mut proxier = Proxier::new(proxier::testing::settings());
    let (events, problems) = folder::load(folder.path(), "node1").unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    events.into_iter().for_each(|event| proxier.fold(event));
    let address = |text: &str| proxier::model::InterfaceAddress {
        device: "eth0".into(),
        address: text.parse().unwrap(),
    };
    proxier.fold(Event::Addresses(vec![address("192.0.2.11/24")]));
    proxier.plan();
    proxier
}

fn shown(names: &Names) -> Vec<String> {
    names.iter().map(|name| format!("{} {} {}", name.key, name.service, name.port)).collect()
}

const SHOWN: [&str; 7] = [
    "10.96.0.3:80/tcp shop/web http",
    "10.96.0.3:30080/tcp shop/web odd",
    "192.0.2.11:30080/tcp shop/web http",
    "192.0.2.11:30081/tcp shop/web odd",
    "203.0.113.7:80/tcp shop/web http",
    "203.0.113.7:30080/tcp shop/web odd",
    "[fd00::3]:53/udp shop/one ",
];

#[test]
fn every_frontend_has_the_name_of_its_service_and_port() {
    assert_eq!(shown(&names(&planned())), SHOWN);
}

/// Asks for names in a thread of its own, as another process would.
async fn asked(path: &Path) -> io::Result<Names> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || ask::ask(&path)).await.unwrap()
}

/// Answers at this path for a proxy that has synced.
fn start(path: &Path, names: Sender<Question>) -> io::Result<()> {
    agent::start(path, Knowledge { node: "node1".into(), names, is_ready: Box::new(|| true) })
}

#[tokio::test]
async fn names_are_told_at_a_socket_that_is_roots_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/here.sock");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    let proxier = planned();
    for _ in 0..2 {
        let (names, ()) = tokio::join!(asked(&path), async {
            ipvs_proxy::dump::reply(questions.next().await, &proxier);
        });
        assert_eq!(shown(&names.unwrap()), SHOWN);
    }
}

#[tokio::test]
async fn a_socket_that_another_process_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(asked(&path).await.is_err(), "nobody listens");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    let proxier = planned();
    let answering = async { ipvs_proxy::dump::reply(questions.next().await, &proxier) };
    let (names, ()) = tokio::join!(asked(&path), answering);
    assert_eq!(names.unwrap().len(), SHOWN.len());
}

#[tokio::test]
async fn who_asks_is_told_when_there_will_be_no_answer_and_others_are_served_after_him() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    // The thread that knows the names ends while a client waits.
    let (names, ()) = tokio::join!(asked(&path), async { drop(questions.next().await) });
    assert!(names.unwrap_err().to_string().contains("no answer"));
    let proxier = planned();
    let answering = async { ipvs_proxy::dump::reply(questions.next().await, &proxier) };
    let (names, ()) = tokio::join!(asked(&path), answering);
    assert_eq!(names.unwrap().len(), SHOWN.len());
}

#[tokio::test]
async fn a_proxy_that_has_not_listed_everything_gives_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    let proxier = Proxier::new(proxier::testing::settings());
    let answering = async { ipvs_proxy::dump::reply(questions.next().await, &proxier) };
    let (names, ()) = tokio::join!(asked(&path), answering);
    assert!(names.unwrap_err().to_string().contains("not listed everything"));
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_an_error() {
    let (ask, _questions) = Questions::channel(1);
    assert!(start(Path::new("/proc/nowhere/here.sock"), ask).is_err());
}

/// Tests run as root, or the last case has no meaning.
#[tokio::test]
async fn a_folder_in_which_others_can_put_a_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let try_there = || {
        let (ask, _questions) = Questions::channel(1);
        start(&path, ask).map_err(|error| error.to_string())
    };
    let allow =
        |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    allow(0o777);
    let said = try_there().unwrap_err();
    assert!(said.contains("writable for everybody") && said.contains("localSocket"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    allow(0o775);
    let said = try_there().unwrap_err();
    assert!(said.contains("writable for its group") && said.contains("localSocket"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for sticky in [0o1777, 0o1775] {
        allow(sticky);
        try_there().unwrap();
        fs::remove_file(&path).unwrap();
    }
    allow(0o700);
    if std::os::unix::fs::chown(folder.path(), Some(12_345), None).is_ok() {
        let said = try_there().unwrap_err();
        assert!(said.contains("user 12345") && said.contains("localSocket"), "{said}");
    }
}

/// A user who may rename a folder above it can put another one in its place.
#[tokio::test]
async fn a_folder_above_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let above = folder.path().join("above");
    fs::create_dir_all(above.join("own")).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o770)).unwrap();
    let (ask, _questions) = Questions::channel(1);
    let error = start(&above.join("own/here.sock"), ask).unwrap_err().to_string();
    let wanted = format!("{} is writable for its group", above.display());
    assert!(error.contains(&wanted), "{error}");
    // A link does not hide it either.
    std::os::unix::fs::symlink(above.join("own"), folder.path().join("link")).unwrap();
    let (ask, _questions) = Questions::channel(1);
    assert!(start(&folder.path().join("link/here.sock"), ask).is_err());
}

/// The file that a killed process with the same number has left does not prevent a start.
#[tokio::test]
async fn a_socket_that_was_never_named_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join(format!(".{}", std::process::id()));
    fs::create_dir(&closed).unwrap();
    drop(UnixListener::bind(closed.join("s")).unwrap());
    let (ask, _questions) = Questions::channel(1);
    start(&folder.path().join("here.sock"), ask).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A client that sends these words and keeps its side of the connection open.
async fn caller(path: &Path, words: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(words).await.unwrap();
    stream
}

/// Returns true if the connection has ended, after some time for data that is under way.
async fn has_ended(stream: &UnixStream) -> bool {
    settle(Duration::from_millis(50)).await;
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn who_says_too_much_or_nothing_is_not_listened_to_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, _questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    tokio::time::pause();
    assert!(has_ended(&caller(&path, &[b'x'; 17]).await).await, "no request is so long");
    let silent = caller(&path, b"ready").await;
    assert!(!has_ended(&silent).await, "more may come");
    tokio::time::advance(Duration::from_millis(2100)).await;
    assert!(has_ended(&silent).await);
}

#[tokio::test]
async fn no_more_than_sixteen_are_listened_to_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, _questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    tokio::time::pause();
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(caller(&path, b"ready").await);
    }
    for one in &all {
        assert!(!has_ended(one).await);
    }
    assert!(has_ended(&caller(&path, b"").await).await, "there is no room for it");
    tokio::time::advance(Duration::from_millis(2100)).await;
    for one in &all {
        assert!(has_ended(one).await);
    }
    tokio::time::resume();
    assert!(tokio::task::spawn_blocking(move || ask::is_ready(&path)).await.unwrap().unwrap());
}

#[test]
fn more_than_the_names_of_a_big_cluster_are_not_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let teller = std::thread::spawn(move || {
        let names =
            r#"{"apiVersion":"ipvs-proxy.io/v1alpha1","kind":"Names","node":"n","frontends":[]}"#;
        for blanks in [0, 64 << 20] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            // The reader may close the connection earlier.
            let _ = stream
                .write_all(&vec![b' '; blanks])
                .and_then(|()| stream.write_all(names.as_bytes()));
        }
    });
    assert_eq!(ask::ask(&path).unwrap().len(), 0);
    assert!(ask::ask(&path).is_err());
    teller.join().unwrap();
}

/// Single bytes at long intervals do not extend the limit, and neither does a queue that is not
/// read.
#[test]
fn who_says_too_little_is_not_waited_for_longer_than_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let drip = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begin = std::time::Instant::now();
    let error = ask::ask_within(&path, Duration::from_millis(300)).unwrap_err();
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drip.join().unwrap();
}

#[test]
fn a_control_character_of_a_name_is_spelled_out_in_the_table() {
    let name = ipvs_proxy::dump::Name {
        key: held().servers[0].key,
        service: ServiceName::new("shop", "a\u{1b}[2Jb"),
        port: "x\ny".into(),
    };
    let table = Dump::new(&held(), &vec![name], NamesFrom::Agent).to_string();
    assert!(table.contains("shop/a\\u{1b}[2Jb:x\\ny"), "{table}");
}

fn held() -> KernelSnapshot {
    let key = |address: &str, port| VirtualServerKey {
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        port,
    };
    let affinity = proxier::model::Affinity::ClientIp { timeout: 10_800 };
    let destination = |text: &str, weight, active| HeldDestination {
        address: text.parse().unwrap(),
        weight,
        active,
        inactive: 1,
        forwarding: "masquerade",
    };
    let server = |key, affinity, destinations| HeldServer {
        key,
        settings: ServerSettings::new(&"rr".into(), affinity),
        destinations,
    };
    let mut held = KernelSnapshot {
        servers: vec![
            server(
                key("10.96.0.3", 80),
                affinity,
                vec![destination("10.244.1.2:8080", 1, 3), destination("10.244.2.2:8080", 0, 2)],
            ),
            server(key("172.31.0.5", 80), proxier::model::Affinity::None, vec![]),
        ],
        addresses: Some(BTreeSet::from(["10.96.0.3".parse().unwrap()])),
        ..KernelSnapshot::default()
    };
    let set = SetKey { family: Family::V4, name: SetName::ClusterIp };
    let entry = Entry::AddressPort("10.96.0.3".parse().unwrap(), Protocol::Tcp, 80);
    held.sets.sets.insert(set, BTreeSet::from([entry]));
    held.sets.capacities.insert(set, 65_536);
    let rules = Rules {
        chains: [(ChainKey::ALL[0], vec!["-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT".into()])]
            .into(),
        jumps: [Jump::ALL[0]].into(),
    };
    held.rules = PerFamily { v4: Some(rules), v6: None };
    held
}

fn joined() -> Dump {
    let name = ipvs_proxy::dump::Name {
        key: held().servers[0].key,
        service: ServiceName::new("shop", "web"),
        port: "http".into(),
    };
    Dump::new(&held(), &vec![name], NamesFrom::Agent)
}

#[test]
fn the_json_form_is_the_documented_one() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dump.md");
    let manual = fs::read_to_string(manual).unwrap();
    let example = manual.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let documented: Value = serde_json::from_str(example).unwrap();
    assert_eq!(serde_json::to_value(joined()).unwrap(), documented);
}

#[test]
fn the_table_says_the_frontend_once_and_marks_what_drains() {
    let table = joined().to_string();
    let lines: Vec<_> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        lines[..4],
        [
            "FRONTEND SERVICE SCHEDULER AFFINITY DESTINATION WEIGHT ACTIVE INACTIVE",
            "10.96.0.3:80/TCP shop/web:http rr 10800s 10.244.1.2:8080 1 3 1",
            "10.244.2.2:8080 0 2 1 draining",
            "172.31.0.5:80/TCP - rr - -",
        ]
    );
    for line in [
        "KUBE-CLUSTER-IP hash:ip,port 1 65536",
        "10.96.0.3,tcp:80",
        "IPv4 nat OUTPUT -> KUBE-SERVICES",
        "kube-ipvs0 (1)",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}: {table}");
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ipvs-proxy")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (Value, String) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}")), said)
}

/// Checks who provides names, and what is logged about it, whatever the kernel of this machine is.
#[test]
fn without_a_running_proxy_names_come_from_what_is_given_or_from_nobody() {
    let nowhere = "--socket=/nowhere/here.sock";
    let (dump, said_of) = said(&run(&["dump", "-o", "json", nowhere]));
    assert_eq!(dump["namesFrom"], "nobody");
    assert!(
        said_of.contains("/nowhere/here.sock") && said_of.contains("without names"),
        "{said_of}"
    );

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), OBJECTS).unwrap();
    let manifests = format!("--manifests={}", folder.path().display());
    let (dump, said_of) = said(&run(&["dump", "--output=json", nowhere, &manifests]));
    assert_eq!(dump["namesFrom"], "manifests");
    assert!(!said_of.contains("without names"), "{said_of}");

    let server = crate::apiserver::ApiServer::start();
    server.replace_all(OBJECTS);
    server.put("{apiVersion: v1, kind: Node, metadata: {name: node1}}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), server.kubeconfig()).unwrap();
    let kubeconfig = format!("--kubeconfig={}", file.path().display());
    let node = "--hostname-override=node1";
    let (dump, said_of) = said(&run(&["dump", "--output=json", nowhere, &kubeconfig, node]));
    assert_eq!(dump["namesFrom"], "api", "{said_of}");
    // Credentials are never shown.
    let kubeconfig: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    let token = kubeconfig["users"][0]["user"]["token"].as_str().unwrap();
    assert!(token.len() > 3 && !dump.to_string().contains(token) && !said_of.contains(token));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (arguments, code) in [
        (&["dump", "-o", "xml"][..], 2),
        (&["dump", "--config=/nowhere/config"], 1),
        (&["dump", "stray"], 2),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
}

/// The thread that knows the names may be busy with its first round for minutes, and clients may
/// dump meanwhile.
#[tokio::test]
async fn readiness_is_told_at_any_time_and_only_after_the_first_sync() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (names, _questions) = Questions::channel(1);
    let has_synced = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&has_synced);
    let is_ready = Box::new(move || known.load(Ordering::Relaxed));
    agent::start(&path, Knowledge { node: "node1".into(), names, is_ready }).unwrap();
    // These are not answered, and their requests are not even read to the end.
    let _dump = tokio::spawn(asked_twice(path.clone()));
    let _silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let ready = || {
        let socket = format!("--socket={}", path.display());
        tokio::task::spawn_blocking(move || run(&["ready", &socket]))
    };
    let output = ready().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "ipvs-proxy: not ready: the first sync has not succeeded yet\n");
    has_synced.store(true, Ordering::Relaxed);
    let output = ready().await.unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"ready\n"[..]));
}

async fn asked_twice(path: PathBuf) {
    let _ = tokio::join!(asked(&path), asked(&path));
}

#[test]
fn where_no_proxy_runs_none_is_ready() {
    let output = run(&["ready", "--socket=/nowhere/here.sock"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("no answer at /nowhere/here.sock: No such file"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_somebody_removes_is_made_again() {
    let log = Log::begin();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/here.sock");
    let (ask, _questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    settle(Duration::from_millis(50)).await;
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(30)).await;
        settle(Duration::from_millis(50)).await;
    }
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let here = path.display().to_string();
    assert_eq!(log.lines_with(&here).len(), 1, "{:?}", log.lines_with(&here));
    let asked = tokio::task::spawn_blocking(move || ask::is_ready(&path));
    assert!(asked.await.unwrap().unwrap());
}

/// Two network namespaces may share a folder.
#[tokio::test]
async fn the_socket_of_a_process_that_lives_stays_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    let (other, _others_questions) = Questions::channel(1);
    let error = start(&path, other).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    assert!(error.to_string().contains("choose another localSocket"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let proxier = planned();
    let answering = async { ipvs_proxy::dump::reply(questions.next().await, &proxier) };
    let (names, ()) = tokio::join!(asked(&path), answering);
    assert_eq!(names.unwrap().len(), SHOWN.len());
}

/// A client waits longer than a round, but not without end.
#[tokio::test]
async fn a_thread_that_is_busy_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("here.sock");
    let (ask, mut questions) = Questions::channel(1);
    start(&path, ask).unwrap();
    let proxier = planned();
    let (names, ()) = tokio::join!(asked(&path), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        questions.answer(&proxier);
    });
    assert_eq!(names.unwrap().len(), SHOWN.len());
}
