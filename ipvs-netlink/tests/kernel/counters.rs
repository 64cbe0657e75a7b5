//! Counters count, in both widths, as `ipvsadm --stats` shows them, and return to zero.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;

#[test]
fn counters_count_and_return_to_zero() {
    in_namespace(|mut client| {
        shell("ip address add 10.96.0.1/32 dev lo");
        shell("ip address add 10.96.0.2/32 dev lo");
        let key = tcp("10.96.0.1", 8080);
        client.new_service(Service::new(key, "rr")).unwrap();
        client.new_destination(key, Destination::new(ip("10.96.0.2"), 8080)).unwrap();

        let listener = TcpListener::bind("10.96.0.2:8080").unwrap();
        let answering = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(b"hello").unwrap();
        });
        let mut greeting = String::new();
        TcpStream::connect("10.96.0.1:8080").unwrap().read_to_string(&mut greeting).unwrap();
        answering.join().unwrap();
        assert_eq!(greeting, "hello");

        // The kernel adds its processors' counters up every two seconds.
        thread::sleep(Duration::from_secs(5));
        let service = client.service(key).unwrap().unwrap();
        let (narrow, wide) = (service.stats.unwrap(), service.stats64.unwrap());
        assert_eq!((narrow.connections, wide.connections), (1, 1));
        assert!(wide.packets_in > 2 && wide.bytes_in > 100, "{wide:?}");
        assert_eq!(u64::from(narrow.packets_in), wide.packets_in);
        assert_eq!((narrow.bytes_in, narrow.bytes_out), (wide.bytes_in, wide.bytes_out));
        let shown = shell("ipvsadm -Ln --stats --exact");
        let line = shown.lines().find(|line| line.starts_with("TCP")).unwrap();
        let numbers: Vec<u64> =
            line.split_ascii_whitespace().skip(2).map(|word| word.parse().unwrap()).collect();
        let ours =
            [wide.connections, wide.packets_in, wide.packets_out, wide.bytes_in, wide.bytes_out];
        assert_eq!(numbers, ours);

        let place = &client.destinations(key).unwrap()[0];
        assert_eq!(place.stats64.as_ref().unwrap().connections, 1);
        let connections = place.connections.unwrap();
        assert_eq!(connections.active + connections.inactive, 1, "{connections:?}");
        let listed = client.table().unwrap()[0].destinations[0];
        assert_eq!(listed.active_connections + listed.inactive_connections, 1);

        client.zero_service(key).unwrap();
        let zeroed = client.service(key).unwrap().unwrap();
        assert_eq!(zeroed.stats64.unwrap().connections, 0);
        client.zero().unwrap();
        let place = &client.destinations(key).unwrap()[0];
        assert_eq!(place.stats64.as_ref().unwrap().connections, 0);
    });
}
