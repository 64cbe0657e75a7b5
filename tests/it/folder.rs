//! Tests the folder of manifests: what it reads, what it refuses, and how it follows changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use ipvs_proxy::folder::{self, Folder, Problem};
use proxier::model::{Batch, Event, Update};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

mod mistakes;

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: 10.96.0.{port}\n  \
         ports:\n  - port: {port}\n"
    )
}

fn slice(name: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  labels:\n    \
         kubernetes.io/service-name: {name}\naddressType: IPv4\nendpoints:\n- addresses: [{address}]\n\
         ports:\n- port: 8080\n"
    )
}

fn node(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n    \
         topology.kubernetes.io/zone: zone-of-{name}\n"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// Returns one short line for each event.
fn shown(events: &[Event]) -> Vec<String> {
    events.iter().map(show).collect()
}

fn show(event: &Event) -> String {
    match event {
        Event::Node(node) => format!("node {:?}", node.as_ref().map(|node| &*node.name)),
        Event::Addresses(_) => "addresses".to_owned(),
        Event::Removed(removed) => format!("removed {removed:?}"),
        Event::ApiServer(address) => format!("API server {address}"),
        Event::OtherNodes(nodes) => format!("other nodes {nodes:?}"),
        Event::NodeReadiness(update) => format!("readiness {update:?}"),
        Event::Service(Update::Put(service)) => {
            format!("+{} {}", service.name, service.ports[0].port)
        }
        Event::Service(Update::Gone(name)) => format!("-{name}"),
        Event::Slice(Update::Put(slice)) => {
            format!("+slice {} {}", slice.name, slice.endpoints[0].address)
        }
        Event::Slice(Update::Gone(name)) => format!("-slice {name}"),
        Event::Service(update @ Update::PartlyListed(..)) => format!("services {update:?}"),
        Event::Slice(update @ Update::PartlyListed(..)) => format!("slices {update:?}"),
        Event::Service(Update::Listed(services)) => {
            let names: Vec<_> = services.iter().map(|service| service.name.to_string()).collect();
            format!("services {}", names.join(" "))
        }
        Event::Slice(Update::Listed(slices)) => {
            let names: Vec<_> = slices.iter().map(|slice| slice.name.to_string()).collect();
            format!("slices {}", names.join(" "))
        }
    }
}

fn load(path: &Path) -> (Vec<String>, Vec<String>) {
    let (events, problems) = folder::load(path, "node1").unwrap();
    (shown(&events), problems.iter().map(Problem::to_string).collect())
}

#[test]
fn all_kinds_are_listed_from_all_files_that_count() {
    let dir = folder(&[
        (
            "a.yaml",
            &format!("# two\n---\n{}---\n{}---\n", service("web", 80), slice("web", "10.0.0.1")),
        ),
        ("b.yml", &format!("{}---\n{}", node("node2"), node("node1"))),
        (
            "c.json",
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"j","namespace":"n"},"spec":{"clusterIP":"10.96.0.9","ports":[{"port":1}]}}"#,
        ),
        (".hidden.yaml", &service("hidden", 1)),
        ("notes.txt", "a: ["),
        ("web.yaml~", "a: ["),
        ("others.yaml", "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\n"),
        ("empty.yaml", ""),
    ]);
    fs::create_dir(dir.path().join("sub.yaml")).unwrap();
    symlink("nowhere", dir.path().join("dangling.yaml")).unwrap();
    let (events, problems) = load(dir.path());
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        events,
        ["node Some(\"node1\")", "slices default/web-1", "services default/web n/j"]
    );
}

#[test]
fn lists_are_opened() {
    let indent = |text: &str| text.trim_end().replace('\n', "\n  ");
    let mixed = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n- {}\n- null\n- {{kind: Pod, apiVersion: v1}}\n",
        indent(&service("web", 80)),
        indent(&slice("web", "10.0.0.1")),
        indent(&node("node1")),
    );
    let dir = folder(&[
        ("mixed.yaml", &mixed),
        (
            "services.yaml",
            "kind: ServiceList\napiVersion: v1\nitems: [{metadata: {name: s}, spec: {clusterIP: 10.96.0.2, ports: [{port: 2}]}}]\n",
        ),
        (
            "slices.yaml",
            "kind: EndpointSliceList\napiVersion: discovery.k8s.io/v1\nitems:\n- metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}\n  addressType: IPv4\n",
        ),
        ("nodes.yaml", "kind: NodeList\napiVersion: v1\nitems: null\n"),
    ]);
    let (events, problems) = load(dir.path());
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        events,
        [
            "node Some(\"node1\")",
            "slices default/s-1 default/web-1",
            "services default/s default/web"
        ]
    );
}

