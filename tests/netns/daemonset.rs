//! Tests the proxy in place of kube-proxy in its DaemonSet.
//!
//! Takes kubeadm's two ConfigMaps and a pod's credentials, in volumes laid out as by kubelet and
//! mounted where a pod has them. Runs the binary under kube-proxy's name, with its command line and
//! minimal rights. Checks the kernel state, the log, the exit code and how long the end took. Does
//! not use files outside the test's own mounts.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::apiserver::ApiServer;
use crate::behaviour::{serves, service, slice};
use crate::canonical::Kernel;
use crate::node::{Namespace, Node};
use crate::proxy::{PATIENCE, Proxy, Source, config, until};

/// The configuration that kubeadm writes into its ConfigMap, for IPVS mode.
const CONFIG: &str = include_str!("daemonset/config.conf");
/// The kubeconfig in the same ConfigMap.
const KUBECONFIG: &str = include_str!("daemonset/kubeconfig.conf");

/// A script that mounts the volumes of $1 where a pod has them, and runs the other arguments.
const MOUNTED: &str = "set -e
mount -t tmpfs tmpfs /var
mkdir -p /var/lib/kube-proxy /var/run/secrets/kubernetes.io/serviceaccount
mount -o bind \"$1/kube-proxy\" /var/lib/kube-proxy
mount -o bind \"$1/serviceaccount\" /var/run/secrets/kubernetes.io/serviceaccount
shift
exec \"$@\"";

/// A command prefix that leaves the rights that suffice after an earlier run has prepared the node.
const FEW_RIGHTS: &[&str] = &[
    "setpriv",
    "--bounding-set=-all,+net_admin,+net_raw",
    "--inh-caps=-all",
    "--ambient-caps=-all",
];

/// A pod of kube-proxy's DaemonSet.
struct Pod<'n> {
    node: &'n Namespace,
    server: ApiServer,
    files: TempDir,
    notices: UnixDatagram,
}

