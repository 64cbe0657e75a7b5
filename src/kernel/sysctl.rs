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
#[error("{}cannot set {name}={value}: {source} (needs root, and {} writable)", because(.field), below(.name))]
pub struct Error {
    /// The name below `/proc/sys`.
    pub name: String,
    /// The value wanted.
    pub value: u64,
    /// The field of the configuration that asks for it, if one does.
    pub field: Option<&'static str>,
    /// What the system said.
    pub source: io::Error,
}

fn because(field: &Option<&'static str>) -> String {
    field.map_or_else(String::new, |field| format!("{field}: "))
}

/// Where a setting stands: its file system has to be writable.
fn below(name: &str) -> &'static str {
    if name == BUCKETS { "/sys" } else { "/proc/sys" }
}

/// A setting that is wanted.
struct Setting {
    /// Its name below `/proc/sys`.
    name: String,
    value: u64,
    /// The field of the configuration that asks for it; others are needed whatever it says.
    field: Option<&'static str>,
}

impl Setting {
    fn fails(self, source: io::Error) -> Error {
        Error { name: self.name, value: self.value, field: self.field, source }
    }
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
    settings(wanted).into_iter().try_for_each(set)?;
    missing_buckets(wanted).map_or(Ok(()), set)
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
    for setting in settings(wanted).into_iter().chain(missing_buckets(wanted)) {
        let path = path(&setting.name);
        if read(&path) != Some(setting.value) {
            let opened = fs::OpenOptions::new().write(true).open(path);
            opened.map(drop).map_err(|source| setting.fails(source))?;
        }
    }
    Ok(())
}

/// A name that is a whole path stays as it is.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// How many buckets the connection tracking table has; no sysctl, and the whole machine's.
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Which of the two is to be changed depends on the number of CPUs.
const SIZE: &str = "conntrack.maxPerCore or conntrack.min";

/// Names and values, those of connection tracking first.
fn settings(wanted: &Wanted) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |name: String, value, field| settings.push(Setting { name, value, field });
    if let Some(max) = wanted.conntrack_max
        && !is_read_only(CONNTRACK_MAX)
    {
        add(CONNTRACK_MAX.to_owned(), max, Some(SIZE));
    }
    for (name, value, field) in [
        ("tcp_timeout_established", wanted.tcp_established, "conntrack.tcpEstablishedTimeout"),
        ("tcp_timeout_close_wait", wanted.tcp_close_wait, "conntrack.tcpCloseWaitTimeout"),
        ("tcp_be_liberal", u64::from(wanted.tcp_be_liberal), "conntrack.tcpBeLiberal"),
        ("udp_timeout", wanted.udp, "conntrack.udpTimeout"),
        ("udp_timeout_stream", wanted.udp_stream, "conntrack.udpStreamTimeout"),
    ] {
        if value > 0 {
            add(format!("net/netfilter/nf_conntrack_{name}"), value, Some(field));
        }
    }
    let mut ipv4 = |name: &str, value| add(format!("net/ipv4/{name}"), value, None);
    ipv4("vs/conntrack", 1);
    if needs_conn_reuse_off() {
        ipv4("vs/conn_reuse_mode", 0);
    }
    ipv4("vs/expire_nodest_conn", 1);
    ipv4("vs/expire_quiescent_template", 1);
    ipv4("ip_forward", 1);
    if wanted.strict_arp {
        for (name, value) in [("arp_ignore", 1), ("arp_announce", 2)] {
            add(format!("net/ipv4/conf/all/{name}"), value, Some("ipvs.strictARP"));
        }
    }
    settings
}

/// A table needs a bucket for every four entries, or its chains grow long.
fn missing_buckets(wanted: &Wanted) -> Option<Setting> {
    let value = wanted.conntrack_max.filter(|_| !is_read_only(CONNTRACK_MAX))? / 4;
    let is_enough = read(&path(BUCKETS)).is_some_and(|now| now >= value);
    (!is_enough).then(|| Setting { name: BUCKETS.to_owned(), value, field: Some(SIZE) })
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
    fs::metadata(path(name)).is_ok_and(|metadata| metadata.permissions().readonly())
}

fn set(setting: Setting) -> Result<(), Error> {
    let path = path(&setting.name);
    if read(&path) == Some(setting.value) {
        return Ok(());
    }
    write(&path, setting.value).map_err(|source| setting.fails(source))
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
    fn an_error_names_the_field_the_setting_and_what_must_be_writable() {
        let wanted = Wanted { strict_arp: true, udp_stream: 180, ..Wanted::default() };
        let said = |name: &str| {
            let setting = settings(&wanted).into_iter().find(|setting| setting.name == name);
            setting.unwrap().fails(io::ErrorKind::ReadOnlyFilesystem.into()).to_string()
        };
        let arp = said("net/ipv4/conf/all/arp_announce");
        assert!(arp.starts_with("ipvs.strictARP: cannot set net/ipv4/conf/all/arp_announce=2: "));
        let stream = said("net/netfilter/nf_conntrack_udp_timeout_stream");
        assert!(stream.starts_with("conntrack.udpStreamTimeout: cannot set net/netfilter/"));
        assert!(said("net/ipv4/ip_forward").starts_with("cannot set net/ipv4/ip_forward=1: "));
        let buckets = Setting { name: BUCKETS.to_owned(), value: 1, field: Some(SIZE) };
        let buckets = buckets.fails(io::ErrorKind::ReadOnlyFilesystem.into()).to_string();
        assert!(buckets.contains("hashsize=1: ") && buckets.contains("/sys writable"), "{buckets}");
    }

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
