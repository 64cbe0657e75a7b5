//! Tests the manifests: every object fits the API's schemas and asks for no more rights than it
//! needs.
//!
//! Takes the folder `manifests`, and the proxy's requests to the test API server. Reads objects as
//! kustomize would render them, strictly by the API's own types. Does not use a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ipvs_proxy::cli::{Command, parse};
use ipvs_proxy::config::DEFAULT_SOCKET;
use ipvs_proxy::config::{self, Environment, Flags, Source};
use ipvs_proxy::events::{self, Event, Kind, Regarding};
use ipvs_proxy::watch::{self, Api, ApiSettings, NodesWatched, Retry};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use proxier::model::ServiceName;
use serde_json::Value;
use tokio::sync::mpsc;

use self::render::render;
use crate::apiserver::{ApiServer, Seen};

mod render;
pub(crate) mod schema;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests"))
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

const FOLDERS: [&str; 4] = ["daemonset", "base", "overlays/kubeadm", "overlays/kind"];

#[test]
fn every_object_is_what_the_api_knows_and_nothing_else() {
    for folder in FOLDERS {
        for object in render(&root().join(folder)) {
            let odd = schema::oddities(&object);
            let name = &object["metadata"]["name"];
            assert!(odd.is_empty(), "{folder}: {} {name}: {odd:?}", object["kind"]);
        }
    }
}

#[test]
fn a_misspelt_field_would_be_found() {
    let mut objects = render(&root().join("base"));
    let daemon_set = objects.iter_mut().find(|object| object["kind"] == "DaemonSet").unwrap();
    daemon_set["spec"]["template"]["spec"]["hostNetwrk"] = true.into();
    daemon_set["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilites"] =
        serde_json::json!({"drop": ["ALL"]});
    assert_eq!(
        schema::oddities(daemon_set),
        [
            "spec.template.spec.containers[0].securityContext.capabilites",
            "spec.template.spec.hostNetwrk"
        ]
    );
    daemon_set["spec"]["template"]["spec"]["hostNetwork"] = "yes".into();
    assert!(schema::oddities(daemon_set)[0].contains("hostNetwork"));
}

#[test]
fn every_file_belongs_to_a_kustomization_or_the_demo() {
    let mut used = BTreeSet::new();
    for folder in FOLDERS {
        render::files(&root().join(folder), &mut used);
    }
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("demo") => {}
                true => open.push(path),
                false => assert!(used.contains(&path.canonicalize().unwrap()), "{path:?}"),
            }
        }
    }
}

/// Checks selectors and labels, and references to volumes, accounts and roles. The schemas do not
/// connect them.
#[test]
fn what_an_object_refers_to_is_there() {
    for (folder, account, settings) in [
        ("base", "ipvs-proxy", "ipvs-proxy"),
        ("overlays/kind", "ipvs-proxy", "ipvs-proxy"),
        ("overlays/kubeadm", "kube-proxy", "kube-proxy"),
    ] {
        let objects = render(&root().join(folder));
        let daemon_set = named(&objects, "DaemonSet", account);
        let (spec, template) = (&daemon_set["spec"], &daemon_set["spec"]["template"]);
        assert_eq!(spec["selector"]["matchLabels"], template["metadata"]["labels"], "{folder}");
        let pod = &template["spec"];
        assert_eq!(pod["serviceAccountName"], account);
        assert_eq!(pod["volumes"][0]["configMap"]["name"], settings);
        let volumes: BTreeSet<_> = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| &volume["name"])
            .map(text)
            .collect();
        let mut mounted = BTreeSet::new();
        for container in ["initContainers", "containers"] {
            for mount in pod[container][0]["volumeMounts"].as_array().unwrap() {
                mounted.insert(text(&mount["name"]));
            }
        }
        assert_eq!(volumes, mounted, "{folder}");
        if folder != "overlays/kubeadm" {
            named(&objects, "ServiceAccount", account);
            named(&objects, "ConfigMap", settings);
            let binding = named(&objects, "ClusterRoleBinding", account);
            assert_eq!(
                binding["roleRef"]["name"],
                named(&objects, "ClusterRole", account)["metadata"]["name"]
            );
            assert_eq!(binding["subjects"][0]["name"], account);
        }
    }
}

