//! Tests of the client against a kernel with IPVS, checked with `ipvsadm`.
//!
//! Needs root, IPVS, `ip` and `ipvsadm`, and runs only if named (`cargo test --test kernel`). Every test has
//! its own network namespace, which ends with the test's thread. Tests run one at a time. Kernels keep the
//! virtual servers of all namespaces in one hash table, and a dump counts positions in it. So a change in one
//! namespace makes a dump in another skip or repeat entries. `ipvsadm` must show what this crate writes, and
//! this crate must read what `ipvsadm` writes. Every refusal of the kernel must have the documented type.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may panic

mod counters;
mod daemons;
mod read;
mod refusals;
mod table;
mod write;

use std::{
    net::IpAddr,
    num::NonZeroU32,
    process::Command as Process,
    sync::{Mutex, PoisonError},
    thread,
};

use ipvs_netlink::{
    AddressFamily, Client, Command, Destination, Error, ForwardMethod, Netmask, Protocol, Refusal,
    Service, ServiceFlags, ServiceKey, Tunnel, uapi,
};
use nix::sched::{CloneFlags, unshare};

/// Runs `body` in a new network namespace with `lo` up and a dummy interface `d0`.
fn in_namespace(body: impl FnOnce(Client) + Send + 'static) {
    in_bare_namespace(|| {
        shell("ip link set lo up");
        shell("ip link add d0 type dummy");
        shell("ip link set d0 up");
        shell("ip address add 192.0.2.1/24 dev d0");
        shell("ip address add 2001:db8::1/64 dev d0 nodad");
        body(Client::open().unwrap());
    });
}

