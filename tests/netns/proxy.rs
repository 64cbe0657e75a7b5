//! Runs the proxy under test: the real binary in a namespace, with the source that it follows.
//!
//! Takes a `KubeProxyConfiguration`, and objects as YAML. Returns a process whose log and end can
//! be checked. It is killed on drop. Does not use fixed paths or ports, so that any number of
//! proxies run at once.

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

/// The source of objects, which can change while the proxy runs.
pub(crate) enum Source {
    /// The test API server, on the node's loopback device.
    ApiServer(ApiServer),
    /// A folder of manifests.
    Manifests(TempDir),
}

impl Source {
    /// Starts an API server without objects inside the node.
    pub(crate) fn api_server(node: &Namespace) -> Self {
        Self::ApiServer(node.enter(ApiServer::start))
    }

    /// Makes an empty folder.
    pub(crate) fn manifests() -> Self {
        Self::Manifests(open_folder())
    }

    /// Replaces all objects by these.
    pub(crate) fn replace_all(&self, objects: &str) {
        match self {
            Self::ApiServer(server) => server.replace_all(objects),
            Self::Manifests(folder) => replace(&folder.path().join("objects.yaml"), objects),
        }
    }
}

/// Makes a folder that every user can read, as some proxies do not run as root.
fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Replaces a file by renaming another, so that readers never see half of it.
pub(crate) fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// Returns the configuration of the recorded cases, changed by these settings.
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

/// The part of the log that was read. Each line is parsed once.
#[derive(Default)]
struct Heard {
    read: u64,
    text: String,
}

impl Proxy {
    /// Starts the proxy in the node.
    pub(crate) fn start(node: &Namespace, source: &Source, config: &Value) -> Self {
        Self::start_by(&["ipvs-proxy"], node, source, config)
    }

    /// Starts the proxy in the node with further arguments.
    pub(crate) fn start_with(
        arguments: &[&str],
        node: &Namespace,
        source: &Source,
        config: &Value,
    ) -> Self {
        Self::start_by(&[&["ipvs-proxy"], arguments].concat(), node, source, config)
    }

    /// Starts the proxy in the node with settings of its own (`IPVSProxyConfiguration`).
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
        // The file is read once.
        proxy.wait_until_says("following");
        proxy
    }

    /// Starts the proxy without rights over the node: those of another user namespace do not count
    /// there.
    pub(crate) fn start_without_rights(node: &Namespace, source: &Source, config: &Value) -> Self {
        Self::start_by(&["unshare", "-U", "ipvs-proxy"], node, source, config)
    }

    /// Starts the proxy in the node by way of another program, with these words before it.
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

    /// Replaces the configuration of a proxy that follows manifests.
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

    /// Returns the output so far, of both streams.
    pub(crate) fn log(&self) -> String {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = File::open(self.log_file()).unwrap();
        file.seek(SeekFrom::Start(heard.read)).unwrap();
        let mut new = String::new();
        file.read_to_string(&mut new).unwrap();
        // An incomplete line is read again.
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        heard.read += whole as u64;
        heard.text.extend(new[..whole].lines().map(|line| said::plain(line) + "\n"));
        heard.text.clone()
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join("log")
    }

    /// Returns the lines so far that contain this text, except those of level debug.
    pub(crate) fn said(&self, text: &str) -> Vec<String> {
        let said = self.log();
        let lines = said.lines().filter(|line| !line.contains("DEBUG") && line.contains(text));
        lines.map(Into::into).collect()
    }

    /// Returns the logged changes, one a line.
    pub(crate) fn changes(&self) -> Vec<String> {
        let verbs = ["add ", "update ", "remove ", "write "];
        let said = self.log();
        let details = said.lines().filter_map(|line| Some(line.split_once("DEBUG ")?.1));
        details
            .filter(|said| verbs.iter().any(|verb| said.starts_with(verb)))
            .map(Into::into)
            .collect()
    }

    /// Waits until the log contains this text.
    pub(crate) fn wait_until_says(&self, text: &str) {
        let said = until(PATIENCE, || self.log().contains(text).then_some(()));
        assert!(said.is_some(), "not said within {PATIENCE:?}: {text}");
    }

    /// Waits until the log contains one of these texts.
    pub(crate) fn wait_until_either_says(&self, texts: &[&str]) {
        let says = || texts.iter().any(|text| self.log().contains(text)).then_some(());
        assert!(until(2 * PATIENCE, says).is_some(), "none is said: {texts:?}");
    }

    /// Returns the number of the process that was started.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Waits for the end of the process.
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

/// Calls `ask` until it returns an answer or the time is over.
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

/// Calls `ask` about a node's kernel, like [`until`]. `ask` runs programs, so it is called when
/// virtual servers have changed, and now and then for other changes.
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
