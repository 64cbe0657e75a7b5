//! Tests connections that continue after their endpoint has left the Service.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::check::AT_ONCE;
use super::service::Service;
use super::spec::{Policy, Way};
use super::world::{DRAIN_LIMIT, Settings, World};
use super::{Kind, for_each_kind};
use crate::node::{Namespace, Pod};
use crate::traffic::ask;

for_each_kind! {
    a_long_transfer_from_a_leaving_endpoint_ends_with_its_last_byte: tcp_over_ipv4 tcp_over_ipv6
}

for_each_kind! {
    a_long_transfer_from_a_leaving_local_endpoint_ends_with_its_last_byte: tcp_over_ipv4 tcp_over_ipv6
}

for_each_kind! { a_destination_goes_when_its_time_is_over: tcp_over_ipv4 tcp_over_ipv6 }

for_each_kind! {
    a_destination_without_connections_to_keep_goes_at_once:
        udp_over_ipv4 udp_over_ipv6 sctp_over_ipv4 sctp_over_ipv6
}

const PIECE: usize = 64 * 1024;

fn a_long_transfer_from_a_leaving_endpoint_ends_with_its_last_byte(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let clients: [(Way, &Namespace); 3] = [
        (Way::ClusterIp, &world.caller),
        (Way::NodePort, &world.lab.client),
        (Way::LoadBalancer, &world.lab.client),
    ];
    assert_transfers_end_well(&service, &world.remote, &world.local[0], &clients);
}

fn a_long_transfer_from_a_leaving_local_endpoint_ends_with_its_last_byte(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let mut service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    service.spec.external = Policy::Local;
    let clients: [(Way, &Namespace); 3] = [
        (Way::NodePort, &world.lab.client),
        (Way::LoadBalancer, &world.lab.client),
        (Way::LoadBalancer, &world.caller),
    ];
    assert_transfers_end_well(&service, &world.local[0], &world.local[1], &clients);
}

fn assert_transfers_end_well(
    service: &Service<'_>,
    leaving: &Pod,
    staying: &Pod,
    clients: &[(Way, &Namespace)],
) {
    let endpoint = service.endpoint(leaving);
    let listener = leaving.enter(|| TcpListener::bind(endpoint).unwrap());
    service.use_endpoints(&[leaving]);
    let mut transfers: Vec<_> = clients
        .iter()
        .map(|(way, client)| {
            let client = client.enter(|| TcpStream::connect(service.at(*way)).unwrap());
            (listener.accept().unwrap().0, client, service.at(*way))
        })
        .collect();
    transfers.iter_mut().for_each(|(server, client, _)| transfer(server, client));

    service.use_endpoints(&[staying]);
    for _ in 0..16 {
        transfers.iter_mut().for_each(|(server, client, _)| transfer(server, client));
    }
    for (mut server, mut client, address) in transfers {
        assert_eq!(service.destinations_at(address).unwrap().get(&endpoint), Some(&0));
        server.write_all(b"the last byte").unwrap();
        drop(server);
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the last byte");
        // IPVS keeps a reset connection for ten seconds, but one that both sides close for two
        // minutes.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }
    for (_, address) in service.frontends() {
        service.wait_until_at(address, |destinations| !destinations.contains_key(&endpoint));
    }
}

fn a_destination_goes_when_its_time_is_over(kind: Kind) {
    let world = &World::shared(Settings::LimitedDrain);
    let service = Service::reached_by(world, kind, &[Way::NodePort, Way::LoadBalancer]);
    let (leaving, staying) = (&world.local[0], &world.local[1]);
    let endpoint = service.endpoint(leaving);
    let listener = leaving.enter(|| TcpListener::bind(endpoint).unwrap());
    service.use_endpoints(&[leaving]);
    let connections: Vec<_> = service
        .frontends()
        .into_iter()
        .map(|(_, address)| {
            let client = world.lab.client.enter(|| TcpStream::connect(address).unwrap());
            (listener.accept().unwrap().0, client, address)
        })
        .collect();

    let left = Instant::now();
    service.use_endpoints(&[staying]);
    for (_, _, address) in &connections {
        let drains = service.destinations_at(*address).unwrap().get(&endpoint) == Some(&0);
        assert!(drains || left.elapsed() > DRAIN_LIMIT, "{address}");
    }
    for (_, _, address) in &connections {
        service.wait_until_at(*address, |destinations| !destinations.contains_key(&endpoint));
    }
    let took = left.elapsed();
    assert!(took > DRAIN_LIMIT && took < DRAIN_LIMIT + AT_ONCE, "{took:?}");
}

fn transfer(from: &mut TcpStream, to: &mut TcpStream) {
    let mut received = vec![0; PIECE];
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(&[7; PIECE]).unwrap());
        to.read_exact(&mut received).unwrap();
    });
    assert!(received.iter().all(|byte| *byte == 7));
}

fn a_destination_without_connections_to_keep_goes_at_once(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let (service, _servers) = Service::serving(world, kind, &world.endpoints());
    for _ in world.endpoints() {
        ask(&world.caller, kind.protocol, service.address).unwrap();
    }
    let known = world.lab.node1.run("ipvsadm -Lnc");
    assert!(known.contains(&service.endpoint(&world.remote).to_string()), "{known}");

    service.use_endpoints(&[&world.local[0]]);
    let destinations = service.destinations().unwrap();
    assert_eq!(destinations.into_keys().collect::<Vec<_>>(), [service.endpoint(&world.local[0])]);
}
