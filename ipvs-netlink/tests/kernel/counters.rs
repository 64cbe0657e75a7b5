//! Tests that counters, rates and connections equal those that `ipvsadm` shows, in both widths, and can be
//! reset.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use ipvs_netlink::{Connections, Stats, Stats64};

use super::*;

/// The number of closed connections in one round of traffic, in addition to the one that stays open.
const CLOSED: usize = 30;
/// The size of one answer in bytes.
const ANSWER: usize = 20_000;

/// Creates a virtual server on this host with one destination, and a server behind it. The server ends after
/// this many rounds of traffic; a longer one would keep the namespace.
fn served(client: &mut Client, rounds: usize) -> ServiceKey {
    shell("ip address add 10.96.0.1/32 dev lo");
    shell("ip address add 10.96.0.2/32 dev lo");
    let key = tcp("10.96.0.1", 8080);
    client.new_service(persistent(key, "rr", 0, 300)).unwrap();
    client.new_destination(key, Destination::new(ip("10.96.0.2"), 8080)).unwrap();
    let listener = TcpListener::bind("10.96.0.2:8080").unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(rounds * (CLOSED + 1)) {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                stream.write_all(&[7; ANSWER]).unwrap();
                // The connection stays open until the client closes it.
                stream.read_to_end(&mut Vec::new()).ok();
            });
        }
    });
    key
}

fn fetch() -> TcpStream {
    let mut stream = TcpStream::connect("10.96.0.1:8080").unwrap();
    stream.read_exact(&mut [0; ANSWER]).unwrap();
    stream
}

/// Makes traffic, and waits until the kernel has summed the counters of its processors, which it does every
/// two seconds. Leaves one connection open.
fn traffic() -> TcpStream {
    for _ in 0..CLOSED {
        drop(fetch());
    }
    let open = fetch();
    thread::sleep(Duration::from_secs(5));
    open
}

type Counters = (Stats, Stats64);

/// Returns the counters of the virtual server and of its destination.
fn counters(client: &mut Client, key: ServiceKey) -> [Counters; 2] {
    let service = client.service(key).unwrap().unwrap();
    let place = client.destinations(key).unwrap().remove(0);
    [(service.stats, service.stats64), (place.stats, place.stats64)]
        .map(|(narrow, wide)| (*narrow.unwrap(), *wide.unwrap()))
}

/// Returns the output of this `ipvsadm` command line, and the counters at the same time: they are equal
/// before and after.
fn shown_with(client: &mut Client, key: ServiceKey, line: &str) -> (String, [Counters; 2]) {
    for _ in 0..20 {
        let before = counters(client, key);
        let shown = shell(line);
        if counters(client, key) == before {
            return (shown, before);
        }
    }
    panic!("the counters never rest");
}

/// Returns the numbers in the lines of the virtual server and of its destination.
fn numbers(shown: &str) -> [Vec<u64>; 2] {
    ["TCP ", "->"].map(|first| {
        let line = shown.lines().rfind(|line| line.trim_start().starts_with(first)).unwrap();
        line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    })
}

fn totals((narrow, wide): &Counters) -> [Vec<u64>; 2] {
    let small = [narrow.connections, narrow.packets_in, narrow.packets_out].map(u64::from);
    [
        [small.as_slice(), &[narrow.bytes_in, narrow.bytes_out]].concat(),
        vec![wide.connections, wide.packets_in, wide.packets_out, wide.bytes_in, wide.bytes_out],
    ]
}

fn rates((narrow, wide): &Counters) -> [Vec<u64>; 2] {
    let narrow = [
        narrow.connection_rate,
        narrow.packet_rate_in,
        narrow.packet_rate_out,
        narrow.byte_rate_in,
        narrow.byte_rate_out,
    ];
    let wide = [
        wide.connection_rate,
        wide.packet_rate_in,
        wide.packet_rate_out,
        wide.byte_rate_in,
        wide.byte_rate_out,
    ];
    [narrow.map(u64::from).to_vec(), wide.to_vec()]
}

#[test]
fn counters_rates_and_connections_are_what_ipvsadm_shows() {
    in_namespace(|mut client| {
        let key = served(&mut client, 1);
        let _open = traffic();

        let (shown, found) = shown_with(&mut client, key, "ipvsadm -Ln --stats --exact");
        for (shown, found) in numbers(&shown).iter().zip(&found) {
            assert_eq!(totals(found), [shown.clone(), shown.clone()]);
            let distinct: std::collections::BTreeSet<_> = shown.iter().collect();
            assert_eq!(distinct.len(), 5, "{shown:?} could be mixed up");
            assert_eq!(shown[0], CLOSED as u64 + 1);
            assert!(shown[4] > (CLOSED * ANSWER) as u64, "{shown:?}");
        }
        let (shown, found) = shown_with(&mut client, key, "ipvsadm -Ln --rate --exact");
        for (shown, found) in numbers(&shown).iter().zip(&found) {
            assert_eq!(rates(found), [shown.clone(), shown.clone()]);
            assert!(shown.iter().all(|rate| *rate > 0), "{shown:?}");
        }

        let place = client.destinations(key).unwrap().remove(0);
        let connections = place.connections.unwrap();
        let expected = Connections { active: 1, inactive: CLOSED as u32, persistent: 1 };
        assert_eq!(connections, expected);
        let [bare, counted] =
            [client.table(), client.counted_table()].map(|it| it.unwrap().remove(0));
        assert_eq!((bare.service.stats, bare.service.stats64), (None, None));
        let wide = counted.service.stats64.unwrap();
        assert_eq!(wide.connections, CLOSED as u64 + 1);
        assert_eq!(wide, client.service(key).unwrap().unwrap().stats64.unwrap());
        assert_eq!(counted.destinations, bare.destinations);
        let listed = bare.destinations[0];
        assert_eq!((listed.active_connections, listed.inactive_connections), (1, CLOSED as u32));
        // The columns are weight, active, inactive; then weight, persistent, active, inactive.
        let [_, shown] = numbers(&shell("ipvsadm -Ln"));
        assert_eq!(shown, [1, 1, CLOSED as u64]);
        let [_, shown] = numbers(&shell("ipvsadm -Ln --persistent-conn"));
        assert_eq!(shown, [1, 1, 1, CLOSED as u64]);
    });
}

#[test]
fn counters_return_to_zero_one_virtual_server_or_all() {
    in_namespace(|mut client| {
        let key = served(&mut client, 2);
        for command in [Command::ZeroAll, Command::ZeroService(key)] {
            let open = traffic();
            for counters in counters(&mut client, key) {
                assert_eq!(counters.1.connections, CLOSED as u64 + 1);
            }
            drop(open);
            thread::sleep(Duration::from_secs(5));
            client.run(command).unwrap();
            for counters in counters(&mut client, key) {
                assert_eq!(totals(&counters), [vec![0; 5], vec![0; 5]]);
            }
        }
    });
}
