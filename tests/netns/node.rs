//! Makes hosts of network namespaces: a node to program, its pods, a second node, and a client
//! outside.
//!
//! Takes names. Returns namespaces whose interfaces, addresses and routes are up. They are deleted
//! on drop, and nothing outside of them is changed. Each test makes its own, with unique names, so
//! that tests run in parallel. When a test fails, the state of its namespaces is left in
//! `$LAB_OUT`, see `tests/vm/README.md`.
//!
//! # Address plan
//! ```text
//! host            device        IPv4              IPv6                   routes
//! node1           eth0          192.0.2.11/24     2001:db8:1::11/64      pods of node2 via node2
//!   pod N         eth0          10.244.1.N/32     fd00:10:244:1::N/128   default via .1, ::1
//!   veth-N (ptp)                10.244.1.1/32     fd00:10:244:1::1/128   pod N
//! node2           eth0          192.0.2.12/24     2001:db8:1::12/64      pods of node1 via node1
//!   pod N         eth0          10.244.2.N/32     fd00:10:244:2::N/128   default via .1, ::1
//! client          eth0          192.0.2.100/24    2001:db8:1::100/64     default via node1
//! wire            a bridge that joins the three eth0
//!
//! conformance()   eth0 (dummy)  192.0.2.11/24     2001:db8:1::11/64      default via .1, ::1
//!                 eth1 (dummy)  198.51.100.11/24
//! Services        10.96.0.0/16, fd00:10:96::/112  are on no device until something programs the node
//! ```
//! Pods are routed, not bridged: an answer from one pod to another passes the node, where it is
//! translated back, without `br_netfilter`. Link-local addresses are assigned by hand, and only to
//! devices that forward: without one a router solicits no neighbour. Generated addresses cannot be
//! used until duplicate detection ends.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, panic, process, thread};

use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, Signal, kill_process};

/// A cluster of two nodes and a client outside it.
pub(crate) struct Lab {
    /// The node under test.
    pub(crate) node1: Node,
    /// Another node: its pods are remote endpoints for `node1`.
    pub(crate) node2: Node,
    /// A host outside the cluster, which routes everything to `node1`.
    pub(crate) client: Namespace,
    _wire: Namespace,
}

impl Lab {
    /// Makes the cluster of the address plan, without pods. `name` is the test's name.
    pub(crate) fn new(name: &str) -> Self {
        let name = &unique(name);
        let wire = Namespace::named(format!("{name}-wire"));
        wire.ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up");
        let node1 = Node::join(&wire, name, 1);
        let node2 = Node::join(&wire, name, 2);
        let client = Namespace::named(format!("{name}-client"));
        let [v4, v6] = Family::BOTH.map(|family| Self::client_address(family).to_string());
        client.plug_into(&wire, "client", &v4, &v6);
        client.ip("route add default via 192.0.2.11\nroute add default via 2001:db8:1::11");
        Self { node1, node2, client, _wire: wire }
    }

    /// Returns the address of the client outside the cluster.
    pub(crate) fn client_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 100).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100).into(),
        }
    }
}

/// A node of the cluster: a router with pods behind it.
pub(crate) struct Node {
    namespace: Namespace,
    number: u8,
}

impl Node {
    /// Makes the node on which the conformance cases were recorded, with two devices and no other
    /// hosts. Sets only what was set there before the proxy started, so that the proxy's own
    /// sysctls can be recognized.
    pub(crate) fn conformance(name: &str) -> Namespace {
        let node = Namespace::new(name);
        node.ip("link add eth0 type dummy\n\
             link set eth0 addrgenmode none\n\
             link set eth0 up\n\
             addr add 192.0.2.11/24 dev eth0\n\
             addr add 2001:db8:1::11/64 dev eth0 nodad\n\
             link add eth1 type dummy\n\
             link set eth1 addrgenmode none\n\
             link set eth1 up\n\
             addr add 198.51.100.11/24 dev eth1\n\
             route add default via 192.0.2.1\n\
             route add default via 2001:db8:1::1");
        node
    }