#[test]
fn a_single_file_can_be_loaded_whatever_its_name() {
    let dir = folder(&[("objects", &service("web", 80))]);
    let (events, _) = load(&dir.path().join("objects"));
    assert_eq!(events, ["node None", "slices ", "services default/web"]);
    let error = folder::load(&dir.path().join("no-such"), "n").unwrap_err().to_string();
    assert!(error.contains("no-such") && error.contains("No such file"), "{error}");
}

#[test]
fn a_broken_document_hides_nothing_else() {
    let dir = folder(&[
        (
            "a.yaml",
            &format!(
                "{}---\nspec: [1\n---\n{}---\na: b: c\n",
                service("one", 1),
                service("two", 2)
            ),
        ),
        ("b.yaml", &service("three", 3)),
        ("c.yaml", "kind: List\napiVersion: v1\nitems: [5]\n"),
        ("d.yaml", "just text\n"),
        ("e.yaml", "a: 1\na: 2\n"),
    ]);
    fs::write(dir.path().join("f.yaml"), b"\xff\xfe\x00").unwrap();
    let (events, problems) = load(dir.path());
    assert_eq!(events[2], "services default/one default/three default/two");
    let at = |file: &str| dir.path().join(file).display().to_string();
    let expected = [
        format!("{}: line 9, column", at("a.yaml")),
        format!("{}: line 19, column", at("a.yaml")),
        format!("{}: line 1, column 1: items[0]: 5 is not an object", at("c.yaml")),
        format!("{}: line 1, column 1: \"just text\" is not an object", at("d.yaml")),
        format!("{}: line 2, column 1: ", at("e.yaml")),
        format!("{}: invalid utf-8", at("f.yaml")),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(&expected), "{problem}\n{expected}");
        assert!(!problem.contains('\n'), "{problem}");
    }
}

#[test]
fn a_mistake_of_syntax_is_shown_where_it_is() {
    let head = "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: web\n";
    for (text, expected) in [
        ("spec:\n  clusterIP: 1: 2\n", "line 7, column 15: spec: mapping values"),
        ("spec:\n  ports:\n  - port: 80\n    port: 81\n", "line 9, column 5: spec.ports[0]: dupl"),
        ("spec:\n\tclusterIP: 1\n", "line 7, column 2: tabs"),
        ("spec:\n  clusterIP: \"1\n", "line 7, column 14: spec: unclosed quote"),
        ("spec:\n  clusterIP: *x\n", "line 7, column 14: spec: "),
    ] {
        let dir = folder(&[("a.yaml", &format!("{head}{text}"))]);
        let (_, problems) = load(dir.path());
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.contains(&format!("a.yaml: {expected}")), "{problem}\n{expected}");
    }
}

#[test]
fn a_bad_object_spoils_only_itself() {
    let bad = service("bad", 80).replace("port: 80", "port: 0");
    let dir = folder(&[("a.yaml", &format!("---\n{bad}---\n{}", service("good", 1)))]);
    let (events, problems) = load(dir.path());
    assert!(events[2].contains("default/good"), "{events:?}");
    let file = dir.path().join("a.yaml");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let expected = format!("{}:1: Service default/bad: spec.ports[0].port: ", file.display());
    assert!(problems[0].starts_with(&expected), "{problems:?}");
}

