//! Makes the cluster in which Services are tested: the lab, pods on both nodes, and the proxy on
//! one of them.
//!
//! Takes settings of the proxy. Returns a [`World`] whose proxy follows a folder. Tests that do not
//! restart the proxy share a world, each with a Service of its own. Making a world takes longer
//! than most tests.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{Daemon, Lab, Namespace, Pod};

/// The lab with its pods, and a running proxy on `node1`.
pub(super) struct World {
    pub(super) lab: Lab,
    /// The pods on `node1` that are endpoints.
    pub(super) local: [Pod; 2],
    /// The pod on `node2` that is an endpoint.
    pub(super) remote: Pod,
    /// A pod on `node1` that is not an endpoint.
    pub(super) caller: Pod,
    /// A pod on `node2` that is not an endpoint.
    pub(super) distant: Pod,
    pub(super) proxy: Proxy,
    serial: AtomicU16,
}

/// The settings of the proxy.
#[derive(Clone, Copy)]
pub(super) enum Settings {
    /// The pods' network is the `clusterCIDR`.
    ClusterCidr,
    /// The pods' network is the `clusterCIDR`, and everything is masqueraded.
    MasqueradeAll,
    /// Local traffic cannot be detected.
    NoDetection,
    /// Node ports are at the addresses of the nodes' own network.
    NodePortNet,
    /// Node ports are at the node's first address.
    NodePortPrimary,
    /// Destinations may drain for at most [`DRAIN_LIMIT`].
    LimitedDrain,
    /// IPVS and the kernel forget a datagram's connection after a second.
    ForgetfulUdp,
    /// Traffic policies and source ranges follow the API strictly.
    Strict,
}

/// The longest time that a destination may drain if that is limited.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// The zone of `node1`.
pub(super) const ZONE: &str = "here";

impl World {
    /// Makes a world for one test.
    pub(super) fn new(name: &str, settings: Settings) -> Self {
        let lab = Lab::new(name);
        // Every refusal must reach the client, not only the first ones of a second.
        lab.node1.sysctl("net.ipv4.icmp_ratelimit", "0");
        lab.node1.sysctl("net.ipv6.icmp.ratelimit", "0");
        let local = [lab.node1.pod(2), lab.node1.pod(3)];
        let (remote, caller, distant) = (lab.node2.pod(2), lab.node1.pod(9), lab.node2.pod(9));
        connect_to_the_world(&lab);
        let proxy = Proxy::start(&lab.node1, settings);
        Self { lab, local, remote, caller, distant, proxy, serial: AtomicU16::new(0) }
    }

    /// Returns the world with these settings that tests share while any of them uses it.
    pub(super) fn shared(settings: Settings) -> Arc<Self> {
        static SHARED: [Mutex<Weak<World>>; 8] = [const { Mutex::new(Weak::new()) }; 8];
        let mut shared = SHARED[settings as usize].lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new("packets", settings));
            *shared = Arc::downgrade(&world);
            world
        })
    }

    /// Returns the pods that are endpoints.
    pub(super) fn endpoints(&self) -> [&Pod; 3] {
        [&self.local[0], &self.local[1], &self.remote]
    }

    /// Returns a number that no other Service of this world has.
    pub(super) fn number(&self) -> u16 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Sets routes. `node1` has a default gateway from which nothing comes back. Hosts outside the
/// cluster use `node1` as the gateway to Services. The pods of `node2` do so for the external
/// addresses.
fn connect_to_the_world(lab: &Lab) {
    let neighbour = |address| format!("neigh add {address} lladdr 02:00:00:00:00:01 dev eth0\n");
    let routes = "route add default via 192.0.2.1\nroute add default via 2001:db8:1::1";
    let (v4, v6) = (neighbour("192.0.2.1"), neighbour("2001:db8:1::1"));
    lab.node1.feed("ip -batch -", &format!("{v4}{v6}{routes}"));
    let routes = "route add 198.18.0.0/15 via 192.0.2.11\n\
        route add 2001:db8:18::/48 via 2001:db8:1::11\n\
        route add 2001:db8:19::/48 via 2001:db8:1::11";
    lab.node2.feed("ip -batch -", routes);
}

