//! Checks which server answers a client, and what else happens.
//!
//! Takes a client and an address. Fails with what was seen instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Kind;
use super::service::Service;
use super::world::World;
use crate::node::{Namespace, Pod};
use crate::traffic::{Protocol, ask, ask_within};

/// The time that "at once" means on a busy emulated machine, where one run of `iptables-restore`
/// takes more than a second. A change that waits for the next full comparison takes thirty seconds.
pub(super) const AT_ONCE: Duration = Duration::from_secs(20);

/// The number of associations that may be lost while shares are counted. A broken destination loses
/// every one.
const LOST: usize = 3;

/// Returns the source of masqueraded connections to a pod: the node's address on the device towards
/// it.
pub(super) fn towards(world: &World, kind: Kind, pod: &Pod) -> IpAddr {
    match pod.node_name().as_str() {
        "node1" => world.lab.node1.gateway(kind.family),
        _ => world.lab.node1.address(kind.family),
    }
}

/// Sends three requests for each endpoint. Round robin must give three to each, and each must see
/// the right source.
pub(super) fn assert_spread(
    service: &Service<'_>,
    client: &Namespace,
    endpoints: &[&Pod],
    source: impl Fn(&Pod) -> IpAddr,
) {
    assert_spread_at(service.kind, service.address, client, endpoints, 3, source);
}

/// Sends `each` requests for each endpoint at an address that no other test uses.
pub(super) fn assert_spread_at(
    kind: Kind,
    address: SocketAddr,
    client: &Namespace,
    endpoints: &[&Pod],
    each: usize,
    source: impl Fn(&Pod) -> IpAddr,
) {
    let (mut left, mut lost) = (each * endpoints.len(), 0);
    let mut seen: BTreeMap<(String, IpAddr), usize> = BTreeMap::new();
    while left > 0 {
        match ask(client, kind.protocol, address) {
            Ok(answer) if !answer.is_second => {
                left -= 1;
                *seen.entry((answer.server, answer.source.ip())).or_default() += 1;
                continue;
            }
            Ok(_) => {}
            Err(error) if is_not_made(kind, &error) => println!("{} {error}", client.name()),
            Err(error) => panic!("{} {error}, after {seen:?}", client.name()),
        }
        // A lost association had a turn that was not seen: shares are counted from here.
        lost += 1;
        assert!(lost <= LOST, "{} lost {lost} at {address}, after {seen:?}", client.name());
        left = each * endpoints.len();
        seen.clear();
    }
    let wanted =
        endpoints.iter().map(|pod| ((pod.address(kind.family).to_string(), source(pod)), each));
    assert_eq!(seen, wanted.collect(), "{address} from {}", client.name());
}

/// True if an association was not made. Under emulation that happens now and then although no table
/// has changed.
fn is_not_made(kind: Kind, error: &io::Error) -> bool {
    kind.protocol == Protocol::Sctp && error.kind() == ErrorKind::TimedOut
}

/// Checks that exactly these pods answer. Sends enough requests for a round robin to reach every
/// destination.
pub(super) fn assert_served_by(kind: Kind, address: SocketAddr, client: &Namespace, pods: &[&Pod]) {
    let seen: BTreeSet<_> =
        [(); 6].map(|()| ask(client, kind.protocol, address).unwrap().server).into();
    let wanted = pods.iter().map(|pod| pod.address(kind.family).to_string()).collect();
    assert_eq!(seen, wanted, "{address} from {}", client.name());
}

/// Checks that the client is refused.
pub(super) fn assert_refused(client: &Namespace, kind: Kind, address: SocketAddr) {
    // Long enough for TCP's second attempt. A refusal may arrive while it still sends the first
    // one, as between namespaces, and is then only a hint.
    let patience = Duration::from_secs(2);
    let told = match ask_within(patience, client, kind.protocol, address) {
        Ok(answer) => panic!("{} at {address}: {answer}", client.name()),
        Err(error) => error.kind(),
    };
    let is_refused = match kind.protocol {
        Protocol::Tcp => told == ErrorKind::ConnectionRefused,
        // If IPVS drops what the node itself sends, the call that sends it fails.
        Protocol::Udp => matches!(told, ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied),
        // SCTP notes an unreachable port and keeps trying.
        Protocol::Sctp => told == ErrorKind::TimedOut,
    };
    assert!(is_refused, "{} at {address}: {told}", client.name());
}

/// Checks that neither an answer nor a refusal comes.
pub(super) fn assert_dropped(client: &Namespace, kind: Kind, address: SocketAddr) {
    if let Err(what) = dropped(client, kind, address) {
        panic!("{} at {address}: {what}", client.name());
    }
}

fn dropped(client: &Namespace, kind: Kind, address: SocketAddr) -> Result<(), String> {
    // Many times the usual time of an answer.
    let patience = Duration::from_millis(300);
    let told = match ask_within(patience, client, kind.protocol, address) {
        Ok(answer) => return Err(answer.to_string()),
        Err(error) => error.kind(),
    };
    let is_dropped = match kind.protocol {
        Protocol::Tcp | Protocol::Sctp => told == ErrorKind::TimedOut,
        // If a rule drops what the node itself sends, the call that sends it fails.
        Protocol::Udp => matches!(told, ErrorKind::WouldBlock | ErrorKind::PermissionDenied),
    };
    if is_dropped { Ok(()) } else { Err(told.to_string()) }
}

/// Checks that the client's packets begin to be dropped at once.
pub(super) fn assert_dropped_at_once(client: &Namespace, kind: Kind, address: SocketAddr) {
    let start = Instant::now();
    while let Err(what) = dropped(client, kind, address) {
        assert!(start.elapsed() < AT_ONCE, "{} at {address}: {what}", client.name());
    }
}

/// Checks that the client begins to be served at once.
pub(super) fn assert_served_at_once(client: &Namespace, kind: Kind, address: SocketAddr) {
    let (start, patience) = (Instant::now(), Duration::from_millis(200));
    while let Err(error) = ask_within(patience, client, kind.protocol, address) {
        assert!(start.elapsed() < AT_ONCE, "{} {error}", client.name());
    }
}
