//! Kernel settings under `/proc/sys`.
//!
//! Takes names and values. Reads each setting, and writes it only if it differs, so that a process without
//! write access works once everything is set. A failure to set a size or timeout of connection tracking is
//! not an error, because packets are forwarded all the same.
//!
//! Sources: spec 7.4 and 7.5.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A setting that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}cannot set {name}={value}: {source} (needs root, and {} writable)", because(.field), below(.name))]
pub struct Error {
    /// The name below `/proc/sys`.
    pub name: String,
    /// The wanted value.
    pub value: u64,
    /// The configuration field that asks for it; `None` if it is needed in any case.
    pub field: Option<&'static str>,
    /// The reason given by the system.
    pub source: io::Error,
}

fn because(field: &Option<&'static str>) -> String {
    field.map_or_else(String::new, |field| format!("{field}: "))
}

/// The file system of a setting, which has to be writable.
fn below(name: &str) -> &'static str {
    if name == BUCKETS { "/sys" } else { "/proc/sys" }
}

/// A wanted setting.
struct Setting {
    /// Its name below `/proc/sys`.
    name: String,
    value: u64,
    /// The configuration field that asks for it; `None` if it is needed in any case.
    field: Option<&'static str>,
    need: Need,
}

/// The need for a setting, which decides what a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Services do not work as configured without this value.
    Forwarding,
    /// A size or timeout of connection tracking. Any value will do, and the operator may have tuned the node.
    Tuning,
    /// A size of connection tracking for which a higher value is as good (upstream since 1.38).
    AtLeast,
}

impl Setting {
    fn holds(&self) -> bool {
        let found = read(&path(&self.name));
        found.is_some_and(|found| match self.need {
            Need::Forwarding | Need::Tuning => found == self.value,
            Need::AtLeast => found >= self.value,
        })
    }

    fn fails(self, source: io::Error) -> Error {
        Error { name: self.name, value: self.value, field: self.field, source }
    }
}

/// The kernel settings that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `ipvs.strictARP`.
    pub strict_arp: bool,
    /// The size of the connection tracking table; `None` leaves it as it is.
    pub conntrack_max: Option<u64>,
    /// `nf_conntrack_tcp_timeout_established` in seconds; here and below, 0 leaves the value as it is.
    pub tcp_established: u64,
    /// `nf_conntrack_tcp_timeout_close_wait` in seconds.
    pub tcp_close_wait: u64,
    /// True if `nf_conntrack_tcp_be_liberal` is to be set.
    pub tcp_be_liberal: bool,
    /// `nf_conntrack_udp_timeout` in seconds.
    pub udp: u64,
    /// `nf_conntrack_udp_timeout_stream` in seconds.
    pub udp_stream: u64,
}

/// The largest table size that `conntrack.maxPerCore` may lead to.
const CONNTRACK_CAP: u64 = 1_048_576;

/// The table size that follows from `conntrack.maxPerCore` and `conntrack.min` (spec 7.5). The product is
/// capped, the minimum is not. `None` if `per_core` is 0, which leaves the size as it is.
pub fn conntrack_max(per_core: u64, min: u64, cores: u64) -> Option<u64> {
    if per_core == 0 {
        return None;
    }
    let scaled = per_core.saturating_mul(cores);
    Some(if scaled > CONNTRACK_CAP { CONNTRACK_CAP } else { scaled.max(min) })
}

/// The number of online CPUs of the node, whatever share of them this process may use.
pub fn online_cores() -> u64 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let usable = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    count(&online).unwrap_or_else(usable)
}

/// The number of elements in a list such as `0-3,8`.
fn count(list: &str) -> Option<u64> {
    let mut total = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        total += last.checked_sub(first)? + 1;
    }
    Some(total)
}

/// Applies all settings in upstream's order. Returns the sizes and timeouts of connection tracking that could
/// not be set.
///
/// `Departs:` upstream ends at any setting that cannot be made.
///
/// # Errors
/// The first setting that forwarding needs and that could not be written. Earlier settings stay.
pub fn apply(wanted: &Wanted) -> Result<Vec<Error>, Error> {
    let mut left = Vec::new();
    for setting in settings(wanted).into_iter().chain(buckets(wanted)) {
        if setting.holds() {
            continue;
        }
        match (fs::write(path(&setting.name), setting.value.to_string()), setting.need) {
            (Ok(()), _) => {}
            (Err(source), Need::Forwarding) => return Err(setting.fails(source)),
            (Err(source), Need::Tuning | Need::AtLeast) => left.push(setting.fails(source)),
        }
    }
    Ok(left)
}

/// Checks that all settings that forwarding needs can be written, without writing any.
///
/// # Errors
/// The first of them that differs and may not be written.
pub fn check(wanted: &Wanted) -> Result<(), Error> {
    let needed = |setting: &Setting| setting.need == Need::Forwarding && !setting.holds();
    for setting in settings(wanted).into_iter().filter(needed) {
        let opened = fs::OpenOptions::new().write(true).open(path(&setting.name));
        opened.map(drop).map_err(|source| setting.fails(source))?;
    }
    Ok(())
}

/// The wanted table size if it cannot be set here; `None` if it can. Outside the first network namespace the
/// kernel shows it read-only.
pub fn size_of_the_host(wanted: &Wanted) -> Option<u64> {
    wanted.conntrack_max.filter(|_| is_read_only(CONNTRACK_MAX))
}