/// The proxy and its folder of manifests.
pub(super) struct Proxy {
    daemon: Mutex<Option<Daemon>>,
    folder: TempDir,
}

impl Proxy {
    fn start(node: &Namespace, settings: Settings) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        write(&folder.path().join("config.yaml"), &config(settings));
        write(&folder.path().join("own.yaml"), &own_config(settings));
        write(&folder.path().join("manifests/node1.json"), &node1());
        let daemon = Mutex::new(Some(spawn(node, folder.path())));
        Self { daemon, folder }
    }

    /// Stops the proxy as `systemctl` or the kubelet would.
    pub(super) fn stop(&self) -> ExitStatus {
        self.daemon().take().expect("the proxy is running").terminate()
    }

    /// Starts the proxy again, with the same configuration and folder.
    pub(super) fn start_again(&self, node: &Namespace) {
        let before = self.daemon().replace(spawn(node, self.folder.path()));
        assert!(before.is_none(), "the proxy was running");
    }

    /// Adds or changes a manifest in the folder. Readers never see an incomplete one.
    pub(super) fn apply(&self, name: &str, manifest: &Value) {
        write(&self.folder.path().join(format!("manifests/{name}.json")), manifest);
    }

    /// Removes a manifest from the folder.
    pub(super) fn withdraw(&self, name: &str) {
        fs::remove_file(self.folder.path().join(format!("manifests/{name}.json"))).unwrap();
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the proxy's log.
    pub(super) fn output(&self) -> String {
        self.daemon().as_ref().map(Daemon::output).unwrap_or_default()
    }
}

fn spawn(node: &Namespace, folder: &Path) -> Daemon {
    let folder = folder.display();
    node.spawn(&format!(
        "ipvs-proxy --manifests {folder}/manifests --config {folder}/config.yaml \
         --extra-config {folder}/own.yaml"
    ))
}

fn config(settings: Settings) -> Value {
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "ipvs",
        "hostnameOverride": "node1",
        "clusterCIDR": "10.244.0.0/16,fd00:10:244::/48",
        // The table's size belongs to the first network namespace.
        "conntrack": {"maxPerCore": 0},
    });
    match settings {
        Settings::ClusterCidr | Settings::LimitedDrain | Settings::Strict => {}
        Settings::MasqueradeAll => config["iptables"] = json!({"masqueradeAll": true}),
        Settings::NoDetection => config["clusterCIDR"] = "".into(),
        Settings::NodePortNet => {
            config["nodePortAddresses"] = json!(["192.0.2.0/24", "2001:db8:1::/64"]);
        }
        Settings::NodePortPrimary => config["nodePortAddresses"] = json!(["primary"]),
        Settings::ForgetfulUdp => {
            config["ipvs"] = json!({"udpTimeout": "1s"});
            config["conntrack"]["udpTimeout"] = "1s".into();
            config["conntrack"]["udpStreamTimeout"] = "1s".into();
        }
    }
    config
}

/// Returns the settings that kube-proxy does not have.
fn own_config(settings: Settings) -> Value {
    let mut config =
        json!({"apiVersion": "ipvs-proxy.io/v1alpha1", "kind": "IPVSProxyConfiguration"});
    match settings {
        Settings::LimitedDrain => {
            config["gracefulTerminationTimeout"] = format!("{}s", DRAIN_LIMIT.as_secs()).into();
        }
        Settings::Strict => config["strictTrafficPolicies"] = true.into(),
        _ => {}
    }
    config
}

/// Returns the Node object of `node1`.
fn node1() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": ZONE}},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.11"},
            {"type": "InternalIP", "address": "2001:db8:1::11"},
        ]},
    })
}

fn write(path: &Path, content: &Value) {
    let draft = path.with_extension("draft");
    fs::write(&draft, content.to_string()).unwrap();
    fs::rename(&draft, path).unwrap();
}
