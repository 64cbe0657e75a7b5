//! Tests following the node's addresses, in a network namespace of the test's own.
//!
//! Takes changes made by `ip`. Compares the events of the source with what `ip` then shows. Each
//! test runs itself again under `unshare` (util-linux), so it needs no privileges where user
//! namespaces are allowed. Does not change anything outside the namespace. A veth device named
//! kube-ipvs0 replaces the dummy device, which not every kernel has.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ipvs_proxy::addresses;
use ipvs_proxy::lasting::Lasting;
use proxier::model::{Batch, Event, Removed};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Long enough for a busy machine; no test waits that long if all is well.
const LIMIT: Duration = Duration::from_secs(20);
const COUNT: u32 = 5000;

/// Runs `body` in a new network namespace.
fn in_namespace(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "IPVS_PROXY_TEST_INSIDE";
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let status = Command::new("unshare")
        .arg("-rn")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("addresses::{test}")])
        .env(INSIDE, "1")
        .status()
        .expect("unshare (util-linux) is needed");
    assert!(status.success(), "{test} failed in its namespace");
}

/// Runs commands of `ip`, one a line, in one process.
fn ip(commands: &str) {
    let mut child =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2");
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{commands}");
}

/// Returns one command for each of many addresses.
fn many(verb: &str, device: &str) -> String {
    (0..COUNT).fold(String::new(), |mut commands, at| {
        writeln!(commands, "addr {verb} 10.1.{}.{}/32 dev {device}", at / 256, at % 256).unwrap();
        commands
    })
}

/// Returns the addresses that `ip` shows, in the form of [`Watching`].
fn shown() -> Vec<String> {
    let output = Command::new("ip").args(["-brief", "addr"]).output().expect("iproute2");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().unwrap().split('@').next().unwrap();
        let addresses = words.filter(|word| word.contains('/') && device != "kube-ipvs0");
        found.extend(addresses.map(|address| format!("{device} {address}")));
    }
    found.sort();
    found
}

/// The source, and the addresses that it last sent.
struct Watching {
    events: Receiver<Batch>,
    _other_sources: Sender<Batch>,
    now: Vec<String>,
    removed: Vec<Removed>,
}

impl Watching {
    fn begin(queue: usize) -> Self {
        let (sender, events) = mpsc::channel(queue);
        addresses::start(&sender, Lasting::default()).unwrap();
        Self { events, _other_sources: sender, now: Vec::new(), removed: Vec::new() }
    }