#[test]
fn of_an_object_in_two_files_the_first_counts() {
    let dir = folder(&[
        ("b.yaml", &service("web", 2)),
        ("a.yaml", &service("web", 1)),
        ("n.yaml", &format!("{}---\n{}", node("other"), node("other"))),
    ]);
    let (events, problems) = folder::load(dir.path(), "node1").unwrap();
    let Event::Service(Update::Listed(services)) = &events[2] else { panic!() };
    assert_eq!((services.len(), services[0].ports[0].port), (1, 1));
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    let path = |name| dir.path().join(name).display().to_string();
    assert_eq!(
        problem.to_string(),
        format!(
            "{}:1: Service default/web is ignored, because {}:1 has it too",
            path("b.yaml"),
            path("a.yaml")
        )
    );
}

/// A folder that is being followed.
struct Live {
    dir: TempDir,
    events: Receiver<Batch>,
}

impl Live {
    /// Follows a folder, and receives its lists.
    async fn start(files: &[(&str, &str)]) -> Self {
        Self::at(folder(files), "").await
    }

    async fn at(dir: TempDir, below: &str) -> Self {
        let (sender, events) = channel(64);
        let folder = Folder::open(&dir.path().join(below), "node1").unwrap();
        tokio::spawn(folder.follow(sender));
        let mut live = Self { dir, events };
        let lists = live.next().await;
        for (kind, list) in ["node ", "slices ", "services "].iter().zip(&lists) {
            assert!(list.starts_with(kind), "{list}");
        }
        assert_eq!(lists.len(), 3, "{lists:?}");
        live
    }

    /// Returns the events of the next look.
    async fn next(&mut self) -> Vec<String> {
        let batch = timeout(Duration::from_secs(20), self.events.recv()).await;
        shown(&batch.expect("no event").expect("the source has ended"))
    }

    async fn expect(&mut self, together: &[&str]) {
        assert_eq!(self.next().await, *together);
    }

