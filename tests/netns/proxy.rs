//! The proxy under test: the real binary in a namespace, beside the source it follows.
//!
//! In: a `KubeProxyConfiguration`, and objects as YAML. Out: a process whose words and end can be looked at.
//! It is killed on drop. Never: a fixed path or port, so that any number of them run at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apiserver::ApiServer;
use crate::node::Namespace;

/// Far more than a round takes on a busy emulated machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where objects come from, changed while the proxy runs.
pub(crate) enum Source {
    /// The fixture API server, on the node's loopback.
    ApiServer(ApiServer),
    /// A folder of manifests.
    Manifests(TempDir),
}

impl Source {
    /// An API server inside the node, which serves nothing yet.
    pub(crate) fn api_server(node: &Namespace) -> Self {
        Self::ApiServer(node.enter(ApiServer::start))
    }

    /// An empty folder.
    pub(crate) fn manifests() -> Self {
        Self::Manifests(tempfile::tempdir().unwrap())
    }

    /// Makes these all the objects there are.
    pub(crate) fn replace_all(&self, objects: &str) {
        match self {
            Self::ApiServer(server) => server.replace_all(objects),
            Self::Manifests(folder) => replace(&folder.path().join("objects.yaml"), objects),
        }
    }
}

/// Replaces a file by renaming another, so that nobody reads half of it.
pub(crate) fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// The configuration of the recorded cases, with these settings in the place of its own.
pub(crate) fn config(settings: Value) -> Value {
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": "node1",
        "clusterCIDR": "10.244.0.0/16,fd00:10:244::/56",
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    });
    let Value::Object(settings) = settings else { panic!("settings are an object") };
    config.as_object_mut().unwrap().extend(settings);
    config
}

/// A running proxy.
pub(crate) struct Proxy {
    process: Child,
    files: TempDir,
}

impl Proxy {
    /// Starts it in the node.
    pub(crate) fn start(node: &Namespace, source: &Source, config: &Value) -> Self {
        Self::start_by(&["ipvs-proxy"], node, source, config)
    }

    /// Starts it in the node with further arguments.
    pub(crate) fn start_with(
        arguments: &[&str],
        node: &Namespace,
        source: &Source,
        config: &Value,
    ) -> Self {
        Self::start_by(&[&["ipvs-proxy"], arguments].concat(), node, source, config)
    }

    /// Starts it in the node without rights over it: those of another user namespace do not reach there.
    pub(crate) fn start_without_rights(node: &Namespace, source: &Source, config: &Value) -> Self {
        Self::start_by(&["unshare", "-U", "ipvs-proxy"], node, source, config)
    }

    fn start_by(by: &[&str], node: &Namespace, source: &Source, config: &Value) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        let (mut config, mut command) = (config.clone(), Command::new(by[0]));
        command.args(&by[1..]).arg("--config").arg(path("config"));
        match source {
            Source::ApiServer(server) => {
                fs::write(path("kubeconfig"), server.kubeconfig()).unwrap();
                config["clientConnection"] = json!({"kubeconfig": path("kubeconfig")});
            }
            Source::Manifests(folder) => drop(command.arg("--manifests").arg(folder.path())),
        }
        fs::write(path("config"), config.to_string()).unwrap();
        let log = File::create(path("log")).unwrap();
        command
            .env("IPVS_PROXY_LOG", "info,ipvs_proxy=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Self { process: node.enter(|| command.spawn()).unwrap(), files }
    }

    /// What it has said so far, on both streams.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join("log")
    }

    /// The lines with this text that it has said so far, apart from details.
    pub(crate) fn said(&self, text: &str) -> Vec<String> {
        let said = self.log();
        let lines = said.lines().filter(|line| !line.contains("DEBUG") && line.contains(text));
        lines.map(Into::into).collect()
    }

    /// What it has said it changed, a line each.
    pub(crate) fn changes(&self) -> Vec<String> {
        let verbs = ["add ", "update ", "remove ", "write "];
        let said = self.log();
        let details = said.lines().filter_map(|line| Some(line.split_once("DEBUG ")?.1));
        details
            .filter(|said| verbs.iter().any(|verb| said.starts_with(verb)))
            .map(Into::into)
            .collect()
    }

    /// Waits until it has said this.
    pub(crate) fn wait_until_says(&self, text: &str) {
        let said = until(PATIENCE, || self.log().contains(text).then_some(()));
        assert!(said.is_some(), "not said within {PATIENCE:?}: {text}");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        let ended = until(limit, || self.process.try_wait().unwrap());
        ended.unwrap_or_else(|| panic!("still running after {limit:?}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("output of ipvs-proxy:\n{}", self.log());
        }
    }
}

/// Asks again and again until there is an answer, or time is up.
pub(crate) fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() > limit {
            return answer;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
