//! Tests that reading in one pass gives the same as reading each virtual server, for large and changing
//! tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ipvs_netlink::{
    Unreadable, VirtualServer,
    proc::{self, ListedDestination, ListedKey},
};

use super::*;

type Places = Vec<ListedDestination>;

/// Reads the table the slow way: one dump of the virtual servers, and one for the destinations of each.
fn slowly(client: &mut Client) -> BTreeMap<ServiceKey, (Service, Places)> {
    let services = client.services().unwrap();
    let entry = |mut service: Service| {
        (service.stats, service.stats64) = (None, None);
        let found = client.destinations(service.key).unwrap();
        let mut places: Places = found.iter().map(ListedDestination::from).collect();
        places.sort_by_key(ListedDestination::key);
        (service.key, (service, places))
    };
    services.into_iter().map(entry).collect()
}

fn sorted_table(table: Vec<VirtualServer>) -> BTreeMap<ServiceKey, (Service, Places)> {
    let count = table.len();
    let entry = |mut server: VirtualServer| {
        server.destinations.sort_by_key(ListedDestination::key);
        (server.service.key, (server.service, server.destinations))
    };
    let sorted: BTreeMap<_, _> = table.into_iter().map(entry).collect();
    assert_eq!(sorted.len(), count, "a virtual server twice");
    sorted
}

fn many(count: u32) -> Vec<Command> {
    let base = u32::from(std::net::Ipv4Addr::new(10, 96, 0, 0));
    let mut commands = Vec::new();
    for index in 0..count {
        let key = tcp(&std::net::Ipv4Addr::from(base + index).to_string(), 80);
        commands.push(Command::NewService(Service::new(key, "rr")));
        for port in [8080, 8081] {
            let place = Destination::new(IpAddr::from([192, 0, 2, 10 + (index % 200) as u8]), port);
            commands.push(Command::NewDestination(key, place));
        }
    }
    commands
}

#[test]
fn five_thousand_virtual_servers_are_written_at_once_and_read_in_one_pass() {
    in_namespace(|mut client| {
        let commands = many(5000);
        let begun = Instant::now();
        apply(&mut client, &commands);
        let written = begun.elapsed();
        let begun = Instant::now();
        let table = client.table().unwrap();
        let read = begun.elapsed();
        let begun = Instant::now();
        let expected = slowly(&mut client);
        println!(
            "{} commands {written:?}, one pass {read:?}, one dump each {:?}",
            commands.len(),
            begun.elapsed()
        );
        assert_eq!(table.len(), 5000);
        assert!(table.iter().all(|server| server.destinations.len() == 2));
        assert_eq!(sorted_table(table), expected);
    });
}

#[test]
fn one_pass_tells_every_kind_of_virtual_server() {
    in_namespace(|mut client| {
        let (mut table, _) = everything();
        // Both families have the same mark, with destinations in both.
        let last = table.last_mut().unwrap();
        last.1.push(destination("2001:db8::20", 0, ForwardMethod::DirectRoute, 2));
        apply(&mut client, &commands(&table));
        let found = sorted_table(client.table().unwrap());
        assert_eq!(found, slowly(&mut client));
        assert_eq!(found.len(), table.len());
    });
}

/// The calling thread may be in another namespace, and the table may have changed since the last reading.
#[test]
fn the_table_is_of_the_namespace_in_which_the_client_was_opened() {
    in_namespace(|mut client| {
        for count in 1..4 {
            let added = many(count).split_off(3 * (count as usize - 1));
            apply(&mut client, &added);
            thread::scope(|scope| {
                scope.spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).unwrap();
                    let table = client.table().unwrap();
                    assert_eq!(table.len(), count as usize);
                    assert!(table.iter().all(|server| server.destinations.len() == 2));
                    assert!(client.unreadable().is_empty(), "{:?}", client.unreadable());
                });
            });
        }
    });
}

#[test]
fn a_thousand_destinations_are_told_once_each() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        let place = |port| Command::NewDestination(key, Destination::new(ip("192.0.2.10"), port));
        let mut all = vec![Command::NewService(Service::new(key, "rr"))];
        all.extend((1..=1000).map(place));
        apply(&mut client, &all);
        let mut ports: Vec<_> =
            client.destinations(key).unwrap().iter().map(|found| found.port).collect();
        ports.sort_unstable();
        assert_eq!(ports, (1..=1000).collect::<Vec<_>>());
    });
}