    async fn expect_nothing(&mut self) {
        let event = timeout(Duration::from_millis(300), self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

#[tokio::test]
async fn only_differences_follow_the_lists() {
    let mut live = Live::start(&[("a.yaml", &service("web", 1)), ("n.yaml", &node("node1"))]).await;
    let both = format!("{}---\n{}", service("api", 2), slice("api", "10.0.0.1"));
    live.write("b.yaml", &both);
    live.expect(&["+slice default/api-1 10.0.0.1", "+default/api 2"]).await;

    live.write("b.yaml", &both.replace("10.0.0.1", "10.0.0.2"));
    live.expect(&["+slice default/api-1 10.0.0.2"]).await;

    live.write("b.yaml", &format!("# a comment\n{}", both.replace("10.0.0.1", "10.0.0.2")));
    live.expect_nothing().await;

    fs::rename(live.path("b.yaml"), live.path("c.yaml")).unwrap();
    live.expect_nothing().await;

    fs::remove_file(live.path("c.yaml")).unwrap();
    live.expect(&["-default/api", "-slice default/api-1"]).await;

    fs::remove_file(live.path("n.yaml")).unwrap();
    live.expect(&["node None"]).await;
    live.write("n.yaml", &node("node1"));
    live.expect(&["node Some(\"node1\")"]).await;
}

#[tokio::test]
async fn an_address_that_changes_hands_is_never_without_an_owner() {
    let services = |first, second| format!("{}---\n{}", service("a", first), service("b", second));
    let mut live = Live::start(&[("n.yaml", &node("node1")), ("s.yaml", &services(1, 2))]).await;
    live.write(".s.tmp", &services(2, 1));
    fs::rename(live.path(".s.tmp"), live.path("s.yaml")).unwrap();
    live.expect(&["+default/a 2", "+default/b 1"]).await;
}

#[tokio::test]
async fn an_atomic_replacement_is_one_change() {
    let mut live = Live::start(&[("a.yaml", &service("web", 1))]).await;
    live.write(".a.yaml.tmp", &service("web", 2));
    fs::rename(live.path(".a.yaml.tmp"), live.path("a.yaml")).unwrap();
    live.expect(&["+default/web 2"]).await;
    // The old file becomes a backup and the new one is written in its place, as an editor does.
    fs::rename(live.path("a.yaml"), live.path("a.yaml~")).unwrap();
    live.write("a.yaml", &service("web", 3));
    live.expect(&["+default/web 3"]).await;
    live.expect_nothing().await;
}

#[tokio::test]
async fn a_swapped_configmap_is_noticed() {
    let dir = TempDir::new().unwrap();
    for (version, port) in [("..1", 1), ("..2", 2)] {
        fs::create_dir(dir.path().join(version)).unwrap();
        fs::write(dir.path().join(version).join("web.yaml"), service("web", port)).unwrap();
    }
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("..data/web.yaml", dir.path().join("web.yaml")).unwrap();
    let mut live = Live::at(dir, "").await;
    symlink("..2", live.path("..data_tmp")).unwrap();
    fs::rename(live.path("..data_tmp"), live.path("..data")).unwrap();
    live.expect(&["+default/web 2"]).await;
    fs::remove_dir_all(live.path("..1")).unwrap();
    live.expect_nothing().await;
}

#[tokio::test]
async fn a_file_that_is_empty_for_a_moment_keeps_its_content() {
    let mut live = Live::start(&[("a.yaml", &service("web", 1))]).await;
    live.write("a.yaml", "");
    live.expect_nothing().await;
    live.write("a.yaml", &service("web", 2));
    live.expect(&["+default/web 2"]).await;
    live.write("a.yaml", "# nothing\n");
    live.expect_nothing().await;
    fs::remove_file(live.path("a.yaml")).unwrap();
    live.expect(&["-default/web"]).await;
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_last_good_content() {
    let good = format!("{}---\n{}", service("web", 1), service("api", 2));
    let mut live = Live::start(&[("a.yaml", &good)]).await;
    live.write("a.yaml", &format!("{}---\nspec: [\n", service("web", 9)));
    live.expect_nothing().await;
    live.write("b.yaml", &service("other", 3));
    live.expect(&["+default/other 3"]).await;
    live.write("a.yaml", &service("web", 9));
    live.expect(&["+default/web 9", "-default/api"]).await;
    live.write("a.yaml", "}");
    live.expect_nothing().await;
    fs::remove_file(live.path("a.yaml")).unwrap();
    live.expect(&["-default/web"]).await;
}

/// Writes a file in place, in two parts with a pause, and closes it. Checks that no event comes
/// before.
#[tokio::test]
async fn an_object_that_becomes_unreadable_stays_until_its_file_is_gone() {
    let mut live =
        Live::start(&[("a.yaml", &service("web", 1)), ("b.yaml", &service("api", 2))]).await;
    live.write("a.yaml", &service("web", 1).replace("clusterIP: 10.96.0.1", "clusterIP: 5"));
    live.expect_nothing().await;
    live.write("b.yaml", &service("api", 3));
    live.expect(&["+default/api 3"]).await;
    fs::remove_file(live.path("a.yaml")).unwrap();
    live.expect(&["-default/web"]).await;
}

#[tokio::test]
async fn a_list_with_an_item_that_is_no_object_keeps_its_last_good_content() {
    let item = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{"clusterIP":"10.96.0.1","ports":[{{"port":1}}]}}}}"#
        )
    };
    let list = |items: [&str; 2]| {
        format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
    };
    let (web, api) = (item("web"), item("api"));
    let mut live = Live::start(&[("a.json", &list([&web, &api]))]).await;
    live.write("a.json", &list([&web, "5"]));
    live.expect_nothing().await;
}

