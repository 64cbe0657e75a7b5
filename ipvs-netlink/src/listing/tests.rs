//! Tests of replies that cannot be decoded, and of readings of a list that changes.

use super::*;
use crate::{Command, Protocol};

fn reading(ports: &[u16]) -> Reading {
    let place = |port: &u16| Destination::new("192.0.2.1".parse().unwrap(), *port);
    once_each(ports.iter().map(place).collect())
}

fn ports(found: Vec<Destination>) -> Vec<u16> {
    let mut ports: Vec<_> = found.into_iter().map(|found| found.port).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn an_unreadable_reply_is_left_out_and_named() {
    let service = |port| {
        let key = ServiceKey::address(Protocol::TCP, "10.96.0.1".parse().unwrap(), port);
        Service::new(key, "rr")
    };
    let reply = |payload| Reply { kind: 30, payload };
    let good = |port| reply(Command::NewService(service(port)).encode().unwrap());
    let bad = reply(vec![1, 1, 0, 0, 8, 0, 1, 0x80, 5, 0, 1, 0]);
    let (found, unreadable) =
        readable(Query::Services, &[good(1), bad, good(2)], Answer::decode, as_service);
    assert_eq!(found, [service(1), service(2)]);
    assert_eq!(unreadable.len(), 1);
    assert!(unreadable[0].to_string().starts_with("list virtual servers: "), "{unreadable:?}");
}

#[test]
fn a_destination_without_counters_is_the_same_otherwise() {
    let key = ServiceKey::address(Protocol::TCP, "10.96.0.1".parse().unwrap(), 80);
    let mut destination = Destination::new("2001:db8::1".parse().unwrap(), 8080);
    destination.connections = Some(crate::Connections { active: 3, inactive: 4, persistent: 5 });
    destination.stats = Some(Box::default());
    destination.stats64 = Some(Box::default());
    let payload = Command::NewDestination(key, destination.clone()).encode().unwrap();
    assert_eq!(Answer::decode(&payload).unwrap(), Answer::Destination(destination.clone()));
    (destination.stats, destination.stats64) = (None, None);
    assert_eq!(
        Answer::decode_without_counters(&payload).unwrap(),
        Answer::Destination(destination)
    );
    let service = Command::NewService(Service::new(key, "rr")).encode().unwrap();
    assert_eq!(
        Answer::decode_without_counters(&service).unwrap(),
        Answer::decode(&service).unwrap()
    );
}

#[test]
fn two_readings_that_agree_are_believed() {
    let readings = vec![reading(&[1, 2, 3]), reading(&[2, 3]), reading(&[2, 3, 3])];
    assert!(!two_agree(&readings[..1]) && !two_agree(&readings[..2]) && two_agree(&readings));
    assert_eq!(ports(joined(readings)), [2, 3]);
}

#[test]
fn of_readings_that_never_agree_all_is_told() {
    let readings = vec![reading(&[1, 2]), reading(&[2, 3]), reading(&[1, 3])];
    assert_eq!(ports(joined(readings)), [1, 2, 3]);
}