/// Runs `body` in a new network namespace.
fn in_bare_namespace(body: impl FnOnce() + Send + 'static) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // A separate thread is needed, because libtest may run a test on the main thread.
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command line of plain words and returns its output.
fn shell(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let output = Process::new(words.next().unwrap()).args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the lines that `ipvsadm --save` prints, sorted.
fn saved() -> Vec<String> {
    sorted(&shell("ipvsadm -Sn"))
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<_> = lines.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn tcp(address: &str, port: u16) -> ServiceKey {
    ServiceKey::address(Protocol::TCP, ip(address), port)
}

fn mark(family: AddressFamily, mark: u32) -> ServiceKey {
    ServiceKey::mark(family, NonZeroU32::new(mark).unwrap())
}

fn service(key: ServiceKey, scheduler: &str, flags: u32) -> Service {
    let mut service = Service::new(key, scheduler);
    service.flags = ServiceFlags::exactly(flags);
    service
}

fn persistent(key: ServiceKey, scheduler: &str, flags: u32, timeout: u32) -> Service {
    let mut service = service(key, scheduler, flags | ServiceFlags::PERSISTENT);
    service.timeout = timeout;
    service
}

fn destination(address: &str, port: u16, forward: ForwardMethod, weight: u32) -> Destination {
    let mut destination = Destination::new(ip(address), port);
    (destination.forward, destination.weight) = (forward, weight);
    destination
}

/// Removes what the kernel adds to a virtual server: the flag and the counters.
fn without_counters(mut service: Service) -> Service {
    assert!(service.flags.contains(ServiceFlags::HASHED));
    assert!(service.stats.take().is_some() && service.stats64.take().is_some());
    assert_eq!(service.other, []);
    service.flags.value &= !ServiceFlags::HASHED;
    service
}

/// Removes what the kernel adds to a destination: the connections and the counters.
fn without_connections(mut destination: Destination) -> Destination {
    assert!(destination.stats.take().is_some() && destination.stats64.take().is_some());
    assert!(destination.connections.take().is_some());
    assert_eq!(destination.other, []);
    destination
}

/// Returns every kind of virtual server with its destinations, and the output of `ipvsadm --save` for them.
#[allow(clippy::too_many_lines, reason = "a list")]
fn everything() -> (Vec<(Service, Vec<Destination>)>, &'static str) {
    let gue = |flags| ForwardMethod::Tunnel(Tunnel::Gue { port: 6080, flags });
    let gre = |flags| ForwardMethod::Tunnel(Tunnel::Gre { flags });
    let ipip = ForwardMethod::Tunnel(Tunnel::Ipip);
    let (none, csum, remote) = (
        uapi::IP_VS_TUNNEL_ENCAP_FLAG_NOCSUM,
        uapi::IP_VS_TUNNEL_ENCAP_FLAG_CSUM,
        uapi::IP_VS_TUNNEL_ENCAP_FLAG_REMCSUM,
    );
    let dns = ServiceKey::address(Protocol::UDP, ip("10.96.0.53"), 53);
    let dns6 = ServiceKey::address(Protocol::UDP, ip("2001:db8::53"), 53);
    let diameter = ServiceKey::address(Protocol::SCTP, ip("10.96.0.2"), 2905);
    let diameter6 = ServiceKey::address(Protocol::SCTP, ip("2001:db8::2"), 2905);
    let fallback_and_port = ServiceFlags::MH_FALLBACK | ServiceFlags::MH_PORT;

    let mut by_subnet = persistent(dns6, "mh", ServiceFlags::ONE_PACKET | fallback_and_port, 600);
    by_subnet.netmask = Netmask::V6(64);
    let mut by_subnet4 = persistent(tcp("10.96.0.3", 0), "wrr", 0, 60);
    by_subnet4.netmask = Netmask::V4([255, 255, 255, 0].into());
    let mut sip = persistent(tcp("10.96.0.9", 5060), "rr", 0, 300);
    sip.persistence_engine = Some("sip".to_owned());

    let table = vec![
        (
            service(tcp("10.96.0.1", 80), "rr", 0),
            vec![
                destination("192.0.2.10", 8080, ForwardMethod::Masquerade, 3),
                destination("192.0.2.11", 80, ForwardMethod::DirectRoute, 0),
            ],
        ),
        (by_subnet, vec![destination("2001:db8::10", 5353, ForwardMethod::Masquerade, 1)]),
        (by_subnet4, vec![]),
        (service(diameter, "sh", ServiceFlags::SH_FALLBACK), vec![]),
        (service(tcp("10.96.0.4", 80), "sh", ServiceFlags::SH_PORT), vec![]),
        (sip, vec![]),
        (service(tcp("10.96.0.5", 80), "none", 0), vec![]),
        (
            service(mark(AddressFamily::Inet, 7), "wlc", 0),
            vec![
                destination("192.0.2.11", 0, gue(csum), 1),
                destination("192.0.2.12", 0, gre(csum), 1),
                destination("192.0.2.13", 0, ipip, 65535),
                destination("192.0.2.14", 0, gue(remote), 1),
                destination("192.0.2.15", 0, gue(none), 1),
                destination("192.0.2.16", 0, gre(none), 1),
                destination("2001:db8::13", 0, ipip, 1),
            ],
        ),
        (service(mark(AddressFamily::Inet6, 7), "lc", 0), vec![]),
        (persistent(mark(AddressFamily::Inet, 8), "rr", 0, 90), vec![]),
        (
            service(dns, "rr", uapi::IP_VS_SVC_F_SCHED3),
            vec![destination("192.0.2.10", 53, ForwardMethod::Masquerade, 1)],
        ),
        (
            service(diameter6, "sed", 0),
            vec![destination("2001:db8::11", 2905, ForwardMethod::DirectRoute, 1)],
        ),
        (service(tcp("2001:db8::80", 443), "rr", 0), vec![destination("192.0.2.12", 443, ipip, 1)]),
    ];
    let saved = "\
        -A -t 10.96.0.1:80 -s rr\n\
        -a -t 10.96.0.1:80 -r 192.0.2.10:8080 -m -w 3\n\
        -a -t 10.96.0.1:80 -r 192.0.2.11:80 -g -w 0\n\
        -A -u [2001:db8::53]:53 -s mh -p 600 -M 64 -o -b mh-fallback,mh-port\n\
        -a -u [2001:db8::53]:53 -r [2001:db8::10]:5353 -m -w 1\n\
        -A -t 10.96.0.3:0 -s wrr -p 60 -M 255.255.255.0\n\
        -A --sctp-service 10.96.0.2:2905 -s sh -b sh-fallback\n\
        -A -t 10.96.0.4:80 -s sh -b sh-port\n\
        -A -t 10.96.0.9:5060 -s rr -p 300 --pe sip\n\
        -A -t 10.96.0.5:80 -s none\n\
        -A -f 7 -s wlc\n\
        -a -f 7 -r 192.0.2.11:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum\n\
        -a -f 7 -r 192.0.2.12:0 -i -w 1 --tun-type gre --tun-csum\n\
        -a -f 7 -r 192.0.2.13:0 -i -w 65535 --tun-type ipip\n\
        -a -f 7 -r 192.0.2.14:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum\n\
        -a -f 7 -r 192.0.2.15:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum\n\
        -a -f 7 -r 192.0.2.16:0 -i -w 1 --tun-type gre --tun-nocsum\n\
        -a -f 7 -r [2001:db8::13]:0 -i -w 1 --tun-type ipip\n\
        -A -f 7 -6 -s lc\n\
        -A -f 8 -s rr -p 90\n\
        -A -u 10.96.0.53:53 -s rr -b flag-3\n\
        -a -u 10.96.0.53:53 -r 192.0.2.10:53 -m -w 1\n\
        -A --sctp-service [2001:db8::2]:2905 -s sed\n\
        -a --sctp-service [2001:db8::2]:2905 -r [2001:db8::11]:2905 -g -w 1\n\
        -A -t [2001:db8::80]:443 -s rr\n\
        -a -t [2001:db8::80]:443 -r 192.0.2.12:443 -i -w 1 --tun-type ipip\n";
    (table, saved)
}

/// Returns the commands that create a table.
fn commands(table: &[(Service, Vec<Destination>)]) -> Vec<Command> {
    let mut commands = Vec::new();
    for (service, destinations) in table {
        commands.push(Command::NewService(service.clone()));
        for destination in destinations {
            commands.push(Command::NewDestination(service.key, destination.clone()));
        }
    }
    commands
}

/// Applies commands, all of which must succeed.
fn apply(client: &mut Client, commands: &[Command]) {
    for (command, result) in commands.iter().zip(client.apply(commands).unwrap()) {
        assert!(result.is_ok(), "{command:?}: {result:?}");
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    result.unwrap_err().refusal().unwrap()
}