impl<'n> Pod<'n> {
    fn new(node: &'n Namespace) -> Self {
        let files = tempfile::tempdir().unwrap();
        let server = node.enter(ApiServer::start);
        let program = which("ipvs-proxy");
        symlink(program, files.path().join("kube-proxy-program")).unwrap();
        fs::create_dir(files.path().join("bin")).unwrap();
        fs::rename(files.path().join("kube-proxy-program"), files.path().join("bin/kube-proxy"))
            .unwrap();
        let notices = UnixDatagram::bind(files.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        let pod = Self { node, server, files, notices };
        pod.configure(CONFIG);
        pod.rotate("first-secret-token");
        pod
    }

    /// Writes the ConfigMap as kubelet does.
    fn configure(&self, config: &str) {
        let kubeconfig = KUBECONFIG.replace("SERVER", &self.server.url());
        let files = [("config.conf", config), ("kubeconfig.conf", &kubeconfig)];
        lay(&self.files.path().join("kube-proxy"), &files);
    }

    /// Writes another token as kubelet does. The server accepts it beside the last one.
    fn rotate(&self, token: &str) {
        self.server.admit_too(token);
        let files =
            [("ca.crt", self.server.authority()), ("namespace", "kube-system"), ("token", token)];
        lay(&self.files.path().join("serviceaccount"), &files);
    }

    fn start(&self, by: &[&str], arguments: &[&str]) -> Proxy {
        Proxy::spawn(self.command(by, arguments), self.node)
    }

    fn command(&self, by: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let address = self.server.address();
        command
            .args(["-m", "bash", "-c", MOUNTED, "bash"])
            .arg(self.files.path())
            .args(by)
            .arg(self.files.path().join("bin/kube-proxy"))
            .args(["--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node1"])
            .args(arguments)
            .env("KUBERNETES_SERVICE_HOST", address.ip().to_string())
            .env("KUBERNETES_SERVICE_PORT", address.port().to_string())
            .env("NOTIFY_SOCKET", self.files.path().join("notify"));
        command
    }

    /// Returns the next message to the service manager.
    fn notice(&self) -> String {
        let mut text = [0; 64];
        let length = self.notices.recv(&mut text).expect("a notice");
        String::from_utf8(text[..length].to_vec()).unwrap()
    }
}

/// Writes a volume whose files are behind a link that is swapped.
fn lay(volume: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(volume).unwrap();
    let turn = (1..).find(|turn| !volume.join(format!("..{turn}")).exists()).unwrap();
    let folder = volume.join(format!("..{turn}"));
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    symlink(folder.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for (name, _) in files {
        // The link exists already if the volume is not new.
        let _ = symlink(format!("..data/{name}"), volume.join(name));
    }
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    path.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|file| file.exists())
        .unwrap()
}

fn one(name: &str, address: &str, endpoint: &str) -> String {
    service(name, address) + &slice(name, endpoint)
}

#[test]
fn kubeadms_daemonset_runs_it_with_few_rights_through_rotation_restart_and_change() {
    let node = Node::conformance("daemonset");
    let pod = Pod::new(&node);
    // The API server has no objects yet, and gets no request.
    pod.server.stop();
    let mut prepared = pod.start(&[], &["--init-only"]);
    assert_eq!(prepared.wait(PATIENCE).code(), Some(0), "{}", prepared.log());
    assert_eq!(node.run("cat /proc/sys/net/ipv4/vs/conntrack").trim(), "1");
    assert_eq!(node.run("ipvsadm -Sn"), "");
    node.enter(|| pod.server.restart());

    pod.server.replace_all(&one("a", "10.96.0.1", "10.244.1.1"));
    let mut proxy = pod.start(FEW_RIGHTS, &["-v=9"]);
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    assert_eq!(pod.notice(), "READY=1");
    assert_started_without_a_warning(&proxy);

    for (turn, token) in ["second-secret-token", "third-secret-token"].into_iter().enumerate() {
        pod.rotate(token);
        pod.server.disconnect();
        let endpoint = format!("10.244.1.{}", turn + 2);
        pod.server.replace_all(&one("a", "10.96.0.1", &endpoint));
        serves(&node, &[("10.96.0.1", &endpoint)]);
        // Every watch has come back, and the old token expires.
        thread::sleep(Duration::from_secs(5));
        pod.server.admit(token);
    }
    assert!(pod.server.requests().iter().all(|seen| seen.status != 401));

    pod.server.stop();
    proxy.wait_until_says("trying again until it works");
    pod.server.replace_all(&one("b", "10.96.0.2", "10.244.1.7"));
    node.enter(|| pod.server.restart());
    serves(&node, &[("10.96.0.2", "10.244.1.7")]);
    proxy.wait_until_says("over after ");

    pod.configure(&CONFIG.replace("oomScoreAdj: null", "oomScoreAdj: 5000"));
    proxy.wait_until_says("the settings in force stay");
    pod.configure(CONFIG);
    proxy.wait_until_says("the configuration is again what is in force");
    let kernel = Kernel::of(&node);
    let standing = kernel.dumps();
    // A scheduler that no kernel has, and one that takes effect at the next start.
    pod.configure(&CONFIG.replace("scheduler: \"\"", "scheduler: nosuch"));
    proxy.wait_until_says("the kernel has no IPVS scheduler");
    pod.configure(&CONFIG.replace("scheduler: \"\"", "scheduler: lc"));
    proxy.wait_until_says("(ipvs.scheduler): this takes effect at the next start");
    let metrics = node.run("curl -s http://127.0.0.1:10249/metrics");
    assert!(metrics.contains("\nipvs_proxy_config_change_pending 1\n"), "{metrics}");
    let status = node.run("curl -s http://127.0.0.1:10249/statusz");
    assert!(status.contains("(ipvs.scheduler): this takes effect"), "{status}");
    kernel.is(&standing);
    ends_at_once(&mut proxy);
    assert_eq!(pod.notice(), "STOPPING=1");
    is_klog(&proxy.log());
    assert!(!proxy.log().contains("secret-token"), "{}", proxy.log());

    let mut again = pod.start(FEW_RIGHTS, &["--logging-format=json"]);
    until(PATIENCE, || node.run("ipvsadm -Sn").contains("-s lc").then_some(()))
        .expect("the new scheduler");
    assert_eq!(pod.notice(), "READY=1");
    let standing = kernel.dumps();
    ends_at_once(&mut again);
    assert_eq!(pod.notice(), "STOPPING=1");
    kernel.is(&standing);
    assert_eq!(again.said("ERROR"), [""; 0]);
}

/// Checks that one line reports the start, and that nothing warns of the OOM score. kubeadm leaves
/// that to the default, which needs more rights.
fn assert_started_without_a_warning(proxy: &Proxy) {
    let started = proxy.said("ipvs-proxy started, following the API server");
    assert_eq!(started.len(), 1, "{}", proxy.log());
    for word in [" version=\"v", " mode=\"ipvs\"", " families=\"IPv4,IPv6\"", " node=\"node1\""] {
        assert!(started[0].contains(word), "{word}: {started:?}");
    }
    assert!(CONFIG.contains("oomScoreAdj: null"));
    assert_eq!(proxy.said("oomScoreAdj").len(), 1, "a detail, and no warning: {}", proxy.log());
    assert!(proxy.said("oomScoreAdj")[0].starts_with('I'), "{}", proxy.log());
}

/// Each mistake in a ConfigMap is logged and the process keeps running. A valid change ends it if
/// it is configured to exit.
#[test]
fn a_change_ends_the_process_only_if_asked_to_and_only_if_a_start_would_succeed() {
    const OWN: &str = "---\napiVersion: ipvs-proxy.io/v1alpha1\nkind: IPVSProxyConfiguration\n\
                       exitOnConfigChange: true\n";
    let node = Node::conformance("config-exit");
    let pod = Pod::new(&node);
    let with = |old: &str, new: &str| {
        assert!(CONFIG.contains(old), "{old}");
        CONFIG.replace(old, new) + OWN
    };
    pod.configure(&with("mode: ipvs", "mode: ipvs"));
    pod.server.replace_all(&one("a", "10.96.0.1", "10.244.1.1"));
    let mut proxy = pod.start(&[], &[]);
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    let taken = node.enter(|| std::net::TcpListener::bind("127.0.0.1:20249").unwrap());
    let kernel = Kernel::of(&node);
    let standing = kernel.dumps();
    let kubeconfig = "kubeconfig: /var/lib/kube-proxy/kubeconfig.conf";
    for (old, new, said) in [
        ("scheduler: \"\"", "scheduler: nosuch", "the kernel has no IPVS scheduler"),
        (kubeconfig, "kubeconfig: /nowhere", "kubeconfig /nowhere: "),
        (
            "metricsBindAddress: \"\"",
            "metricsBindAddress: 127.0.0.1:20249",
            "127.0.0.1:20249: Address",
        ),
        ("clusterCIDR: 10.244.0.0/16", "clusterCIDR: x", "ClusterCIDR"),
    ] {
        pod.configure(&with(old, new));
        proxy.wait_until_says(said);
        let lines = proxy.said(said);
        assert!(lines[0].contains("but a start would fail"), "{lines:?}");
    }
    // These fields belong to other modes.
    pod.configure(&with("localhostNodePorts: null", "localhostNodePorts: false"));
    proxy.wait_until_says("the configuration is again what is in force");
    drop(taken);
    pod.configure(&with("metricsBindAddress: \"\"", "metricsBindAddress: 127.0.0.1:20249"));
    assert_eq!(proxy.wait(PATIENCE).code(), Some(1));
    let last = proxy.log().lines().last().unwrap().to_owned();
    assert!(last.contains("the configuration was changed (metricsBindAddress)"), "{last}");
    kernel.is(&standing);
}

#[test]
fn a_pod_without_a_kubeconfig_uses_its_service_account() {
    let node = Node::conformance("incluster");
    let pod = Pod::new(&node);
    pod.configure(
        &CONFIG.replace("kubeconfig: /var/lib/kube-proxy/kubeconfig.conf", "kubeconfig: \"\""),
    );
    pod.server.replace_all(&one("a", "10.96.0.1", "10.244.1.1"));
    let mut command = pod.command(&[], &["--logging-format=json"]);
    // The log contains everything that any crate logs.
    let proxy = {
        command.env("IPVS_PROXY_LOG", "trace");
        Proxy::spawn(command, &node)
    };
    serves(&node, &[("10.96.0.1", "10.244.1.1")]);
    pod.server.admit("another");
    pod.server.disconnect();
    proxy.wait_until_says(
        "credentials of /var/run/secrets/kubernetes.io/serviceaccount/token, invalid or expired",
    );
    pod.server.replace_all(&one("a", "10.96.0.1", "10.244.1.2"));
    pod.rotate("fresh-secret-token");
    serves(&node, &[("10.96.0.1", "10.244.1.2")]);
    assert!(!proxy.log().contains("secret-token"));
}

#[test]
fn a_signal_ends_it_at_once_though_the_api_server_never_answers() {
    let node = Node::conformance("mute");
    let mute = node.enter(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("config"), config(json!({})).to_string()).unwrap();
    let server = node.enter(ApiServer::start);
    let url = format!("https://{}", mute.local_addr().unwrap());
    let settings =
        config(json!({"clientConnection": {"kubeconfig": files.path().join("kubeconfig")}}));
    fs::write(files.path().join("kubeconfig"), server.kubeconfig().replace(&server.url(), &url))
        .unwrap();
    fs::write(files.path().join("encrypted"), settings.to_string()).unwrap();
    for (file, master) in [("encrypted", ""), ("config", &*url.replace("https", "http"))] {
        let mut command = Command::new("ipvs-proxy");
        command.arg(format!("--master={master}")).arg("--config").arg(files.path().join(file));
        let mut proxy = Proxy::spawn(command, &node);
        proxy.wait_until_says("following the API server");
        thread::sleep(Duration::from_secs(2));
        ends_at_once(&mut proxy);
    }
}

#[test]
fn a_signal_ends_it_at_once_though_the_kernel_never_answers() {
    let node = Node::conformance("stuck");
    let source = Source::manifests();
    source.replace_all(&one("a", "10.96.0.1", "10.244.1.1"));
    let Source::Manifests(manifests) = &source else { unreachable!() };
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("config"), config(json!({})).to_string()).unwrap();
    // Once while it prepares the node, and once in the first round.
    for program in ["iptables", "iptables-restore"] {
        let folder = files.path().join(program);
        fs::create_dir(&folder).unwrap();
        let script = folder.join(program);
        let stuck = folder.join("stuck");
        fs::write(&script, format!("#!/bin/sh\n: >{}\nexec sleep 30\n", stuck.display())).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(which("ipvs-proxy"));
        command.arg("--manifests").arg(manifests.path());
        command.arg("--config").arg(files.path().join("config"));
        command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
        let mut proxy = Proxy::spawn(command, &node);
        until(PATIENCE, || stuck.exists().then_some(())).expect("it waits for the kernel");
        ends_at_once(&mut proxy);
    }
}

/// Checks that the process ends within a second, plus the time that the machine takes to run any
/// program.
fn ends_at_once(proxy: &mut Proxy) {
    let asked = Instant::now();
    Command::new("ipvs-proxy").arg("--version").stdout(Stdio::null()).status().unwrap();
    let limit = Duration::from_secs(1) + asked.elapsed();
    let asked = Instant::now();
    proxy.signal(Signal::TERM);
    let status = proxy.wait(PATIENCE);
    let took = asked.elapsed();
    println!("ended after {took:?}");
    assert_eq!(status.code(), Some(0), "{}", proxy.log());
    assert!(took < limit, "{took:?}, limit {limit:?}");
    assert!(proxy.log().lines().last().unwrap().contains("stopping on SIGTERM"), "{}", proxy.log());
}

/// Checks that every line has klog's form.
fn is_klog(log: &str) {
    for line in log.lines() {
        let header: String =
            line.chars().take(21).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        let kinds = ["I", "W", "E"].map(|severity| format!("{severity}9999 99:99:99.999999"));
        assert!(kinds.contains(&header), "{line}");
        let rest = line.split_once("] ").expect("a header").1;
        assert!(rest.starts_with('"'), "{line}");
    }
}
