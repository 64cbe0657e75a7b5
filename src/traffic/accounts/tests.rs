//! Tests the counts over several readings.

use proxier::model::Protocol;

use super::*;
use crate::metrics::text;

const LIMITS: Limits = Limits { services: 2, interval: Duration::from_secs(10) };

fn key(address: &str) -> VirtualServerKey {
    let address = address.parse().unwrap();
    VirtualServerKey { protocol: Protocol::Tcp, address, port: 80 }
}

fn reading(server: VirtualServerKey, connections: u64) -> Reading {
    let counters = Counters { connections, bytes_in: connections * 100, ..Counters::default() };
    Reading { server, counters, active: 3, inactive: 1 }
}

fn owned(servers: &[(&str, &str)]) -> Vec<(VirtualServerKey, Option<ServiceName>)> {
    let named =
        servers.iter().map(|(address, name)| (key(address), Some(ServiceName::new("shop", *name))));
    named.collect()
}

fn value(accounts: &Accounts, line: &str, now: Instant) -> String {
    let text = text::encode(&accounts.families(now));
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or_else(|| format!("no {line} in\n{text}"), str::to_owned)
}

const CONNECTIONS: &str =
    "ipvs_proxy_service_connections_total{namespace=\"shop\",service=\"web\"}";

#[test]
fn a_virtual_server_that_is_made_anew_takes_nothing_from_its_service() {
    let (mut accounts, start) = (Accounts::new(LIMITS), Instant::now());
    accounts.note_owners(owned(&[("10.96.0.1", "web"), ("10.96.0.2", "web")]));
    let mut at = start;
    for (first, second, wanted) in [(5, 2, "7"), (6, 2, "8"), (1, 2, "9"), (1, 4, "11")] {
        accounts.refresh(at, |servers| {
            assert_eq!(servers.len(), 2);
            Ok(vec![reading(key("10.96.0.1"), first), reading(key("10.96.0.2"), second)])
        });
        assert_eq!(value(&accounts, CONNECTIONS, at), wanted);
        at += LIMITS.interval;
    }
    let active = "ipvs_proxy_service_active_connections{namespace=\"shop\",service=\"web\"}";
    assert_eq!(value(&accounts, active, at), "6");
}

#[test]
fn a_virtual_server_that_a_reading_does_not_meet_is_not_counted_twice() {
    let (mut accounts, mut at) = (Accounts::new(LIMITS), Instant::now());
    let (web, other) = (key("10.96.0.1"), key("10.96.0.2"));
    accounts.note_owners(owned(&[("10.96.0.1", "web"), ("10.96.0.2", "web")]));
    let readings = [
        (vec![reading(web, 100_000), reading(other, 5)], "100005"),
        (vec![reading(other, 6)], "100006"),
        (vec![], "100006"),
        (vec![reading(web, 100_010), reading(other, 6)], "100016"),
    ];
    for (met, wanted) in readings {
        accounts.refresh(at, |_| Ok(met.clone()));
        assert_eq!(value(&accounts, CONNECTIONS, at), wanted);
        at += LIMITS.interval;
    }
    // A virtual server that had no owner meanwhile is a new one, which counts from the beginning.
    accounts.note_owners(vec![(web, None)]);
    accounts.note_owners(owned(&[("10.96.0.1", "web")]));
    accounts.refresh(at, |_| Ok(vec![reading(web, 200_000), reading(other, 6)]));
    assert_eq!(value(&accounts, CONNECTIONS, at), "300016");
}

#[test]
fn the_kernel_is_read_once_an_interval_however_often_somebody_scrapes() {
    let (mut accounts, start) = (Accounts::new(LIMITS), Instant::now());
    accounts.note_owners(owned(&[("10.96.0.1", "web")]));
    let mut reads = 0;
    for second in 0..25 {
        accounts.refresh(start + Duration::from_secs(second), |_| {
            reads += 1;
            Ok(Vec::new())
        });
    }
    assert_eq!(reads, 3);
}

#[test]
fn services_beyond_the_limit_are_left_out_whole_and_counted() {
    let (mut accounts, start) = (Accounts::new(LIMITS), Instant::now());
    let all = [("10.96.0.1", "a"), ("10.96.0.2", "b"), ("10.96.0.3", "c"), ("10.96.0.4", "c")];
    accounts.note_owners(owned(&all));
    accounts.refresh(start, |servers| {
        assert_eq!(*servers, [key("10.96.0.1"), key("10.96.0.2")].into());
        Ok(servers.iter().map(|server| reading(*server, 1)).collect())
    });
    assert_eq!(value(&accounts, "ipvs_proxy_service_metrics_left_out", start), "1");
    let text = text::encode(&accounts.families(start));
    assert!(!text.contains("service=\"c\""), "{text}");
}

#[test]
fn the_age_of_what_drains_is_that_of_the_first() {
    let (mut accounts, start) = (Accounts::new(LIMITS), Instant::now());
    accounts.note_owners(owned(&[("10.96.0.1", "web")]));
    let leaving = |port| (key("10.96.0.1"), std::net::SocketAddr::new([10, 0, 0, 1].into(), port));
    accounts.note_draining([leaving(1)].into(), &BTreeSet::new(), start);
    accounts.note_draining([leaving(2)].into(), &BTreeSet::new(), start + Duration::from_secs(5));
    let read = |servers: &BTreeSet<_>| Ok(servers.iter().map(|at| reading(*at, 1)).collect());
    accounts.refresh(start, read);
    let labels = "{namespace=\"shop\",service=\"web\"}";
    let number = format!("ipvs_proxy_service_draining_destinations{labels}");
    let age = format!("ipvs_proxy_service_draining_oldest_seconds{labels}");
    let later = start + Duration::from_secs(8);
    assert_eq!(
        (value(&accounts, &number, later), value(&accounts, &age, later)),
        ("2".into(), "8".into())
    );
    accounts.note_draining(BTreeSet::new(), &[leaving(1)].into(), later);
    assert_eq!(
        (value(&accounts, &number, later), value(&accounts, &age, later)),
        ("1".into(), "3".into())
    );
}

#[test]
fn a_failed_reading_leaves_what_was_read_before() {
    let (mut accounts, start) = (Accounts::new(LIMITS), Instant::now());
    accounts.note_owners(owned(&[("10.96.0.1", "web")]));
    accounts.refresh(start, |_| Ok(vec![reading(key("10.96.0.1"), 4)]));
    let later = start + LIMITS.interval;
    accounts.refresh(later, |_| Err(Cause::new("no")));
    assert_eq!(value(&accounts, CONNECTIONS, later), "4");
    assert_eq!(value(&accounts, "ipvs_proxy_service_metrics_read_failures_total", later), "1");
}