async fn write_slowly(live: &mut Live, name: &str, parts: [&str; 2]) {
    let mut file = fs::File::create(live.path(name)).unwrap();
    file.write_all(parts[0].as_bytes()).unwrap();
    // Longer than the folder has to be quiet, and longer than the limit of waiting for that.
    live.expect_nothing().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    live.expect_nothing().await;
    file.write_all(parts[1].as_bytes()).unwrap();
    live.expect_nothing().await;
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_read_when_it_is_closed() {
    let (one, two) = (service("one", 1), service("two", 2));
    let both = |port| format!("{}---\n{}", one.replace("port: 1", &format!("port: {port}")), two);
    let mut live = Live::start(&[("a.yaml", &both(1))]).await;
    // Half of the file would remove a Service.
    let whole = both(3);
    let parts = whole.split_at(whole.find("---").unwrap());
    write_slowly(&mut live, "a.yaml", [parts.0, parts.1]).await;
    live.expect(&["+default/one 3"]).await;
    // Half of this new file is already an object.
    let parts = (format!("{}---\n", service("new", 4)), slice("new", "10.0.0.1"));
    write_slowly(&mut live, "b.yaml", [&parts.0, &parts.1]).await;
    live.expect(&["+slice default/new-1 10.0.0.1", "+default/new 4"]).await;
    // Other files do not wait.
    let mut slow = fs::File::create(live.path("b.yaml")).unwrap();
    live.write("c.yaml", &service("other", 5));
    live.expect(&["+default/other 5"]).await;
    slow.write_all(format!("{}{}", parts.0, parts.1).as_bytes()).unwrap();
    drop(slow);
    live.expect_nothing().await;
}

#[tokio::test]
async fn a_writer_who_renames_what_he_still_writes_is_waited_for() {
    let mut live = Live::start(&[("a.yaml", &service("web", 1))]).await;
    let mut file = fs::File::create(live.path(".a.tmp")).unwrap();
    file.write_all(service("web", 2).replace("ports:", "").as_bytes()).unwrap();
    fs::rename(live.path(".a.tmp"), live.path("a.yaml")).unwrap();
    live.expect_nothing().await;
    file.set_len(0).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.write_all(service("web", 3).as_bytes()).unwrap();
    live.expect_nothing().await;
    drop(file);
    live.expect(&["+default/web 3"]).await;
}

#[tokio::test]
async fn the_first_lists_wait_for_a_file_that_somebody_writes() {
    let dir = folder(&[("a.yaml", &service("one", 1))]);
    let mut file = fs::File::create(dir.path().join("b.yaml")).unwrap();
    file.write_all(service("two", 2).as_bytes()).unwrap();
    let (sender, mut events) = channel(64);
    tokio::spawn(Folder::open(dir.path(), "node1").unwrap().follow(sender));
    assert!(timeout(Duration::from_millis(500), events.recv()).await.is_err());
    file.write_all(format!("---\n{}", service("three", 3)).as_bytes()).unwrap();
    drop(file);
    let lists = timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
    let wanted = "node None, slices , services default/one default/three default/two";
    assert_eq!(shown(&lists).join(", "), wanted);
}

#[tokio::test]
async fn links_and_files_of_elsewhere_are_whole_when_they_appear() {
    let elsewhere = folder(&[("web", &service("web", 1)), ("api", &service("api", 2))]);
    let mut live = Live::start(&[]).await;
    symlink(elsewhere.path().join("web"), live.path("web.yaml")).unwrap();
    live.expect(&["+default/web 1"]).await;
    fs::hard_link(elsewhere.path().join("api"), live.path("api.yaml")).unwrap();
    live.expect(&["+default/api 2"]).await;
}

/// Half of the file would take a Service away.
#[tokio::test]
async fn a_file_with_another_name_that_is_written_in_place_is_read_when_it_is_closed() {
    let both = |port| format!("{}---\n{}", service("one", port), service("two", 2));
    let mut live = Live::start(&[("a.yaml", &both(1)), (".target", &service("api", 5))]).await;
    fs::hard_link(live.path("a.yaml"), live.path(".other-name")).unwrap();
    live.expect_nothing().await;
    let whole = both(3);
    let parts = whole.split_at(whole.find("---").unwrap());
    write_slowly(&mut live, "a.yaml", [parts.0, parts.1]).await;
    live.expect(&["+default/one 3"]).await;
    // A file that was made as a link to one that is being written.
    let mut target = fs::OpenOptions::new().append(true).open(live.path(".target")).unwrap();
    fs::hard_link(live.path(".target"), live.path("b.yaml")).unwrap();
    live.expect_nothing().await;
    target.write_all(format!("---\n{}", service("web", 6)).as_bytes()).unwrap();
    drop(target);
    live.expect(&["+default/api 5", "+default/web 6"]).await;
}

#[tokio::test]
async fn a_file_behind_a_link_that_is_written_in_place_is_read_when_it_is_closed() {
    let both = |port| format!("{}---\n{}", service("one", port), service("two", 2));
    let dir = folder(&[(".target", &both(1))]);
    symlink(".target", dir.path().join("a.yaml")).unwrap();
    let mut live = Live::at(dir, "").await;
    let whole = both(3);
    let (first, second) = whole.split_at(whole.find("---").unwrap());
    let mut file = fs::File::create(live.path(".target")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    // Longer than a file has to be quiet that changes without a notice of its own.
    tokio::time::sleep(Duration::from_secs(4)).await;
    live.expect_nothing().await;
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    live.expect(&["+default/one 3"]).await;
}

#[tokio::test]
async fn when_the_first_of_two_goes_the_second_counts() {
    let mut live =
        Live::start(&[("a.yaml", &service("web", 1)), ("b.yaml", &service("web", 2))]).await;
    fs::remove_file(live.path("a.yaml")).unwrap();
    live.expect(&["+default/web 2"]).await;
}

#[tokio::test]
async fn a_folder_that_disappears_keeps_its_state_until_it_returns() {
    let dir = TempDir::new().unwrap();
    let below = dir.path().join("m");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("a.yaml"), service("web", 1)).unwrap();
    let mut live = Live::at(dir, "m").await;
    fs::rename(&below, live.path("away")).unwrap();
    live.expect_nothing().await;
    fs::create_dir(&below).unwrap();
    fs::write(below.join("a.yaml"), service("web", 2)).unwrap();
    live.expect(&["+default/web 2"]).await;
    fs::write(below.join("a.yaml"), service("web", 3)).unwrap();
    live.expect(&["+default/web 3"]).await;
    // The folder is replaced at once, perhaps with the same inode.
    fs::remove_dir_all(&below).unwrap();
    fs::create_dir(&below).unwrap();
    fs::write(below.join("a.yaml"), service("web", 4)).unwrap();
    loop {
        match &*live.next().await.concat() {
            "+default/web 4" => break,
            "-default/web" => {}
            other => panic!("{other}"),
        }
    }
    fs::write(below.join("a.yaml"), service("web", 5)).unwrap();
    live.expect(&["+default/web 5"]).await;
}

#[tokio::test]
async fn a_source_that_nobody_hears_ends() {
    let dir = folder(&[]);
    let (sender, mut events) = channel(64);
    let source = tokio::spawn(Folder::open(dir.path(), "node1").unwrap().follow(sender));
    events.recv().await.unwrap();
    drop(events);
    timeout(Duration::from_secs(5), source).await.unwrap().unwrap();
}

#[test]
fn a_folder_that_is_none_is_refused_at_the_start() {
    let dir = folder(&[("a.yaml", "")]);
    for (name, reason) in [("none", "No such file"), ("a.yaml", "Not a directory")] {
        let path = dir.path().join(name);
        let error = Folder::open(&path, "node1").unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(reason), "{error}");
        assert!(error.starts_with("manifests /"), "{error}");
    }
}