#[test]
fn the_overlay_for_kubeadm_is_kube_proxy_with_another_executable() {
    let objects = render(&root().join("overlays/kubeadm"));
    assert_eq!(objects.len(), 1, "the ConfigMap, account and rights are kubeadm's");
    let daemon_set = named(&objects, "DaemonSet", "kube-proxy");
    assert_eq!(daemon_set["metadata"]["namespace"], "kube-system");
    assert_eq!(daemon_set["spec"]["selector"]["matchLabels"]["k8s-app"], "kube-proxy");
    let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["name"], "kube-proxy");
    assert_eq!(
        container["command"],
        serde_json::json!([
            "/usr/local/bin/kube-proxy",
            "--config=/var/lib/kube-proxy/config.conf",
            "--hostname-override=$(NODE_NAME)"
        ])
    );
    // A probe would have to name a port, which kubeadm's ConfigMap chooses or disables.
    for field in ["livenessProbe", "startupProbe", "ports"] {
        assert_eq!(container.get(field), None);
    }
}

/// The next node's pod is replaced only after this node's has been ready for a while.
#[test]
fn an_image_that_does_not_come_up_stops_at_the_first_node() {
    for folder in ["base", "overlays/kubeadm", "overlays/kind"] {
        let objects = render(&root().join(folder));
        let daemon_set = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
        let spec = &daemon_set["spec"];
        assert!(spec["minReadySeconds"].as_u64().is_some_and(|seconds| seconds > 0), "{folder}");
        assert_eq!(spec["updateStrategy"]["type"], "RollingUpdate");
        assert_eq!(spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1, "{folder}");
        let container = &spec["template"]["spec"]["containers"][0];
        let command = container["readinessProbe"]["exec"]["command"].as_array().unwrap();
        let words: Vec<_> = command.iter().map(text).collect();
        let Ok(Command::Ready(ready)) = parse(words) else { panic!("{folder}: {command:?}") };
        // This is where the proxy answers if its settings name no other place. It may write to the
        // folder.
        assert_eq!(ready.path(), Path::new(DEFAULT_SOCKET));
        let is_its_folder = |mount: &Value| {
            Path::new(text(&mount["mountPath"])) == ready.path().parent().unwrap()
                && mount["readOnly"] != true
        };
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(is_its_folder), "{folder}");
    }
}

