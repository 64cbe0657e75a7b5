//! Measures the time that the kernel itself needs.
//!
//! Takes a shape, and the rules that a proxy of this shape has written. Returns the time of each
//! part. Sends the same operations as the proxy, encoded beforehand. Does not plan, compare or log.
//! A refused operation ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use ipset_netlink::message::{Dialect, ENTRIES_PER_MESSAGE, Edit};
use ipset_netlink::{Entry, Ipset, Repeat, SetSpec, SetType};
use ipvs_netlink::{Command, Destination, DestinationKey, Protocol, Query, Service, ServiceKey};
use netlink_batch::{Family, Request, Socket};
use netlink_packet_core::Emitable as _;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use proxier::model::Family as IpFamily;
use proxier::plan::{SetKey, SetKind, SetName};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use serde_json::{Value, json};

use super::scenario::apart;
use super::world::{PORTS, Shape, cluster_ip, is_local, pod_ip, successor};

/// The number of messages in a datagram. More do not make it faster.
const MESSAGES: usize = 400;
/// The number of single changes whose times are averaged.
const SINGLE: u32 = 50;
/// The number of changes in a burst.
pub(crate) const BURST: u32 = 1000;

/// Replays the first sync and changes after it in this network namespace. Returns the time of each
/// in milliseconds.
pub(crate) fn run(shape: Shape, rules: &Path) -> Value {
    let warm_up = rules.to_owned();
    apart(move || {
        make_link();
        make_sets();
        restore("iptables-restore", &warm_up.join("v4"));
        restore("ip6tables-restore", &warm_up.join("v6"));
    });
    let family = ipvs_family();
    let mut sender = Sender::open(Some(netlink::GENERIC));
    let mut address_sender = Sender::open(None);
    let mut set_sender = Sender::open(Some(netlink::NETFILTER));
    let servers = datagrams(&servers(shape, family));
    let entries = datagrams(&entries(shape));
    make_link();
    let addresses = datagrams(&addresses(shape));

    let start = Instant::now();
    make_sets();
    set_sender.send_all(&entries);
    let sets = start.elapsed();
    restore("iptables-restore", &rules.join("v4"));
    restore("ip6tables-restore", &rules.join("v6"));
    let rules = start.elapsed() - sets;
    address_sender.send_all(&addresses);
    let with_addresses = start.elapsed();
    sender.send_all(&servers);
    let all = start.elapsed();

    let start = Instant::now();
    drop(std::fs::read("/proc/thread-self/net/ip_vs").unwrap());
    let text_read = start.elapsed();
    let start = Instant::now();
    sender.dump(&dump(&Query::Services, family));
    let dumped = start.elapsed();
    let mut generations = Generations::new();
    let single = singles(shape, family, &mut generations, &mut sender);
    let burst = burst(shape, family, &mut generations, &mut sender);
    json!({
        "sets_ms": ms(sets),
        "rules_ms": ms(rules),
        "addresses_ms": ms(with_addresses - sets - rules),
        "ipvs_ms": ms(all - with_addresses),
        "first_sync_ms": ms(all),
        "read_text_ms": ms(text_read),
        "dump_services_ms": ms(dumped),
        "one_endpoint_ms": ms(single),
        "burst_ms": ms(burst),
    })
}

pub(crate) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Replaces endpoints one by one: the new one is added; the old one gets weight 0, is counted and
/// deleted.
fn singles(
    shape: Shape,
    family: u16,
    generations: &mut Generations,
    sender: &mut Sender,
) -> Duration {
    let steps: Vec<[Vec<u8>; 4]> = (0..SINGLE)
        .map(|at| {
            let (service, pod) = victim(shape, at);
            let [add, quiet, delete] =
                replacement(service, pod, generations).map(|command| one(&command, family));
            [add, quiet, dump(&Query::Destinations(key(service)), family), delete]
        })
        .collect();
    let start = Instant::now();
    for [add, quiet, count, delete] in &steps {
        sender.send(add);
        sender.send(quiet);
        sender.dump(count);
        sender.send(delete);
    }
    start.elapsed() / SINGLE
}

