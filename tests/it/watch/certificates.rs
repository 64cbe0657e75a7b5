//! Tests the server's certificates, which are judged as Go does, and the proxy's own.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use ipvs_proxy::watch::{Api, ApiError, ApiSettings, TlsError};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use super::{Log, Watching, node, service, slice, small_cluster};
use crate::apiserver::{ApiServer, Client, Vouched};

/// The output of `openssl ecparam -name prime256v1 -genkey -out k.pem`, with the curve's parameters
/// before the key.
const OLD_KEY: &str =
    "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIPtgl6Zn2J8+a2LRsj2oc+2iU3VpRPc8ixLWmMMz8kSqoAoGCCqGSM49
AwEHoUQDQgAEdEoQ9uwa8NVnn2A4yclwa6wwBS4B4umLylCACXZrwdDGsRUf/FuM
PyoWRyiZHGD5L3yBS7WkU1F/Uar1GHg9rg==
-----END EC PRIVATE KEY-----
";

/// The output of `openssl req -new -key k.pem -subj /CN=of-version-1 | openssl x509 -req -signkey
/// k.pem -days 36500`. Without extensions the certificate is of version 1.
const OLD_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBKzCB0QIUITk5XnZl5/i1JU+hogzMl39iyuwwCgYIKoZIzj0EAwIwFzEVMBMG
A1UEAwwMb2YtdmVyc2lvbi0xMCAXDTI2MTIwMTAyMTQxMFoYDzIxMjYxMTA3MDIx
NDEwWjAXMRUwEwYDVQQDDAxvZi12ZXJzaW9uLTEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR0ShD27Brw1WefYDjJyXBrrDAFLgHi6YvKUIAJdmvB0MaxFR/8W4w/
KhZHKJkcYPkvfIFLtaRTUX9RqvUYeD2uMAoGCCqGSM49BAMCA0kAMEYCIQDbZqK8
XFGHy5K3Ob62+z6pCRJjyMmaazNIUQHJzARGaQIhAKIlRUXAjmq4hY3qhtLndndp
5w54lCXO9b4Yi4ykQKCF
-----END CERTIFICATE-----
";

/// The output of `openssl pkcs8 -topk8 -in k.pem`.
const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiVWIKLMl6upAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEL99Hqy8nwheouNYPddeBEUEgZBx
zDTCJzEyMWzwnraysaJdqudO19lP8v82USgLYKTLnjJ11rTL0k7D6UvpVylIjdD7
AX3k0i/xWgYgms6OxnbYiEvoZb/KezgQxuNSj8TTZLdOE4VRhyT1Py13e6FyHNSh
Xkz29NDyzFdHs2HrU+sP0NB1fOgXAxHK111qTj4zxjpY9wLTB7Ydi0MmvHUr5Z8=
-----END ENCRYPTED PRIVATE KEY-----
";

/// The output of `openssl ec -in k.pem -aes128`.
const ENCRYPTED_OLD_KEY: &str = "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,065481A19BCFF42E32426D2EB717515C

W6KH1BwnSlUdXaXEiWYay8I1Wkt/VrOF0eX3b/B85w+REERGDjnowhCc8T1EkXM6
F1dHoPdfykcknBJA9KcywrIEnKbOiMn6xMfPP6OHJ44oDUhnVlZPAIHkDLHD1to+
iKM/zYhIIIXs1p8rD8pk02u1LSLzkwLgZ/TFDafFhaI=
-----END EC PRIVATE KEY-----
";

/// Returns a server's kubeconfig with another user, and with the cluster's fields changed.
fn with(server: &ApiServer, user: Value, change: impl FnOnce(&mut Value)) -> String {
    let mut whole: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    whole["users"][0]["user"] = user;
    change(&mut whole["clusters"][0]["cluster"]);
    whole.to_string()
}

fn data(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

/// Returns a user whose certificate and key stand in the kubeconfig.
fn in_data(client: &Client) -> Value {
    json!({
        "client-certificate-data": data(&client.certificate),
        "client-key-data": data(&client.key),
    })
}

async fn refusal(kubeconfig: &str) -> ApiError {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), kubeconfig).unwrap();
    let kubeconfig = Some(file.path().to_owned());
    let settings = ApiSettings { kubeconfig, ..ApiSettings::default() };
    Api::new(&settings).await.err().expect("not usable")
}

