//! Connections that outlive their endpoint's place in the Service.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::service::Service;
use super::world::{Settings, World};
use super::{Kind, for_each_kind};
use crate::traffic::ask;

for_each_kind! {
    a_long_transfer_from_a_leaving_endpoint_ends_with_its_last_byte: tcp_over_ipv4 tcp_over_ipv6
}

for_each_kind! {
    a_destination_without_connections_to_keep_goes_at_once:
        udp_over_ipv4 udp_over_ipv6 sctp_over_ipv4 sctp_over_ipv6
}

const PIECE: usize = 64 * 1024;

fn a_long_transfer_from_a_leaving_endpoint_ends_with_its_last_byte(kind: Kind) {
    let world = &World::shared(Settings::ClusterCidr);
    let service = Service::new(world, kind);
    let (leaving, staying) = (&world.remote, &world.local[0]);
    let listener = leaving.enter(|| TcpListener::bind(service.endpoint(leaving)).unwrap());
    service.use_endpoints(&[leaving]);
    let mut client = world.caller.enter(|| TcpStream::connect(service.address).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    transfer(&mut server, &mut client);

    service.use_endpoints(&[staying]);
    let endpoint = service.endpoint(leaving);
    assert_eq!(service.destinations().unwrap().get(&endpoint), Some(&0));
    for _ in 0..16 {
        transfer(&mut server, &mut client);
    }
    server.write_all(b"the last byte").unwrap();
    drop(server);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "the last byte");

    // A reset is forgotten after ten seconds; a connection that both sides close only after two minutes.
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    service.wait_until(|destinations| !destinations.contains_key(&endpoint));
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