    fn join(wire: &Namespace, name: &str, number: u8) -> Self {
        let namespace = Namespace::named(format!("{name}-node{number}"));
        namespace.sysctl("net.ipv4.ip_forward", "1");
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
        // A hairpin packet leaves by the device it came in by. The node must not send a redirect to
        // the pod.
        namespace.sysctl("net.ipv4.conf.all.send_redirects", "0");
        namespace.sysctl("net.ipv4.conf.default.send_redirects", "0");
        let (v4, v6) = (format!("192.0.2.1{number}"), format!("2001:db8:1::1{number}"));
        namespace.plug_into(wire, &format!("node{number}"), &v4, &v6);
        let other = 3 - number;
        namespace.ip(&format!(
            "addr add fe80::1{number}/64 dev eth0 nodad\n\
             route add 10.244.{other}.0/24 via 192.0.2.1{other}\n\
             route add fd00:10:244:{other}::/64 via 2001:db8:1::1{other}"
        ));
        Self { namespace, number }
    }

    /// Returns the node's address on its network.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        let host = u16::from(self.number);
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 10 + self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + host).into(),
        }
    }

    /// Returns the node's address on the devices towards its pods.
    pub(crate) fn gateway(&self, family: Family) -> IpAddr {
        pod_address(self.number, 1, family)
    }

    /// Makes a pod on this node; `host` (2 to 9) is the last part of its addresses.
    pub(crate) fn pod(&self, host: u8) -> Pod {
        let node = self.number;
        let (subnet4, subnet6) = (format!("10.244.{node}"), format!("fd00:10:244:{node}:"));
        let namespace = Namespace::named(format!("{}-pod{host}", self.name));
        self.ip(&format!(
            "link add veth-{host} type veth peer name eth0 netns {}\n\
             link set veth-{host} addrgenmode none\n\
             link set veth-{host} up\n\
             addr add {subnet4}.1/32 dev veth-{host}\n\
             addr add {subnet6}:1/128 dev veth-{host} nodad\n\
             addr add fe80::1/64 dev veth-{host} nodad\n\
             route add {subnet4}.{host} dev veth-{host}\n\
             route add {subnet6}:{host} dev veth-{host}",
            namespace.name
        ));
        namespace.ip(&format!(
            "link set eth0 addrgenmode none\n\
             link set eth0 up\n\
             addr add {subnet4}.{host}/32 dev eth0\n\
             addr add {subnet6}:{host}/128 dev eth0 nodad\n\
             route add {subnet4}.1 dev eth0\n\
             route add {subnet6}:1 dev eth0\n\
             route add default via {subnet4}.1\n\
             route add default via {subnet6}:1"
        ));
        Pod { namespace, node, host }
    }
}

impl Deref for Node {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// A pod: one interface, one address of each family.
pub(crate) struct Pod {
    namespace: Namespace,
    node: u8,
    host: u8,
}

impl Pod {
    /// Returns the pod's address of a family.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        pod_address(self.node, self.host, family)
    }

    /// Returns the name of the pod's node.
    pub(crate) fn node_name(&self) -> String {
        format!("node{}", self.node)
    }
}

impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

