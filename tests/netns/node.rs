//! Hosts made of network namespaces: a node to program, pods on it, a second node, a client outside.
//!
//! In: names. Out: namespaces whose interfaces, addresses and routes are up when the constructor returns.
//! Everything is deleted on drop; nothing outside the namespaces is ever changed. Each test builds its own,
//! under names no other test has, so that tests run in parallel. When a test fails, the state of its
//! namespaces is left in `$LAB_OUT`, see `tests/vm/README.md`.
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
//! Pods are routed, not bridged: an answer from one pod to another passes the node, where it is translated
//! back, without `br_netfilter`. Link-local addresses are given by hand, and only to devices that forward
//! (without one a router solicits no neighbour): generated ones are of no use until duplicate detection ends.

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
    /// A host that is no part of the cluster and routes everything to `node1`.
    pub(crate) client: Namespace,
    _wire: Namespace,
}

impl Lab {
    /// The cluster of the address plan, without pods; `name` is the test's.
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

    /// The address of the client outside the cluster.
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
    /// The node on which the conformance cases were recorded: two devices, nothing behind them. Only what
    /// was set before the proxy started there is set, so that its own sysctls can be told apart.
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
        // A hairpin leaves by the device it came in by; no pod should be told of a better way.
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

    /// The address that the node's neighbours know it by.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        let host = u16::from(self.number);
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 10 + self.number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + host).into(),
        }
    }

    /// The address that the node has towards a pod of its own.
    pub(crate) fn gateway(&self, family: Family) -> IpAddr {
        pod_address(self.number, 1, family)
    }

    /// A new pod on this node; `host` (2 to 9) is the last part of its addresses.
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
    /// The pod's address of a family.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        pod_address(self.node, self.host, family)
    }

    /// The name of the node it is on.
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
    /// Both, for tests that do everything twice.
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// A network namespace with a name that `ip netns exec` knows, deleted on drop.
pub(crate) struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// A namespace in which only the loopback is up: without it there is no local routing table, and IPVS
    /// refuses every destination.
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

    /// What `ip netns exec` calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` on a thread inside, so that sockets it opens and programs it starts belong there.
    pub(crate) fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.handle, CloneFlags::CLONE_NEWNET).unwrap();
            body()
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    }

    /// Runs a shell command inside and returns what it printed. It must succeed.
    pub(crate) fn run(&self, command: &str) -> String {
        successful(self.enter(|| shell(command).output()), command)
    }

    /// Runs a shell command inside that may fail, as a test of errors wants.
    pub(crate) fn attempt(&self, command: &str) -> Output {
        self.enter(|| shell(command).output()).unwrap()
    }

    /// What the kernel itself prints of its virtual servers: seen at a glance, so that programs that tell more need
    /// to be asked only once it has changed.
    pub(crate) fn glance(&self) -> String {
        // Not there before IPVS is.
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

    /// Starts a program inside that lives until the returned value is dropped.
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

    /// Sets a sysctl of this namespace, its name in dots.
    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Runs lines of `ip` commands inside, in one process.
    fn ip(&self, lines: &str) {
        self.feed("ip -batch -", lines);
    }

    /// Links `eth0` of this namespace to the bridge of another one, as `port` there.
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

    /// Writes what is needed to understand a failure, and says where.
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
        // A second panic would abort the run, and a namespace that stays harms no other test.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A program that runs in a namespace; killed on drop.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// What it has written so far, both streams.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// The process, to look at it from outside.
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

/// A name that no other test and no other run of this one has.
fn unique(label: &str) -> String {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    format!("{label}.{}.{}", process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// A command line: by a shell what only a shell understands. Starting one costs an emulated machine as much as the
/// program does.
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

/// What tests read the kernel with, again and again.
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

/// Where the lab collects what a test leaves behind.
fn out_folder() -> PathBuf {
    env::var_os("LAB_OUT").map_or_else(env::temp_dir, PathBuf::from)
}
