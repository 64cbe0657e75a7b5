//! The proxy under test: the real binary in a namespace, beside the source it follows.
//!
//! In: a `KubeProxyConfiguration`, and objects as YAML. Out: a process whose words and end can be looked at.
//! It is killed on drop. Never: a fixed path or port, so that any number of them run at once.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::apiserver::ApiServer;
use crate::node::Namespace;
use crate::said;

/// Far more than a round takes on a busy emulated machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

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
        Self::Manifests(open_folder())
    }

    /// Makes these all the objects there are.
    pub(crate) fn replace_all(&self, objects: &str) {
        match self {
            Self::ApiServer(server) => server.replace_all(objects),
            Self::Manifests(folder) => replace(&folder.path().join("objects.yaml"), objects),
        }
    }
}

/// A folder that every user can read: not every proxy is root's.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
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
    heard: Mutex<Heard>,
}

/// How much of the log was read, and what it says: each line is taken apart once.
#[derive(Default)]
struct Heard {
    read: u64,
    text: String,
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

    /// Starts it in the node with settings of its own (`IPVSProxyConfiguration`).
    pub(crate) fn start_with_own(
        own: &Value,
        node: &Namespace,
        source: &Source,
        config: &Value,
    ) -> Self {
        let mut own = own.clone();
        own["apiVersion"] = "ipvs-proxy.io/v1alpha1".into();
        own["kind"] = "IPVSProxyConfiguration".into();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), own.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        let proxy = Self::start_with(&["--extra-config", path], node, source, config);
        // It is read once.
        proxy.wait_until_says("following");
        proxy
    }

    /// Starts it in the node without rights over it: those of another user namespace do not reach there.
    pub(crate) fn start_without_rights(node: &Namespace, source: &Source, config: &Value) -> Self {
        Self::start_by(&["unshare", "-U", "ipvs-proxy"], node, source, config)
    }

    /// Starts it in the node by way of another program, which these words call.
    pub(crate) fn start_as(
        words: &[&str],
        node: &Namespace,
        source: &Source,
        config: &Value,
    ) -> Self {
        Self::start_by(&[words, &["ipvs-proxy"]].concat(), node, source, config)
    }

    fn start_by(by: &[&str], node: &Namespace, source: &Source, config: &Value) -> Self {
        let files = open_folder();
        let path = |name: &str| files.path().join(name);
        let (mut config, mut command) = (config.clone(), Command::new(by[0]));
        command.args(&by[1..]).arg(said::AS_JSON).arg("--config").arg(path("config"));
        match source {
            Source::ApiServer(server) => {
                fs::write(path("kubeconfig"), server.kubeconfig()).unwrap();
                config["clientConnection"] = json!({"kubeconfig": path("kubeconfig")});
            }
            Source::Manifests(folder) => drop(command.arg("--manifests").arg(folder.path())),
        }
        fs::write(path("config"), config.to_string()).unwrap();
        command.env("IPVS_PROXY_LOG", "info,ipvs_proxy=debug");
        Self::spawn_with(command, node, files)
    }

    /// Replaces its configuration, of one that follows manifests.
    pub(crate) fn reconfigure(&self, config: &Value) {
        replace(&self.files.path().join("config"), &config.to_string());
    }

    /// Starts this command in the node.
    pub(crate) fn spawn(command: Command, node: &Namespace) -> Self {
        Self::spawn_with(command, node, tempfile::tempdir().unwrap())
    }

    fn spawn_with(mut command: Command, node: &Namespace, files: TempDir) -> Self {
        let log = File::create(files.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = node.enter(|| command.spawn()).unwrap();
        Self { process, files, heard: Mutex::default() }
    }

    /// What it has said so far, on both streams.
    pub(crate) fn log(&self) -> String {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = File::open(self.log_file()).unwrap();
        file.seek(SeekFrom::Start(heard.read)).unwrap();
        let mut new = String::new();
        file.read_to_string(&mut new).unwrap();
        // A line that is not whole yet is read again.
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        heard.read += whole as u64;
        heard.text.extend(new[..whole].lines().map(|line| said::plain(line) + "\n"));
        heard.text.clone()
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

    /// Waits until it has said one of these.
    pub(crate) fn wait_until_either_says(&self, texts: &[&str]) {
        let says = || texts.iter().any(|text| self.log().contains(text)).then_some(());
        assert!(until(2 * PATIENCE, says).is_some(), "none is said: {texts:?}");
    }

    /// The number of the process that was started.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
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

/// The same about a node's kernel, by programs that cost more than a glance: they are asked again when its virtual
/// servers have changed, and now and then for what else may have.
pub(crate) fn until_at<T>(
    node: &Namespace,
    limit: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Option<T> {
    const NOW_AND_THEN: Duration = Duration::from_millis(500);
    let start = Instant::now();
    loop {
        let seen = node.glance();
        let answer = ask();
        if answer.is_some() || start.elapsed() > limit {
            return answer;
        }
        until(NOW_AND_THEN, || (node.glance() != seen).then_some(()));
    }
}
