//! Kernel settings under `/proc/sys`.
//!
//! In: names and values. Out: each read, and written only where it differs. Never: a write that
//! changes nothing, so that a process that may not write is fine once everything is set.
//!
//! Sources: spec 7.4 and 7.5.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {name}={value}: {source} (needs root, and /proc/sys writable)")]
pub struct Error {
    /// The name below `/proc/sys`.
    pub name: String,
    /// The value wanted.
    pub value: u64,
    /// What the system said.
    pub source: io::Error,
}

/// What the configuration says about kernel settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `ipvs.strictARP`.
    pub strict_arp: bool,
    /// The size of the connection tracking table; `None` leaves it alone.
    pub conntrack_max: Option<u64>,
    /// `nf_conntrack_tcp_timeout_established` in seconds; 0 leaves it alone, here and below.
    pub tcp_established: u64,
    /// `nf_conntrack_tcp_timeout_close_wait` in seconds.
    pub tcp_close_wait: u64,
    /// Whether to set `nf_conntrack_tcp_be_liberal`.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout` in seconds.
    pub udp: u64,
    /// `nf_conntrack_udp_timeout_stream` in seconds.
    pub udp_stream: u64,
}

/// The most connections that `conntrack.maxPerCore` may ask for.
const CONNTRACK_CAP: u64 = 1_048_576;

/// The table size for `conntrack.maxPerCore` and `conntrack.min` (spec 7.5): the product is
/// capped, the minimum is not; 0 a core leaves the size alone.
pub fn conntrack_max(per_core: u64, min: u64, cores: u64) -> Option<u64> {
    if per_core == 0 {
        return None;
    }
    let scaled = per_core.saturating_mul(cores);
    Some(if scaled > CONNTRACK_CAP { CONNTRACK_CAP } else { scaled.max(min) })
}

/// How many CPUs of the node are online, whatever share of them this process may use.
pub fn online_cores() -> u64 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let usable = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    count(&online).unwrap_or_else(usable)
}

/// The length of a list such as `0-3,8`.
fn count(list: &str) -> Option<u64> {
    let mut total = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        total += last.checked_sub(first)? + 1;
    }
    Some(total)
}

/// Makes all settings, in upstream's order.
///
/// # Errors
/// The first setting that could not be made; those before it stand.
pub fn apply(wanted: &Wanted) -> Result<(), Error> {
    for (name, value) in settings(wanted) {
        set(&name, value)?;
    }
    match wanted.conntrack_max {
        Some(max) if !is_read_only(CONNTRACK_MAX) => grow_conntrack_buckets(max),
        Some(_) | None => Ok(()),
    }
}

/// Finds out whether all settings could be made, without making any.
///
/// # Errors
/// The first setting that differs and may not be written.
pub fn check(wanted: &Wanted) -> Result<(), Error> {
    if let Some(max) = wanted.conntrack_max
        && is_read_only(CONNTRACK_MAX)
    {
        tracing::warn!(
            "the connection tracking table belongs to the host's network namespace: its size is \
             not set to {max}"
        );
    }
    for (name, value) in settings(wanted) {
        let path = PathBuf::from("/proc/sys").join(&name);
        if read(&path) != Some(value) {
            let opened = fs::OpenOptions::new().write(true).open(&path);
            opened.map_err(|source| Error { name, value, source })?;
        }
    }
    Ok(())
}

const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// Names and values, those of connection tracking first.
fn settings(wanted: &Wanted) -> Vec<(String, u64)> {
    let mut settings = Vec::new();
    if let Some(max) = wanted.conntrack_max
        && !is_read_only(CONNTRACK_MAX)
    {
        settings.push((CONNTRACK_MAX.to_owned(), max));
    }
    for (name, value) in [
        ("tcp_timeout_established", wanted.tcp_established),
        ("tcp_timeout_close_wait", wanted.tcp_close_wait),
        ("tcp_be_liberal", u64::from(wanted.tcp_be_liberal)),
        ("udp_timeout", wanted.udp),
        ("udp_timeout_stream", wanted.udp_stream),
    ] {
        if value > 0 {
            settings.push((format!("net/netfilter/nf_conntrack_{name}"), value));
        }
    }
    let mut ipv4 = |name: &str, value| settings.push((format!("net/ipv4/{name}"), value));
    ipv4("vs/conntrack", 1);
    if needs_conn_reuse_off() {
        ipv4("vs/conn_reuse_mode", 0);
    }
    ipv4("vs/expire_nodest_conn", 1);
    ipv4("vs/expire_quiescent_template", 1);
    ipv4("ip_forward", 1);
    if wanted.strict_arp {
        ipv4("conf/all/arp_ignore", 1);
        ipv4("conf/all/arp_announce", 2);
    }
    settings
}

/// A table needs a bucket for every four entries, or its chains grow long.
fn grow_conntrack_buckets(max: u64) -> Result<(), Error> {
    let path = PathBuf::from("/sys/module/nf_conntrack/parameters/hashsize");
    let buckets = max / 4;
    if read(&path).is_some_and(|now| now >= buckets) {
        return Ok(());
    }
    write(&path, buckets).map_err(|source| Error {
        name: path.display().to_string(),
        value: buckets,
        source,
    })
}

/// Before Linux 5.9 a reused client port could meet a one-second delay or a dead endpoint, and
/// mode 0 is the lesser evil (kubernetes/kubernetes#93297). From 5.9 on the default is right.
fn needs_conn_reuse_off() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(['.', '-', '+']).map_while(|part| part.trim().parse().ok());
    let version: (u32, u32) = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
    ((4, 1)..(5, 9)).contains(&version)
}

/// Outside the first network namespace the kernel shows some settings without letting anybody
/// write them (`net/netfilter/nf_conntrack_standalone.c: nf_conntrack_standalone_init_sysctl`).
///
/// `Departs:` upstream ends here.
fn is_read_only(name: &str) -> bool {
    fs::metadata(PathBuf::from("/proc/sys").join(name))
        .is_ok_and(|metadata| metadata.permissions().readonly())
}

fn set(name: &str, value: u64) -> Result<(), Error> {
    let path = PathBuf::from("/proc/sys").join(name);
    if read(&path) == Some(value) {
        return Ok(());
    }
    write(&path, value).map_err(|source| Error { name: name.into(), value, source })
}

fn read(path: &PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write(path: &PathBuf, value: u64) -> io::Result<()> {
    fs::write(path, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_from_ranges() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8-9,11"), Some(7));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }

    #[test]
    fn the_cap_holds_for_the_product_but_not_for_the_minimum() {
        assert_eq!(conntrack_max(0, 131_072, 8), None);
        assert_eq!(conntrack_max(32_768, 131_072, 2), Some(131_072));
        assert_eq!(conntrack_max(32_768, 131_072, 16), Some(524_288));
        assert_eq!(conntrack_max(32_768, 131_072, 64), Some(1_048_576));
        assert_eq!(conntrack_max(32_768, 2_000_000, 2), Some(2_000_000));
    }
}