#[test]
fn only_the_init_container_has_more_than_two_capabilities() {
    for folder in ["base", "overlays/kubeadm", "overlays/kind"] {
        let objects = render(&root().join(folder));
        let daemon_set = objects.iter().find(|object| object["kind"] == "DaemonSet").unwrap();
        let pod = &daemon_set["spec"]["template"]["spec"];
        let context = &pod["containers"][0]["securityContext"];
        assert_eq!(context["privileged"], false);
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
        assert_eq!(context["capabilities"]["add"], serde_json::json!(["NET_ADMIN", "NET_RAW"]));
        let init = &pod["initContainers"][0];
        let command = init["command"].as_array().unwrap();
        assert_eq!(command.last().unwrap(), "--init-only", "{folder}");
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_settings_in_the_config_map_are_what_the_proxy_takes() {
    for folder in ["base", "overlays/kind"] {
        let objects = render(&root().join(folder));
        let data = &named(&objects, "ConfigMap", "ipvs-proxy")["data"];
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text(&data["config.conf"])).unwrap();
        let mut flags = Flags::default();
        flags.process.config = Some(file.path().to_owned());
        let (config, warnings) = config::load(&flags, None, &Environment::look()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let Source::ApiServer { kubeconfig: Some(path), .. } = config.source else { panic!() };
        assert_eq!(path, Path::new("/var/lib/kube-proxy/kubeconfig.conf"));
        let probes = config.serving.healthz.unwrap().port();
        let daemon_set = named(&objects, "DaemonSet", "ipvs-proxy");
        let container = &daemon_set["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
        assert_eq!(container["livenessProbe"]["httpGet"]["port"], probes);
        let kubeconfig: Value = serde_saphyr::from_str(text(&data["kubeconfig.conf"])).unwrap();
        assert_eq!(
            kubeconfig["users"][0]["user"]["tokenFile"]
                .as_str()
                .map(Path::new)
                .unwrap()
                .file_name()
                .unwrap(),
            "token"
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

/// API group, resource and verb.
type Right = (String, String, String);

fn rights(rules: &[PolicyRule]) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in rules {
        assert_eq!((&rule.non_resource_urls, &rule.resource_names), (&None, &None));
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    assert!(![group, resource, verb].iter().any(|word| word.contains('*')));
                    rights.insert((group.clone(), resource.clone(), verb.clone()));
                }
            }
        }
    }
    rights
}

/// Returns the right that a request needs
/// (kubernetes.io/docs/reference/access-authn-authz/authorization).
fn needed(seen: &Seen) -> Right {
    let parts: Vec<_> = seen.path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("{}", seen.path),
    };
    let (resource, is_one) = match rest {
        ["namespaces", _, resource, rest @ ..] => (*resource, !rest.is_empty()),
        [resource, rest @ ..] => (*resource, !rest.is_empty()),
        [] => panic!("{}", seen.path),
    };
    let verb = match (seen.method.as_str(), seen.parameter("watch"), is_one) {
        ("GET", Some("true"), _) => "watch",
        ("GET", _, true) => "get",
        ("GET", _, false) => "list",
        ("POST", ..) => "create",
        ("PATCH", ..) => "patch",
        (method, ..) => panic!("{method}"),
    };
    (group.into(), resource.into(), verb.into())
}

#[tokio::test]
async fn the_role_allows_what_the_proxy_asks_for_and_nothing_else() {
    let objects = render(&root().join("base"));
    let role: ClusterRole =
        serde_json::from_value(named(&objects, "ClusterRole", "ipvs-proxy").clone()).unwrap();
    let allowed = rights(role.rules.as_deref().unwrap());

    let server = ApiServer::start();
    // The proxy requests plain lists if they cannot be streamed.
    server.behave(|behaviour| behaviour.streaming = crate::apiserver::Streaming::Refused(422));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), server.kubeconfig()).unwrap();
    let retry = Retry { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
    let settings =
        ApiSettings { kubeconfig: Some(file.path().to_owned()), retry, ..ApiSettings::default() };
    let api = Api::new(&settings).await.unwrap();
    let (sink, queue) = events::channel();
    let writing = tokio::spawn(events::write(queue, api.clone(), "host".to_owned()));
    let (sender, mut facts) = mpsc::channel(16);
    let watching =
        tokio::spawn(async move { watch::run(&api, "node1", NodesWatched::All, sender).await });
    let draining = tokio::spawn(async move { while facts.recv().await.is_some() {} });
    for _ in 0..3 {
        sink.tell(Event {
            kind: Kind::Warning,
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            regarding: Regarding::Service(ServiceName::new("shop", "web")),
            note: "again".to_owned(),
        });
    }
    let end = Instant::now() + Duration::from_secs(20);
    let mut asked = BTreeMap::new();
    while asked.len() < allowed.len() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked = server.requests().iter().map(|seen| (needed(seen), ())).collect();
    }
    for task in [writing, watching, draining] {
        task.abort();
    }
    assert_eq!(asked.into_keys().collect::<BTreeSet<_>>(), allowed);
}