/// The path of a setting; a name that is an absolute path stays as it is.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// The number of buckets of the connection tracking table. It is a module parameter and applies to the whole
/// machine.
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// The configuration fields that decide the table size; which one counts depends on the number of CPUs.
const SIZE: &str = "conntrack.maxPerCore or conntrack.min";

/// The wanted settings, those of connection tracking first.
fn settings(wanted: &Wanted) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut add = |name: String, value, field, need| {
        settings.push(Setting { name, value, field, need });
    };
    if let Some(max) = wanted.conntrack_max
        && !is_read_only(CONNTRACK_MAX)
    {
        add(CONNTRACK_MAX.to_owned(), max, Some(SIZE), Need::AtLeast);
    }
    for (name, value, field) in [
        ("tcp_timeout_established", wanted.tcp_established, "conntrack.tcpEstablishedTimeout"),
        ("tcp_timeout_close_wait", wanted.tcp_close_wait, "conntrack.tcpCloseWaitTimeout"),
        ("tcp_be_liberal", u64::from(wanted.tcp_be_liberal), "conntrack.tcpBeLiberal"),
        ("udp_timeout", wanted.udp, "conntrack.udpTimeout"),
        ("udp_timeout_stream", wanted.udp_stream, "conntrack.udpStreamTimeout"),
    ] {
        if value > 0 {
            let name = format!("net/netfilter/nf_conntrack_{name}");
            add(name, value, Some(field), Need::Tuning);
        }
    }
    let mut ipv4 =
        |name: &str, value| add(format!("net/ipv4/{name}"), value, None, Need::Forwarding);
    ipv4("vs/conntrack", 1);
    if needs_conn_reuse_off() {
        ipv4("vs/conn_reuse_mode", 0);
    }
    ipv4("vs/expire_nodest_conn", 1);
    ipv4("vs/expire_quiescent_template", 1);
    ipv4("ip_forward", 1);
    if wanted.strict_arp {
        for (name, value) in [("arp_ignore", 1), ("arp_announce", 2)] {
            let name = format!("net/ipv4/conf/all/{name}");
            add(name, value, Some("ipvs.strictARP"), Need::Forwarding);
        }
    }
    settings
}

/// The wanted number of buckets. A table needs one for every four entries, or its chains grow long.
fn buckets(wanted: &Wanted) -> Option<Setting> {
    let value = wanted.conntrack_max.filter(|_| !is_read_only(CONNTRACK_MAX))? / 4;
    let name = BUCKETS.to_owned();
    Some(Setting { name, value, field: Some(SIZE), need: Need::AtLeast })
}

/// True for kernels that need `conn_reuse_mode` 0. Before Linux 5.9 a reused client port could meet a
/// one-second delay or a dead endpoint, and mode 0 is the lesser evil (kubernetes/kubernetes#93297). From 5.9
/// on the default is right.
fn needs_conn_reuse_off() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(['.', '-', '+']).map_while(|part| part.trim().parse().ok());
    let version: (u32, u32) = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
    ((4, 1)..(5, 9)).contains(&version)
}

/// True if the kernel shows the setting read-only, as some are outside the first network namespace
/// (`net/netfilter/nf_conntrack_standalone.c: nf_conntrack_standalone_init_sysctl`).
///
/// `Departs:` upstream ends here.
fn is_read_only(name: &str) -> bool {
    fs::metadata(path(name)).is_ok_and(|metadata| metadata.permissions().readonly())
}

/// Reads a setting that is one number. `None` if it does not exist, cannot be read, or is not one number.
fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
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
        let (name, field, need) = (BUCKETS.to_owned(), Some(SIZE), Need::AtLeast);
        let buckets = Setting { name, value: 1, field, need };
        let buckets = buckets.fails(io::ErrorKind::ReadOnlyFilesystem.into()).to_string();
        assert!(buckets.contains("hashsize=1: ") && buckets.contains("/sys writable"), "{buckets}");
    }

    /// Settings that Services need may not fail; those that only tune may.
    #[test]
    fn only_sizes_and_timeouts_of_connection_tracking_may_fail() {
        let wanted = Wanted {
            strict_arp: true,
            conntrack_max: Some(4),
            tcp_established: 1,
            tcp_close_wait: 1,
            tcp_be_liberal: true,
            udp: 1,
            udp_stream: 1,
        };
        for setting in settings(&wanted).into_iter().chain(buckets(&wanted)) {
            let is_of_conntrack = setting.name.contains("nf_conntrack");
            assert_eq!(setting.need == Need::Forwarding, !is_of_conntrack, "{}", setting.name);
        }
    }

    #[test]
    fn a_table_that_is_larger_already_is_left_alone_and_a_timeout_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "400\n").unwrap();
        let holds = |value, need| {
            let name = file.path().to_str().unwrap().to_owned();
            Setting { name, value, field: None, need }.holds()
        };
        for (need, larger, equal, smaller) in [
            (Need::AtLeast, true, true, false),
            (Need::Tuning, false, true, false),
            (Need::Forwarding, false, true, false),
        ] {
            let found = [holds(399, need), holds(400, need), holds(401, need)];
            assert_eq!(found, [larger, equal, smaller], "{need:?}");
        }
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