fn burst(
    shape: Shape,
    family: u16,
    generations: &mut Generations,
    sender: &mut Sender,
) -> Duration {
    let commands: Vec<[Command; 3]> = (SINGLE..SINGLE + BURST)
        .map(|at| {
            let (service, pod) = victim(shape, at);
            replacement(service, pod, generations)
        })
        .collect();
    let stages = [0, 1, 2].map(|stage| {
        let requests: Vec<_> =
            commands.iter().map(|commands| request(&commands[stage], family)).collect();
        datagrams(&requests)
    });
    let touched: BTreeSet<u32> = (SINGLE..SINGLE + BURST).map(|at| victim(shape, at).0).collect();
    let counts: Vec<_> =
        touched.iter().map(|at| dump(&Query::Destinations(key(*at)), family)).collect();
    let [add, quiet, delete] = stages;
    let start = Instant::now();
    sender.send_all(&add);
    sender.send_all(&quiet);
    counts.iter().for_each(|count| sender.dump(count));
    sender.send_all(&delete);
    start.elapsed()
}

/// Returns the Service and the pod to replace at this turn. Each pod has one turn before any has a
/// second.
pub(crate) fn victim(shape: Shape, at: u32) -> (u32, u32) {
    let service = at % shape.services;
    (service, service * shape.endpoints + at / shape.services % shape.endpoints)
}

/// The number of times that each pod was replaced.
type Generations = BTreeMap<u32, u32>;

fn replacement(service: u32, pod: u32, generations: &mut Generations) -> [Command; 3] {
    let generation = generations.entry(pod).or_default();
    let old = successor(pod, *generation);
    *generation += 1;
    let new = Destination::new(successor(pod, *generation).into(), PORTS.1);
    let mut quiet = Destination::new(old.into(), PORTS.1);
    quiet.weight = 0;
    [
        Command::NewDestination(key(service), new),
        Command::SetDestination(key(service), quiet),
        Command::DeleteDestination(key(service), DestinationKey::new(old.into(), PORTS.1)),
    ]
}

fn key(service: u32) -> ServiceKey {
    ServiceKey::address(Protocol::TCP, cluster_ip(service).into(), PORTS.0)
}

fn request(command: &Command, family: u16) -> Request {
    Request { kind: family, flags: 0, payload: command.encode().unwrap() }
}

fn servers(shape: Shape, family: u16) -> Vec<Request> {
    let mut requests = Vec::new();
    for service in 0..shape.services {
        requests.push(request(&Command::NewService(Service::new(key(service), "rr")), family));
        requests.extend(shape.pods(service).map(|pod| {
            let destination = Destination::new(pod_ip(pod).into(), PORTS.1);
            request(&Command::NewDestination(key(service), destination), family)
        }));
    }
    requests
}

fn addresses(shape: Shape) -> Vec<Request> {
    let index: u32 = std::fs::read_to_string("/sys/class/net/kube-ipvs0/ifindex")
        .map_or_else(|_| link_index(), |text| text.trim().parse().unwrap());
    let address = |service| {
        let ip = IpAddr::from(cluster_ip(service));
        let mut message = AddressMessage::default();
        message.header.family = netlink_packet_route::AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
        let mut payload = vec![0; message.buffer_len()];
        message.emit(&mut payload);
        let kind = RouteNetlinkMessage::NewAddress(message).message_type();
        Request { kind, flags: NLM_F_CREATE | NLM_F_EXCL, payload }
    };
    (0..shape.services).map(address).collect()
}