/// Unloading the module removes the number of the family, and loading it assigns another.
#[test]
fn a_module_loaded_anew_is_found_again() {
    in_namespace(|mut client| {
        let key = tcp("10.96.0.1", 80);
        for command in [Command::NewService(Service::new(key, "rr")), Command::Flush] {
            unload();
            assert_eq!(client.services().unwrap(), []);
            unload();
            client.run(command).unwrap();
            let found = client.table().unwrap();
            assert_eq!(found.len(), saved().len());
            // The open file belongs to the module that is gone.
            assert!(matches!(client.unreadable(), [Unreadable::Text(_)]));
            client.flush().unwrap();
        }
    });
}

/// Unloads `ip_vs` and all modules that use it. Waits until the kernel has removed the namespaces of earlier
/// tests with their virtual servers, which takes many seconds on a busy machine.
fn unload() {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let holders = std::fs::read_dir("/sys/module/ip_vs/holders").unwrap();
        let holders = holders.map(|entry| entry.unwrap().file_name());
        let output =
            Process::new("modprobe").arg("-r").args(holders).arg("ip_vs").output().unwrap();
        if output.status.success() {
            return;
        }
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < deadline, "cannot unload ip_vs: {why}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Virtual servers come and go, here and in another namespace. Those that stay must be listed completely
/// every time.
#[test]
fn one_pass_misses_nothing_that_stays() {
    in_namespace(|mut client| {
        let all = many(600);
        let (stay, come_and_go) = all.split_at(1500);
        apply(&mut client, stay);
        let expected = sorted_table(client.table().unwrap());
        let moving = AtomicBool::new(true);
        let found: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| come_and_go_while(&moving, come_and_go));
            scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                shell("ip link set lo up");
                come_and_go_while(&moving, come_and_go);
            });
            let found = (0..20).map(|_| client.table()).collect();
            moving.store(false, Ordering::Relaxed);
            found
        });
        for table in found {
            let table = sorted_table(table.unwrap());
            for (key, kept) in &expected {
                assert_eq!(table.get(key), Some(kept), "{key}");
            }
        }
    });
}

fn come_and_go_while(moving: &AtomicBool, commands: &[Command]) {
    let mut client = Client::open().unwrap();
    while moving.load(Ordering::Relaxed) {
        apply(&mut client, commands);
        for command in commands {
            if let Command::NewService(service) = command {
                client.delete_service(service.key).unwrap();
            }
        }
    }
}

/// Returns the keys that a reader with a buffer of this size finds in the text.
fn text_of(size: usize) -> BTreeSet<ListedKey> {
    let mut file = File::open("/proc/thread-self/net/ip_vs").unwrap();
    let (mut text, mut buffer) = (Vec::new(), vec![0; size]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    let listings = proc::parse(std::str::from_utf8(&text).unwrap()).unwrap();
    listings.into_iter().map(|listing| listing.key).collect()
}

/// Nothing changes, but the text lacks some of this namespace's virtual servers, because another namespace
/// has some in the same table. Since Linux 7.1 each namespace has its own table, and the kernel counts its
/// virtual servers.
#[test]
fn virtual_servers_of_another_namespace_make_the_text_lack_some_of_ours_and_never_the_table() {
    in_namespace(|mut client| {
        apply(&mut client, &many(1000));
        let ours: BTreeSet<_> = saved_keys(&mut client);
        assert_eq!(ours.len(), 1000);
        // The namespaces of earlier tests take some time to disappear.
        let alone = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(100));
            text_of(1 << 16).len() == 1000
        });
        assert!(alone, "virtual servers are missing before there are others");
        let (ready, gone) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                shell("ip link set lo up");
                apply(&mut Client::open().unwrap(), &many(1000));
                ready.wait();
                gone.wait();
            });
            ready.wait();
            let has_own_tables =
                std::path::Path::new("/proc/thread-self/net/ip_vs_status").exists();
            for size in [1 << 10, 1 << 12, 1 << 16] {
                let listed = text_of(size).len();
                println!("with a buffer of {size} bytes: {listed} of 1000");
                assert_eq!(listed == 1000, has_own_tables, "{listed} of 1000");
            }
            for _ in 0..3 {
                assert_eq!(saved_keys(&mut client), ours);
                assert!(client.unreadable().is_empty(), "{:?}", client.unreadable());
            }
            let text = std::fs::read_to_string("/proc/thread-self/net/ip_vs_status");
            let count = text.ok().map(|text| proc::parse_services(&text).unwrap());
            assert_eq!(count, has_own_tables.then_some(1000));
            gone.wait();
        });
    });
}

/// Returns the keys in the whole table, and checks that each virtual server has both destinations.
fn saved_keys(client: &mut Client) -> BTreeSet<ServiceKey> {
    let table = client.table().unwrap();
    assert!(table.iter().all(|server| server.destinations.len() == 2));
    table.iter().map(|server| server.service.key).collect()
}
