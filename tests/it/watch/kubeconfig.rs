//! Tests which settings of a kubeconfig for the server and the user are supported, and the errors
//! for others.

use std::fs;
use std::path::{Path, PathBuf};

use ipvs_proxy::watch::{Api, ApiError, ApiSettings};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Log, Watching, small_cluster};

fn file(text: &str) -> (NamedTempFile, ApiSettings) {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let kubeconfig: Option<PathBuf> = Some(file.path().to_owned());
    (file, ApiSettings { kubeconfig, ..ApiSettings::default() })
}

/// Returns a kubeconfig of this server and this user.
fn of(cluster: &Value, user: &Value) -> String {
    json!({
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
    })
    .to_string()
}

async fn refused(text: &str) -> String {
    let (file, settings) = file(text);
    let Err(error) = Api::new(&settings).await else { panic!("usable: {text}") };
    let said = error.to_string();
    let path = file.path().display().to_string();
    assert!(said.contains(&path), "{said}");
    said.replace(&path, "FILE")
}

#[tokio::test]
async fn white_space_around_the_token_does_not_count() {
    let server = small_cluster();
    let token = format!(" {}\n", server.token());
    let mut watching = Watching::with(&server.kubeconfig_with_token(&token)).await;
    watching.agrees_with(&server).await;
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_refused_and_not_shown() {
    let server = small_cluster();
    for token in ["s3cr3t\ns3cr3t", "s3cr3t\u{1}s3cr3t"] {
        let said = refused(&server.kubeconfig_with_token(token)).await;
        let wanted = "kubeconfig FILE: the user's token holds what no HTTP header can carry";
        assert_eq!(said, wanted);
    }
}

#[tokio::test]
async fn a_server_without_a_scheme_is_https_where_certificates_are_spoken_of() {
    let server = small_cluster();
    let bare = server.kubeconfig().replace(&server.url(), &server.address().to_string());
    let mut watching = Watching::with(&bare).await;
    watching.agrees_with(&server).await;
    for (cluster, user, wanted) in [
        (json!({"server": "10.0.0.1:6443"}), json!({}), "http://10.0.0.1:6443"),
        (json!({"server": "localhost"}), json!({}), "http://localhost"),
        (
            json!({"server": "[::1]:1", "insecure-skip-tls-verify": true}),
            json!({}),
            "https://[::1]:1",
        ),
        (json!({"server": "https://h/p"}), json!({}), "https://h/p"),
    ] {
        let (_file, settings) = file(&of(&cluster, &user));
        assert_eq!(Api::new(&settings).await.map_err(|_| ()).unwrap().url(), wanted);
    }
}

#[tokio::test]
async fn a_server_without_a_host_is_refused() {
    for server in ["/", "/api", "https://", "https://:6443", "https:///api"] {
        let said = refused(&of(&json!({"server": server}), &json!({}))).await;
        assert!(said.starts_with("kubeconfig FILE: "), "{said}");
    }
    let (_file, unplaced) = file(&of(&json!({"server": "/"}), &json!({})));
    let elsewhere = ApiSettings { master: Some("h:1".to_owned()), ..unplaced };
    assert!(Api::new(&elsewhere).await.is_ok(), "--master says where");
    for master in ["/", "https://:6443"] {
        let settings = ApiSettings { master: Some(master.to_owned()), ..ApiSettings::default() };
        let Err(error) = Api::new(&settings).await else { panic!("usable: {master}") };
        assert!(matches!(error, ApiError::Master { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_name_and_a_password_in_the_url_are_left_out_with_a_warning() {
    let server = small_cluster();
    let url = format!("https://me:s3cr3t@{}", server.address());
    let (file, settings) = file(&server.kubeconfig().replace(&server.url(), &url));
    let log = Log::begin();
    let mut watching = Watching::by(settings.clone()).await;
    watching.agrees_with(&server).await;
    let lines = log.lines_with("the name and the password in the server's URL are not used");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(&format!("kubeconfig {}: ", file.path().display())), "{lines:?}");
    let by_flag = ApiSettings { master: Some(url), ..settings };
    Watching::by(by_flag).await.agrees_with(&server).await;
    log.has("--master: the name and the password").await;
    assert_eq!(log.lines_with("s3cr3t"), [""; 0]);
}

#[tokio::test]
async fn a_port_that_is_none_and_a_scheme_that_is_not_spoken_are_refused() {
    for (server, wanted) in [
        ("https://h:65536", "the port \"65536\" is not a number from 1 to 65535"),
        ("h:0", "the port 0 is not a number from 1 to 65535"),
        ("https://[::1]:164430", "the port \"164430\" is not a number from 1 to 65535"),
        ("ftp://h", "the scheme \"ftp\" is not supported: use https or http"),
        ("unix://h/s", "the scheme \"unix\" is not supported: use https or http"),
    ] {
        let said = refused(&of(&json!({"server": server}), &json!({}))).await;
        assert!(said.starts_with(&format!("kubeconfig FILE: server {server}")), "{said}");
        assert!(said.ends_with(wanted), "{said}");
        let master = Some(server.to_owned());
        let Err(error) = Api::new(&ApiSettings { master, ..ApiSettings::default() }).await else {
            panic!("usable: {server}")
        };
        assert_eq!(error.to_string(), format!("--master {server}: {wanted}"));
    }
    for server in ["https://h:", "HTTPS://h:1", "https://u:p@h:65535"] {
        let (_file, settings) = file(&of(&json!({"server": server}), &json!({})));
        assert!(Api::new(&settings).await.is_ok(), "{server}");
    }
}

#[tokio::test]
async fn an_empty_path_is_none() {
    let server = small_cluster();
    let mut whole: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    let user = &mut whole["users"][0]["user"];
    for name in ["tokenFile", "client-certificate", "client-certificate-data", "client-key"] {
        user[name] = "".into();
    }
    user["client-key-data"] = "".into();
    let cluster = &mut whole["clusters"][0]["cluster"];
    for name in ["certificate-authority", "proxy-url", "tls-server-name"] {
        cluster[name] = "".into();
    }
    let mut watching = Watching::with(&whole.to_string()).await;
    watching.agrees_with(&server).await;
}

#[tokio::test]
async fn a_context_that_names_what_is_not_there_is_told() {
    let whole = of(&json!({"server": "https://h"}), &json!({}));
    let named = |place: &str, name: &str| {
        let mut whole: Value = serde_json::from_str(&whole).unwrap();
        whole["contexts"][0]["context"][place] = name.into();
        whole.to_string()
    };
    let log = Log::begin();
    let (_file, nobody) = file(&named("user", "u"));
    assert!(Api::new(&nobody).await.is_ok());
    log.has("auth info \"u\" does not exist").await;
    let cluster = refused(&named("cluster", "k")).await;
    assert_eq!(cluster, "kubeconfig FILE: cluster \"k\" does not exist");
    let (_file, anonymous) = file(&named("user", ""));
    assert!(Api::new(&anonymous).await.is_ok());
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_is_refused() {
    let cluster = json!({"server": "https://h", "proxy-url": "http://p:1"});
    let said = refused(&of(&cluster, &json!({}))).await;
    assert_eq!(said, "kubeconfig FILE: proxy-url is not supported");
}

/// Returns a user whose credentials a script fetches.
fn plugin(script: &str) -> Value {
    json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", script],
        "env": [{"name": "PASSWORD", "value": "s3cr3t"}],
        "interactiveMode": "Never",
    }})
}

#[tokio::test]
async fn of_a_plugin_that_fails_only_its_name_and_its_end_are_told() {
    for (script, wanted) in [
        ("echo s3cr3t; echo s3cr3t >&2; exit 3", "it failed (exit status: 3)"),
        ("echo '{\"status\": {\"token\": [\"s3cr3t\"]}}'", "its answer is not understood"),
    ] {
        let said = refused(&of(&json!({"server": "https://192.0.2.1"}), &plugin(script))).await;
        let wanted =
            format!("API server https://192.0.2.1 of FILE: credential plugin /bin/sh: {wanted}");
        assert_eq!(said, wanted);
    }
}

#[tokio::test]
async fn of_a_plugin_that_fails_later_no_more_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("fails");
    let user = plugin(&until(&mark));
    let (_file, settings) = file(&of(&json!({"server": "http://127.0.0.1:1"}), &user));
    let log = Log::begin();
    let _watching = Watching::by(settings).await;
    fs::write(mark, "").unwrap();
    log.has("credential plugin /bin/sh: it failed (exit status: 3)").await;
    assert_eq!(log.lines_with("s3cr3t"), [""; 0]);
}

/// Returns a script that gives an expired token, so that it is run again. It fails once the file
/// `mark` exists.
fn until(mark: &Path) -> String {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "s3cr3t", "expirationTimestamp": "2020-01-01T00:00:00Z"},
    });
    format!("if [ -e {} ]; then echo s3cr3t; exit 3; fi; echo '{credential}'", mark.display())
}

#[tokio::test]
async fn a_plugin_that_gives_a_token_runs_once_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, errors) = (folder.path().join("runs"), folder.path().join("errors"));
    let script = format!(
        "echo x >>{}; readlink /proc/self/fd/2 >{}; {}",
        runs.display(),
        errors.display(),
        until(&folder.path().join("never"))
    );
    let mut user = plugin(&script);
    user["exec"]["interactiveMode"] = "IfAvailable".into();
    let (_file, settings) = file(&of(&json!({"server": "https://127.0.0.1:1"}), &user));
    let _api = Api::new(&settings).await.map_err(|_| ()).unwrap();
    assert_eq!(fs::read_to_string(runs).unwrap(), "x\n");
    let errors = fs::read_to_string(errors).unwrap();
    assert!(errors.starts_with("pipe:"), "what it says is not in the log: {errors}");
    let own = fs::read_link("/proc/self/fd/2").unwrap();
    assert_ne!(errors.trim(), own.display().to_string());
}
