//! Tests endpoints that come and go under traffic, and the moment in which a Service appears.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::kind::{tcp_over_ipv4, tcp_over_ipv6, udp_over_ipv4, udp_over_ipv6};
use super::service::Service;
use super::spec::Condition;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::node::Namespace;
use crate::traffic::{Answer, Caller, Protocol, ask_within};

for_each_kind! { an_endpoint_leaves_and_comes_back_without_an_error }

fn an_endpoint_leaves_and_comes_back_without_an_error(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    let leaving = world.remote.address(kind.family).to_string();
    let endpoint = service.endpoint(&world.remote);
    let caller = Caller::start(&world.caller, kind.protocol, service.address);
    caller.go_on_for(100);

    service.use_endpoints(&[&world.local[0], &world.local[1]]);
    let weight = service.destinations().unwrap().get(&endpoint).copied();
    let before = caller.take_results();
    caller.go_on_for(100);
    let without = caller.take_results();

    service.use_endpoints(&world.endpoints());
    caller.go_on_for(20);
    let after = caller.take_results();

    let mut losses = 0;
    let answers = [(before, true), (without, true), (after, false)].map(|(results, may_lose)| {
        let (answers, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        let mut errors: Vec<_> = errors.into_iter().filter_map(Result::err).collect();
        // A UDP destination is removed at once, as with kube-proxy, and with it the kernel drops
        // the connection (`expire_nodest_conn`). The answer to a datagram under way then comes from
        // an address that the client has not asked, so the client waits in vain. A refusal would be
        // a fault.
        if kind.protocol == Protocol::Udp && may_lose {
            let all = errors.len();
            errors.retain(|error| error.kind() != ErrorKind::WouldBlock);
            losses += all - errors.len();
        }
        // The handshake of an association may be under way to a destination that is removed at
        // once.
        let tolerated = usize::from(kind.protocol == Protocol::Sctp);
        assert!(errors.len() <= tolerated, "{errors:?} beside {} answers", answers.len());
        answers.into_iter().flatten().map(|answer| answer.server).collect::<Vec<_>>()
    });
    assert!(losses <= 1, "{losses} datagrams without an answer, and only one was under way");
    let [before, without, after] = answers;
    assert!(before.contains(&leaving) && after.contains(&leaving));
    // The first connection may have begun before the change.
    let late: Vec<_> = without.iter().skip(1).filter(|server| **server == leaving).collect();
    assert!(late.is_empty(), "{} of {} still went there", late.len(), without.len());
    // IPVS keeps closed TCP connections for two minutes, and their destination with them.
    assert_eq!(weight, (kind.protocol == Protocol::Tcp).then_some(0));
}

#[test]
fn a_service_is_never_reached_without_its_masquerade_rule() {
    let world = &World::new("instant", Settings::ClusterCidr);
    // The answer of a local pod would pass the node without a masquerade too.
    let pod = &world.local[0];
    let kinds = [tcp_over_ipv4, udp_over_ipv6, udp_over_ipv4, tcp_over_ipv6];
    for kind in kinds.into_iter().cycle().take(52) {
        let service = Service::new(world, kind);
        let _server = service.serve(pod);
        service.apply(&[(pod, Condition::Ready)]);
        let answer = first_answer(&world.lab.client, &service);
        assert_eq!(answer.source.ip(), world.lab.node1.gateway(kind.family), "{}", service.address);
    }
}

/// Sends requests without a pause until one is answered.
fn first_answer(client: &Namespace, service: &Service<'_>) -> Answer {
    // TCP treats a refusal while it still sends as a hint, and would wait a second.
    const PATIENCE: Duration = Duration::from_millis(100);
    const GIVE_UP: Duration = Duration::from_secs(30);
    let start = Instant::now();
    loop {
        match ask_within(PATIENCE, client, service.kind.protocol, service.address) {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < GIVE_UP, "{error}"),
        }
    }
}