/// Returns the index of the dummy device. `/sys` cannot be used: it shows the network namespace in
/// which it was mounted.
fn link_index() -> u32 {
    let shown = Process::new("ip").args(["-o", "link", "show", "kube-ipvs0"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    shown.split(':').next().unwrap().parse().unwrap()
}

fn make_link() {
    let added = Process::new("ip").args(["link", "add", "kube-ipvs0", "type", "dummy"]).status();
    assert!(added.unwrap().success());
}

fn make_sets() {
    let mut ipset = Ipset::open().unwrap();
    for family in IpFamily::BOTH {
        for name in SetName::ALL {
            ipset.create(&spec(SetKey { family, name }), Repeat::Refuse).unwrap();
        }
    }
}

fn spec(key: SetKey) -> SetSpec {
    let kind = match key.name.kind() {
        SetKind::HashIp => SetType::HashIp,
        SetKind::HashIpPort => SetType::HashIpPort,
        SetKind::HashIpPortIp => SetType::HashIpPortIp,
        SetKind::HashIpPortNet => SetType::HashIpPortNet,
        SetKind::BitmapPort => SetType::BitmapPort,
    };
    let family = match key.family {
        IpFamily::V4 => ipset_netlink::Family::Inet,
        IpFamily::V6 => ipset_netlink::Family::Inet6,
    };
    SetSpec::new(key.name.kernel_name(key.family).parse().unwrap(), kind, family)
}

fn entries(shape: Shape) -> Vec<Request> {
    let tcp = Protocol(6);
    let services = 0..shape.services;
    let frontends = services.clone().map(|service| Entry::IpPort {
        ip: cluster_ip(service).into(),
        protocol: tcp,
        port: PORTS.0,
    });
    let addresses = services.map(|service| Entry::Ip(cluster_ip(service).into()));
    let hairpins = (0..shape.destinations()).filter(|pod| is_local(*pod)).map(|pod| {
        let ip = pod_ip(pod).into();
        Entry::IpPortIp { ip, protocol: tcp, port: PORTS.1, ip2: ip }
    });
    let mut requests = Vec::new();
    let mut fill = |set: &str, entries: Vec<Entry>| {
        for entries in entries.chunks(ENTRIES_PER_MESSAGE) {
            let set = set.parse().unwrap();
            requests.push(Dialect::NEWEST.edit(Edit::Add, &set, entries, Repeat::Accept).unwrap());
        }
    };
    fill("KUBE-CLUSTER-IP", frontends.collect());
    fill("KUBE-IPVS-IPS", addresses.collect());
    fill("KUBE-LOOP-BACK", hairpins.collect());
    requests
}

fn restore(tool: &str, rules: &Path) {
    let status = Process::new(tool).arg("--noflush").stdin(File::open(rules).unwrap()).status();
    assert!(status.unwrap().success(), "{tool} < {}", rules.display());
}

fn ipvs_family() -> u16 {
    // Opening the client loads the module.
    drop(ipvs_netlink::Client::open().unwrap());
    let mut payload = vec![3, 1, 0, 0];
    netlink_batch::attribute::Writer::new(&mut payload).nul_string(2, "IPVS").unwrap();
    let ask = Request { kind: 16, flags: 0, payload };
    let replies = Socket::open(Family::Generic).unwrap().ask(&ask).unwrap();
    let attributes = netlink_batch::attribute::Attributes::new(&replies[0].payload[4..]);
    attributes.flatten().find(|found| found.kind == 1).unwrap().u16().unwrap()
}

/// Appends a message with its netlink header.
fn frame(request: &Request, flags: u16, bytes: &mut Vec<u8>) {
    let length = 16 + u32::try_from(request.payload.len()).unwrap();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(request.kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | request.flags | flags).to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&request.payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn datagrams(requests: &[Request]) -> Vec<Vec<u8>> {
    let datagram = |requests: &[Request]| {
        let mut bytes = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            frame(request, if at + 1 == requests.len() { NLM_F_ACK } else { 0 }, &mut bytes);
        }
        bytes
    };
    requests.chunks(MESSAGES).map(datagram).collect()
}

fn one(command: &Command, family: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&request(command, family), NLM_F_ACK, &mut bytes);
    bytes
}

fn dump(query: &Query, family: u16) -> Vec<u8> {
    let request = Request { kind: family, flags: 0, payload: query.encode().unwrap() };
    let mut bytes = Vec::new();
    frame(&request, NLM_F_DUMP, &mut bytes);
    bytes
}

/// A netlink socket, and a buffer for answers.
struct Sender {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Sender {
    /// Opens a socket. `None` is `NETLINK_ROUTE`, whose number is 0.
    fn open(protocol: Option<rustix::net::Protocol>) -> Self {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, protocol).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 1 << 20).unwrap();
        Self { socket, buffer: vec![0; 1 << 16] }
    }

    fn send_all(&mut self, datagrams: &[Vec<u8>]) {
        datagrams.iter().for_each(|datagram| self.send(datagram));
    }

    /// Sends a datagram. The first answer is the acknowledgement, unless an operation was refused.
    fn send(&mut self, datagram: &[u8]) {
        let sent = send(&self.socket, datagram, SendFlags::empty()).unwrap();
        assert_eq!(sent, datagram.len());
        let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()).unwrap();
        assert!(length >= 20 && self.buffer[4] == 2, "an acknowledgement");
        let errno = i32::from_ne_bytes(self.buffer[16..20].try_into().unwrap());
        assert_eq!(errno, 0, "the kernel refused");
    }

    fn dump(&mut self, datagram: &[u8]) {
        send(&self.socket, datagram, SendFlags::empty()).unwrap();
        loop {
            let (length, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()).unwrap();
            let mut rest = &self.buffer[..length];
            while rest.len() >= 16 {
                let message = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                if rest[4] == 3 {
                    return;
                }
                rest = &rest[message.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}