#[test]
fn json_says_what_the_same_objects_say_in_yaml() {
    let yaml = crate::recorded::Case::named("random-001").steps()[0].objects();
    let documents = ipvs_proxy::yaml::documents(&yaml);
    let mut items: Vec<serde_json::Value> = documents
        .into_iter()
        .filter_map(|document| serde_saphyr::from_str(document.text).ok())
        .collect();
    items.push(serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": 3}));
    // An error in an object affects only that object here too.
    items.push(serde_json::json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": "odd"},
        "spec": {"clusterIP": "10.96.9.9", "ports": [{"port": "x"}, null]},
    }));
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let (events, problems) = folder::load(&path, "node1").unwrap();
        (events, problems.iter().map(|p| p.to_string().replace(name, "")).collect::<Vec<_>>())
    };
    let list = serde_json::json!({"items": items, "kind": "List", "apiVersion": "v1"});
    let json = of("list.json", list.to_string());
    // The line that begins a document makes it YAML.
    assert_eq!(json, of("list.yaml", format!("---\n{list}")));
    assert_eq!(json.1.len(), 1, "{:?}", json.1);
    let (_, broken) = of("broken.json", "{\"kind\": \"List\",\n \"items\": [{]}".into());
    assert!(broken[0].contains("line 2"), "{broken:?}");
}