    /// Returns the next addresses if an event comes within `limit`.
    fn next(&mut self, limit: Duration) -> Option<&[String]> {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            match self.events.try_recv() {
                Ok(batch) => {
                    let [Event::Addresses(addresses)] = &batch[..] else {
                        let removed = batch.into_iter().map(|event| match event {
                            Event::Removed(removed) => removed,
                            other => panic!("{other:?}"),
                        });
                        self.removed.extend(removed);
                        continue;
                    };
                    let text = |found: &proxier::model::InterfaceAddress| {
                        format!("{} {}", found.device, found.address)
                    };
                    self.now = addresses.iter().map(text).collect();
                    self.now.sort();
                    return Some(&self.now);
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }

    /// Takes events until the source agrees with `ip`. Returns the number of events.
    fn agrees(&mut self) -> u32 {
        let mut taken = 0;
        while self.now != shown() {
            let before = self.now.clone();
            assert!(self.next(LIMIT).is_some(), "{before:?} but {:?}", shown());
            taken += 1;
        }
        taken
    }

    fn is_silent(&mut self) {
        let event = self.next(Duration::from_millis(300)).map(<[String]>::to_vec);
        assert_eq!(event, None);
    }
}

#[test]
fn every_address_there_is_comes_first() {
    in_namespace("every_address_there_is_comes_first", || {
        ip("link set lo up\nlink add ve0 type veth peer name ve1\naddr add 192.0.2.1/24 dev ve0\n\
            addr add 192.0.2.2/24 dev ve0\naddr add 2001:db8::1/64 dev ve0\n\
            addr add 10.0.0.1 peer 10.0.0.2/32 dev ve1\n");
        let mut watching = Watching::begin(4);
        let wanted = [
            "lo 127.0.0.1/8",
            "lo ::1/128",
            "ve0 192.0.2.1/24",
            "ve0 192.0.2.2/24",
            "ve0 2001:db8::1/64",
            "ve1 10.0.0.1/32",
        ];
        assert_eq!(watching.next(LIMIT).unwrap(), wanted);
        watching.is_silent();
    });
}

#[test]
fn a_node_without_any_address_says_so() {
    in_namespace("a_node_without_any_address_says_so", || {
        assert_eq!(Watching::begin(4).next(LIMIT), Some([].as_slice()));
    });
}

#[test]
fn addresses_come_and_go_with_their_interfaces() {
    in_namespace("addresses_come_and_go_with_their_interfaces", || {
        ip("link add ve0 type veth peer name ve1\n");
        let mut watching = Watching::begin(4);
        assert_eq!(watching.next(LIMIT), Some([].as_slice()));
        for (command, wanted) in [
            ("addr add 192.0.2.1/24 dev ve0", vec!["ve0 192.0.2.1/24"]),
            ("addr add 2001:db8::1/64 dev ve1", vec!["ve0 192.0.2.1/24", "ve1 2001:db8::1/64"]),
            ("link set ve0 name ve2", vec!["ve1 2001:db8::1/64", "ve2 192.0.2.1/24"]),
            ("addr del 2001:db8::1/64 dev ve1", vec!["ve2 192.0.2.1/24"]),
            ("link del ve2", vec![]),
        ] {
            ip(command);
            let done = Instant::now();
            assert_eq!(watching.next(LIMIT).unwrap(), wanted, "{command}");
            println!("{command}: told after {:?}", done.elapsed());
        }
        // The device is up: the kernel adds link-local addresses by itself.
        ip("link add ve0 type veth peer name ve1\nlink set ve0 up\nlink set ve1 up\n");
        while watching.now.iter().filter(|found| found.contains(" fe80:")).count() < 2 {
            assert!(watching.next(LIMIT).is_some());
        }
        watching.agrees();
    });
}

#[test]
fn a_port_that_leaves_its_bridge_keeps_its_addresses() {
    in_namespace("a_port_that_leaves_its_bridge_keeps_its_addresses", || {
        ip("link add ve0 type veth peer name ve1\nlink add br0 type bridge\n\
            addr add 192.0.2.1/24 dev ve0\n");
        let mut watching = Watching::begin(4);
        assert_eq!(watching.next(LIMIT).unwrap(), ["ve0 192.0.2.1/24"]);
        ip("link set ve0 master br0\nlink set ve0 nomaster\n");
        watching.is_silent();
    });
}

#[test]
fn the_dummy_device_is_passed_over_whatever_its_index() {
    in_namespace("the_dummy_device_is_passed_over_whatever_its_index", || {
        ip("link add kube-ipvs0 type veth peer name ve1\naddr add 10.96.0.1/32 dev kube-ipvs0\n");
        let mut watching = Watching::begin(4);
        assert_eq!(watching.next(LIMIT), Some([].as_slice()));

        ip(&many("add", "kube-ipvs0"));
        ip(&many("del", "kube-ipvs0"));
        watching.is_silent();
        ip("link del kube-ipvs0\nlink add kube-ipvs0 type veth peer name ve1\n\
            addr add 10.96.0.2/32 dev kube-ipvs0\n");
        watching.is_silent();
        let address = Removed::Address("10.96.0.1".parse().unwrap());
        assert!(watching.removed.contains(&address) && watching.removed.contains(&Removed::Device));
        ip("addr add 192.0.2.1/24 dev ve1\n");
        assert_eq!(watching.next(LIMIT).unwrap(), ["ve1 192.0.2.1/24"]);

        ip("link set kube-ipvs0 name ve2\n");
        assert_eq!(watching.next(LIMIT).unwrap(), ["ve1 192.0.2.1/24", "ve2 10.96.0.2/32"]);
        ip("link set ve2 name kube-ipvs0\n");
        assert_eq!(watching.next(LIMIT).unwrap(), ["ve1 192.0.2.1/24"]);
    });
}

#[test]
fn five_thousand_addresses_at_once_are_all_told() {
    in_namespace("five_thousand_addresses_at_once_are_all_told", || {
        ip("link add ve0 type veth peer name ve1\n");
        let mut watching = Watching::begin(1024);
        ip(&many("add", "ve0"));
        let events = watching.agrees();
        assert_eq!(watching.now.len(), COUNT as usize);
        assert!(events <= COUNT + 1, "{events}");
        ip("addr flush dev ve0\n");
        watching.agrees();
        assert_eq!(watching.now, [""; 0]);
        println!("{events} events for {COUNT} addresses");
    });
}

/// Returns how many messages the kernel could not deliver to listening route sockets.
fn dropped() -> u32 {
    let table = fs::read_to_string("/proc/net/netlink").unwrap();
    let listeners = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let route = listeners.filter(|words| words[1] == "0" && words[3] != "00000000");
    route.map(|words| words[8].parse::<u32>().unwrap()).sum()
}

#[test]
fn what_could_not_be_heard_is_read() {
    in_namespace("what_could_not_be_heard_is_read", || {
        ip("link add ve0 type veth peer name ve1\n");
        // The second event finds the queue full, so the source stops taking notices.
        let mut watching = Watching::begin(1);
        let begun = Instant::now();
        while dropped() == 0 {
            assert!(begun.elapsed() < 2 * LIMIT, "no overflow");
            ip(&many("add", "ve0"));
            ip(&many("del", "ve0"));
        }
        ip("addr add 192.0.2.1/24 dev ve0\n");
        watching.agrees();
        assert_eq!(watching.now, ["ve0 192.0.2.1/24"]);
        ip("addr add 192.0.2.2/24 dev ve0\n");
        assert_eq!(watching.next(LIMIT).unwrap(), ["ve0 192.0.2.1/24", "ve0 192.0.2.2/24"]);
    });
}
