//! Measures the netlink codecs.
//!
//! Takes the messages for 100, 5,000 and 50,000 Services of one port and one endpoint. Returns the
//! time to write them and to read the kernel's answers. Does not use a socket.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "what fails here is to end the run")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipset_netlink::message::{Dialect, ENTRIES_PER_MESSAGE, Edit};
use ipset_netlink::{Entry, Repeat};
use ipvs_netlink::{Answer, Command, Destination, Protocol, Service, ServiceKey, proc};

const SIZES: [u32; 3] = [100, 5_000, 50_000];

fn address(number: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number).into()
}

fn commands(size: u32) -> Vec<Command> {
    let both = |number| {
        let key = ServiceKey::address(Protocol::TCP, address(number).into(), 80);
        let destination = Destination::new(address(number + (1 << 20)).into(), 8080);
        [Command::NewService(Service::new(key, "rr")), Command::NewDestination(key, destination)]
    };
    (0..size).flat_map(both).collect()
}

fn write_virtual_servers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write virtual servers and destinations");
    for size in SIZES {
        let commands = commands(size);
        group.throughput(Throughput::Elements(commands.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                commands.iter().map(|command| command.encode().unwrap().len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

fn read_virtual_servers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read virtual servers");
    for size in SIZES {
        // The kernel's answers have the form of commands, with counters.
        let answers: Vec<Vec<u8>> =
            commands(size).iter().step_by(2).map(|command| command.encode().unwrap()).collect();
        group.throughput(Throughput::Elements(answers.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                answers.iter().filter(|bytes| black_box(Answer::decode(bytes)).is_ok()).count()
            });
        });
    }
    group.finish();
}

fn read_the_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read /proc/net/ip_vs");
    group.sample_size(20);
    for size in SIZES {
        let mut text = String::from(
            "IP Virtual Server version 1.2.1 (size=4096)\n\
             Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n",
        );
        for number in 0..size {
            let hex = |address: Ipv4Addr| format!("{:08X}", u32::from(address));
            writeln!(text, "TCP  {}:0050 rr  ", hex(address(number))).unwrap();
            let pod = hex(address(number + (1 << 20)));
            writeln!(text, "  -> {pod}:1F90      Masq    1      0          0         ").unwrap();
        }
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| proc::parse(&text).unwrap().len());
        });
    }
    group.finish();
}

fn write_set_entries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write set entries");
    let set = "KUBE-CLUSTER-IP".parse().unwrap();
    for size in SIZES {
        let entry =
            |number| Entry::IpPort { ip: address(number).into(), protocol: Protocol(6), port: 80 };
        let entries: Vec<Entry> = (0..size).map(entry).collect();
        group.throughput(Throughput::Elements(size.into()));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let message = |entries| {
                Dialect::NEWEST
                    .edit(Edit::Add, &set, entries, Repeat::Accept)
                    .unwrap()
                    .payload
                    .len()
            };
            bencher.iter(|| entries.chunks(ENTRIES_PER_MESSAGE).map(message).sum::<usize>());
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    write_virtual_servers,
    read_virtual_servers,
    read_the_table,
    write_set_entries
);
criterion_main!(benches);