fn pod_address(node: u8, host: u8, family: Family) -> IpAddr {
    let (wide_node, wide_host) = (u16::from(node), u16::from(host));
    match family {
        Family::V4 => Ipv4Addr::new(10, 244, node, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x244, wide_node, 0, 0, 0, wide_host).into(),
    }
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, for tests that do everything twice.
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// A network namespace with a name that `ip netns exec` knows. It is deleted on drop.
pub(crate) struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace in which only the loopback device is up. Without it there is no local
    /// routing table, and IPVS refuses every destination.
    pub(crate) fn new(label: &str) -> Self {
        Self::named(unique(label))
    }

    fn named(name: String) -> Self {
        successful(Command::new("ip").args(["netns", "add", &name]).output(), "ip netns add");
        let handle = File::open(format!("/run/netns/{name}")).unwrap();
        let namespace = Self { name, handle };
        namespace.ip("link set lo up");
        namespace
    }

    /// Returns the name that `ip netns exec` uses.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` on a thread inside the namespace, so that its sockets and programs belong there.
    pub(crate) fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.handle, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    }

    /// Runs a shell command inside, which must succeed. Returns its output.
    pub(crate) fn run(&self, command: &str) -> String {
        successful(self.enter(|| shell(command).output()), command)
    }

    /// Runs a shell command inside, which may fail.
    pub(crate) fn attempt(&self, command: &str) -> Output {
        self.enter(|| shell(command).output()).unwrap()
    }

    /// Returns the kernel's own list of virtual servers. Reading it is cheap, so slower programs
    /// need to run only when it has changed.
    pub(crate) fn glance(&self) -> String {
        // The file does not exist before IPVS is loaded.
        self.enter(|| fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default())
    }

    /// Runs a shell command inside with `input` on its standard input. It must succeed.
    pub(crate) fn feed(&self, command: &str, input: &str) -> String {
        let output = self.enter(|| {
            let mut shell = shell(command);
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = shell.spawn()?;
            child.stdin.take().unwrap().write_all(input.as_bytes())?;
            child.wait_with_output()
        });
        successful(output, command)
    }

    /// Starts a program inside, which runs until the returned value is dropped.
    pub(crate) fn spawn(&self, command: &str) -> Daemon {
        let program = command.split_whitespace().next().unwrap().replace('/', "_");
        let log = out_folder().join(format!("{}-{program}.log", self.name));
        // A program that is started again continues its log.
        let sink = File::options().create(true).append(true).open(&log).unwrap();
        let child = self.enter(|| {
            let mut shell = shell(&format!("exec {command}"));
            shell.stdout(sink.try_clone()?).stderr(sink).spawn()
        });
        Daemon { child: child.unwrap(), log }
    }

    /// Sets a sysctl of this namespace; the name is written with dots.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Runs lines of `ip` commands inside, in one process.
    fn ip(&self, lines: &str) {
        self.feed("ip -batch -", lines);
    }

    /// Connects `eth0` of this namespace to the bridge of another one, as `port` there.
    fn plug_into(&self, wire: &Namespace, port: &str, v4: &str, v6: &str) {
        wire.ip(&format!(
            "link add {port} type veth peer name eth0 netns {}\nlink set {port} master br0 up",
            self.name
        ));
        self.ip(&format!(
            "link set eth0 addrgenmode none\n\
             link set eth0 up\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad"
        ));
    }

    /// Writes the state of the namespace into a file, and prints the file's name.
    pub(crate) fn leave_state(&self) {
        let file = out_folder().join(format!("{}.txt", self.name));
        let commands =
            "ip -d address; ip route; ip -6 route; ipvsadm -Ln; ipvsadm -Lnc; ipset save;
            iptables-save -c; ip6tables-save -c; conntrack -L; conntrack -L -f ipv6; ss -anp";
        let state = self.enter(|| shell(&format!("exec 2>&1; set -x; {commands}")).output());
        let written = state.and_then(|output| fs::write(&file, output.stdout));
        eprintln!("state of namespace {}: {} ({written:?})", self.name, file.display());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if thread::panicking() {
            self.leave_state();
        }
        // A second panic would abort the run, and a remaining namespace does no harm to other
        // tests.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A program that runs in a namespace. It is killed on drop.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Returns the output so far, of both streams.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// Returns the process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("output of a daemon, {}:\n{}", self.log.display(), self.output());
        }
    }
}

/// Returns a name that no other test and no other run has.
fn unique(label: &str) -> String {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    format!("{label}.{}.{}", process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// Makes a command of a line. Uses a shell only if necessary: on an emulated machine starting one
/// takes as long as the program itself.
fn shell(line: &str) -> Command {
    let mut words = line.strip_prefix("exec ").unwrap_or(line).split(' ');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_./:,[]".contains(&byte);
    let mut command = match words.next() {
        Some(program) if PROGRAMS.contains(&program) && line.bytes().all(is_plain) => {
            let mut command = Command::new(program);
            command.args(words.filter(|word| !word.is_empty()));
            command
        }
        _ => {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        }
    };
    command.stdin(Stdio::null());
    command
}

/// The programs that tests often run to read the kernel.
const PROGRAMS: [&str; 6] =
    ["ipvsadm", "ipset", "iptables-save", "ip6tables-save", "ip", "conntrack"];

fn successful(output: std::io::Result<Output>, command: &str) -> String {
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the folder in which the lab collects the files of tests.
fn out_folder() -> PathBuf {
    env::var_os("LAB_OUT").map_or_else(env::temp_dir, PathBuf::from)
}