async fn tls_refusal(kubeconfig: &str) -> TlsError {
    match refusal(kubeconfig).await {
        ApiError::Tls { cause, .. } => *cause,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_server_is_trusted_whose_certificate_could_be_an_authoritys() {
    for vouched in [Vouched::Itself, Vouched::AuthorityAsOne] {
        let server = ApiServer::vouched(vouched);
        server.put(&service("web", 80));
        Watching::new(&server).await.agrees_with(&server).await;
        let other = ApiServer::vouched(vouched);
        let log = Log::begin();
        let of_other = other.kubeconfig().replace(&other.url(), &server.url());
        let _watching = Watching::with(&of_other).await;
        log.has("invalid peer certificate: UnknownIssuer").await;
    }
}

#[tokio::test]
async fn any_server_is_taken_where_that_is_wanted_and_a_warning_says_so() {
    let server = small_cluster();
    let user = json!({"token": server.token()});
    let careless = with(&server, user, |cluster| {
        cluster.as_object_mut().unwrap().remove("certificate-authority-data");
        cluster["insecure-skip-tls-verify"] = true.into();
    });
    let log = Log::begin();
    Watching::with(&careless).await.agrees_with(&server).await;
    assert_eq!(log.lines_with("the API server's certificate is not checked").len(), 1);
}

#[tokio::test]
async fn a_client_is_known_by_a_certificate_in_the_kubeconfig_or_in_files() {
    let (server, client) = (small_cluster(), Client::new());
    server.admit_client(&client);
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    // Kubelet keeps both in one file, in either order.
    let both = file("both.pem", &format!("{}{}", client.key, client.certificate));
    let in_files = json!({
        "client-certificate": file("tls.crt", &client.certificate),
        "client-key": file("tls.key", &client.key),
    });
    let in_one_file = json!({"client-certificate": both, "client-key": both});
    let mut wrapped = in_data(&client);
    let text = wrapped["client-key-data"].as_str().unwrap().to_owned();
    wrapped["client-key-data"] = format!("{}\n{}\n", &text[..60], &text[60..]).into();
    for user in [in_data(&client), in_files, in_one_file, wrapped] {
        let kubeconfig = with(&server, user.clone(), |_| {});
        let mut watching = Watching::with(&kubeconfig).await;
        watching.agrees_with(&server).await;
    }
    assert!(server.requests().iter().all(|seen| seen.status == 200));
}

#[tokio::test]
async fn a_certificate_of_version_1_is_shown() {
    let server = small_cluster();
    let client = Client { certificate: OLD_CERTIFICATE.into(), key: OLD_KEY.into() };
    server.admit_client(&client);
    let mut watching = Watching::with(&with(&server, in_data(&client), |_| {})).await;
    watching.agrees_with(&server).await;
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_with_its_file_and_its_successor_is_shown() {
    let (server, old, new) = (small_cluster(), Client::new(), Client::new());
    server.admit_client(&old);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("client.pem");
    let write = |client: &Client| {
        fs::write(&path, format!("{}{}", client.certificate, client.key)).unwrap();
    };
    write(&old);
    let user = json!({"client-certificate": path, "client-key": path});
    let mut watching = Watching::with(&with(&server, user, |_| {})).await;
    watching.agrees_with(&server).await;
    let log = Log::begin();
    server.admit_client(&new);
    server.disconnect();
    server.put(&service("web", 81));
    log.has(&format!("(credentials of {}, invalid or expired)", path.display())).await;
    // A broken file does not replace the present credentials, and does not end the tries.
    fs::write(&path, "half a fi").unwrap();
    let tries = server.connections();
    super::until(|| server.connections() > tries + 25).await;
    write(&new);
    watching.agrees_with(&server).await;
    log.has("over after ").await;
}

#[tokio::test]
async fn a_certificate_is_asked_for_in_vain() {
    let server = small_cluster();
    server.admit_client(&Client::new());
    let log = Log::begin();
    let watching = Watching::new(&server).await;
    let file = watching.kubeconfig.as_ref().unwrap().path().display().to_string();
    log.has(&format!("(credentials of {file}, invalid or expired)")).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_and_its_key_is_told() {
    let (server, one, other) = (small_cluster(), Client::new(), Client::new());
    let said = async |certificate: &str, key: &str| {
        let client = Client { certificate: certificate.to_owned(), key: key.to_owned() };
        tls_refusal(&with(&server, in_data(&client), |_| {})).await
    };
    let error = said(&one.certificate, &other.key).await;
    assert!(matches!(&error, TlsError::KeyOfAnother { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "client-key-data: the private key does not belong to the certificate of client-certificate-data"
    );
    let error = said(OLD_CERTIFICATE, &one.key).await;
    assert!(matches!(&error, TlsError::KeyOfAnother { .. }), "{error}");
    for encrypted in [ENCRYPTED_KEY, ENCRYPTED_OLD_KEY] {
        let error = said(OLD_CERTIFICATE, encrypted).await;
        assert!(matches!(&error, TlsError::EncryptedKey(_)), "{error}");
    }
    let error = said(&one.certificate, &one.certificate).await;
    assert!(matches!(&error, TlsError::NoKey(_)), "{error}");
    let error = said(&one.key, &one.key).await;
    assert!(matches!(&error, TlsError::NoCertificate(_)), "{error}");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = said(nonsense, &one.key).await;
    assert!(matches!(&error, TlsError::NotX509(_)), "{error}");
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let error = said(&one.certificate, nonsense).await;
    assert!(matches!(&error, TlsError::UnusableKey { .. }), "{error}");
    let nonsense = "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n";
    let error = said(&one.certificate, nonsense).await;
    assert!(matches!(&error, TlsError::NotPem { .. }), "{error}");
}

#[tokio::test]
async fn what_is_missing_of_a_certificate_and_its_key_is_named() {
    let (server, client) = (small_cluster(), Client::new());
    let said = async |user: Value| tls_refusal(&with(&server, user, |_| {})).await;
    let error = said(json!({"client-certificate-data": data(&client.certificate)})).await;
    assert!(matches!(error, TlsError::CertificateWithoutKey(_)), "{error}");
    let error = said(json!({"client-certificate-data": "!", "client-key-data": "!"})).await;
    assert_eq!(error.to_string(), "client-certificate-data: not base64");
    let nowhere = json!({"client-certificate": "/nowhere/c", "client-key": "/nowhere/k"});
    let error = said(nowhere).await;
    assert!(matches!(&error, TlsError::File { .. }), "{error}");
    assert!(error.to_string().starts_with("client-certificate /nowhere/c: No such file"));
    // Go ignores a key without a certificate.
    let user = json!({"token": server.token(), "client-key-data": data(&client.key)});
    Watching::with(&with(&server, user, |_| {})).await.agrees_with(&server).await;
}

#[tokio::test]
async fn an_authority_may_stand_among_what_is_none() {
    let server = small_cluster();
    let user = || json!({"token": server.token()});
    let authority = |text: &str| {
        let text = data(text);
        with(&server, user(), |cluster| cluster["certificate-authority-data"] = text)
    };
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("# of the cluster\n{nonsense}{}", server.authority());
    Watching::with(&authority(&bundle)).await.agrees_with(&server).await;
    for none in [nonsense, "nothing"] {
        let error = tls_refusal(&authority(none)).await;
        assert!(matches!(error, TlsError::NoAuthority), "{error}");
    }
}

/// The variable that tells a process which part of the test to run.
const PART: &str = "IPVS_PROXY_TEST_PART";

/// The environment's variables are valid for a whole process, so this test runs itself again.
#[tokio::test]
async fn the_systems_authorities_are_needed_only_where_no_other_is_named() {
    if env::var_os(PART).is_some() {
        return without_the_systems_authorities().await;
    }
    let this =
        "watch::certificates::the_systems_authorities_are_needed_only_where_no_other_is_named";
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "--nocapture", this]);
    again.env(PART, "1").env("SSL_CERT_FILE", "/nowhere").env("SSL_CERT_DIR", "/nowhere");
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("test result: ok. 1 passed"), "{said}");
}

async fn without_the_systems_authorities() {
    let server = small_cluster();
    server.put(&slice("other", "10.244.1.9"));
    server.put(&node("node2", "192.0.2.12"));
    Watching::new(&server).await.agrees_with(&server).await;
    let user = || json!({"token": server.token()});
    let bare = |cluster: &mut Value| {
        cluster.as_object_mut().unwrap().remove("certificate-authority-data");
    };
    let careless = with(&server, user(), |cluster| {
        bare(cluster);
        cluster["insecure-skip-tls-verify"] = true.into();
    });
    Watching::with(&careless).await.agrees_with(&server).await;
    let plain = with(&server, user(), |cluster| {
        bare(cluster);
        cluster["server"] = "http://127.0.0.1:1".into();
    });
    let _waiting = Watching::with(&plain).await;
    let error = tls_refusal(&with(&server, user(), bare)).await;
    assert!(matches!(error, TlsError::NoSystemAuthorities), "{error}");
    assert!(Path::new("/nowhere").metadata().is_err());
}

/// Runs the same check with the system's authorities in place.
#[tokio::test]
async fn the_systems_authorities_are_trusted_where_no_other_is_named() {
    let this = "watch::certificates::the_systems_authorities_are_trusted_where_no_other_is_named";
    if let Some(kubeconfig) = env::var_os(PART) {
        let kubeconfig = Some(kubeconfig.into());
        let settings = ApiSettings { kubeconfig, ..ApiSettings::default() };
        let mut watching = Watching::by(settings).await;
        for _ in 0..3 {
            watching.event().await;
        }
        return assert!(watching.store.is_complete());
    }
    let server = small_cluster();
    let folder = TempDir::new().unwrap();
    let (authorities, kubeconfig) = (folder.path().join("ca.crt"), folder.path().join("config"));
    fs::write(&authorities, server.authority()).unwrap();
    let user = json!({"token": server.token()});
    let text = with(&server, user, |cluster| {
        cluster.as_object_mut().unwrap().remove("certificate-authority-data");
    });
    fs::write(&kubeconfig, text).unwrap();
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "--nocapture", this]);
    let output = again.env(PART, &kubeconfig).env("SSL_CERT_FILE", &authorities).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
