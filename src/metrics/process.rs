//! Metrics of the process, as the kernel accounts for it.
//!
//! Reads `/proc/self` at each scrape. Returns `process_*` families with the names of Prometheus' client libraries.
//! Omits values that cannot be read.
//!
//! Source: proc_pid_stat(5); prometheus.io/docs/instrumenting/writing_clientlibs.

use std::fs;

use prometheus::proto::MetricFamily;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::family::{Family, Kind};

const START: (&str, &str) =
    ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");

/// The family with the time when the process began.
pub(super) fn start_family() -> Option<MetricFamily> {
    Some(Family::single(START.0, START.1, Kind::Gauge, start_time()?))
}

/// All families whose values can be read now.
pub(super) fn families() -> Vec<MetricFamily> {
    let stat = Stat::read();
    let of_stat = |value: fn(&Stat) -> f64| stat.as_ref().map(value);
    let network = network();
    let gauges = [
        (START.0, START.1, stat.as_ref().and_then(Stat::start_time)),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            of_stat(|stat| stat.resident_pages * page_size() as f64),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            of_stat(|stat| stat.virtual_bytes),
        ),
        (
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            limit(Resource::As),
        ),
        ("process_max_fds", "Maximum number of open file descriptors.", limit(Resource::Nofile)),
        ("process_open_fds", "Number of open file descriptors.", open_files()),
    ];
    let counters = [
        (
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            of_stat(|stat| stat.cpu_ticks / clock_ticks_per_second() as f64),
        ),
        (
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            network.map(|(received, _)| received),
        ),
        (
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            network.map(|(_, sent)| sent),
        ),
    ];
    let families = |list: &[(&'static str, &'static str, Option<f64>)], kind| {
        let told = list.iter().filter_map(|(name, help, value)| Some((*name, *help, (*value)?)));
        told.map(|(name, help, value)| Family::single(name, help, kind, value)).collect::<Vec<_>>()
    };
    [families(&gauges, Kind::Gauge), families(&counters, Kind::Counter)].concat()
}

/// The time when the process began, in seconds since 1970.
pub(super) fn start_time() -> Option<f64> {
    Stat::read()?.start_time()
}

struct Stat {
    cpu_ticks: f64,
    started_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// Reads `/proc/self/stat`. Skips its second field, the program's name, which may have spaces and brackets.
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }

    /// The time when the process began, in seconds since 1970.
    fn start_time(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        Some(boot + self.started_ticks / clock_ticks_per_second() as f64)
    }
}

/// A resource limit. Without a limit it is the largest 64-bit number, as in Go's client library.
fn limit(of: Resource) -> Option<f64> {
    Some(getrlimit(of).current.unwrap_or(u64::MAX) as f64)
}

/// The number of open files, without the one of the folder that is being read.
fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

/// The bytes that the process's network namespace has received and sent.
fn network() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/net/netstat").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| {
        let at = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(at)?.parse::<f64>().ok()
    };
    Some((value("InOctets")?, value("OutOctets")?))
}
