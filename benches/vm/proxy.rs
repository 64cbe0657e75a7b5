//! Runs a proxy under measurement.
//!
//! Takes its arguments. Returns its log lines with the time at which each was read, and its
//! resource usage from `/proc`. Does not use the proxy's internals.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Sub;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::said;

/// Longer than any measured step takes.
const PATIENCE: Duration = Duration::from_secs(600);
const TRACING: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/trigger";
const CALLS: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/hist";

pub(crate) struct Proxy {
    child: Child,
    said: Receiver<Said>,
    pub(crate) started: Instant,
}

/// A log line, and when it was read.
pub(crate) struct Said {
    pub(crate) at: Instant,
    pub(crate) line: String,
}

impl Said {
    /// Returns the number after `NAME=`.
    pub(crate) fn number(&self, name: &str) -> f64 {
        let (_, rest) = self.line.split_once(&format!("{name}=")).expect("a field");
        rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    }
}

/// The result of one round or several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// The time at which the last of them was logged.
    pub(crate) at: Instant,
    pub(crate) changed: f64,
    pub(crate) kernel_ms: f64,
}

impl From<&Said> for Rounds {
    /// Reads one round. A round that has changed nothing logs no number of changes.
    fn from(said: &Said) -> Self {
        let is_change = said.line.contains("changed=");
        Self {
            at: said.at,
            changed: if is_change { said.number("changed") } else { 0.0 },
            kernel_ms: said.number("kernel_ms"),
        }
    }
}

/// The resources that a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The CPU time of its own threads.
    pub(crate) cpu: Duration,
    /// The CPU time of the programs that it has run.
    pub(crate) children: Duration,
    /// The number of times that a thread was woken after waiting.
    pub(crate) wakes: u64,
    /// The number of system calls of its threads.
    pub(crate) calls: u64,
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            children: self.children.saturating_sub(earlier.children),
            wakes: self.wakes.saturating_sub(earlier.wakes),
            calls: self.calls.saturating_sub(earlier.calls),
        }
    }
}

impl Proxy {
    /// Starts it in the network namespace of this thread.
    pub(crate) fn start(log: &str, arguments: &[String]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let (tell, said) = channel();
        let started = Instant::now();
        let child = Command::new("ipvs-proxy")
            .arg(said::AS_JSON)
            .args(arguments)
            .env("IPVS_PROXY_LOG", log)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .expect("ipvs-proxy is in PATH");
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let (at, line) = (Instant::now(), said::plain(&line));
                if tell.send(Said { at, line }).is_err() {
                    break;
                }
            }
        });
        Self { child, said, started }
    }

    /// Returns the next line that contains one of these texts.
    pub(crate) fn hear(&self, texts: &[&str]) -> Said {
        let mut last = String::new();
        loop {
            let said = self.said.recv_timeout(PATIENCE);
            let said = said.unwrap_or_else(|_| panic!("not said: {texts:?}; last: {last}"));
            assert!(!said.line.starts_with("ERROR "), "{}", said.line);
            if texts.iter().any(|text| said.line.contains(text)) {
                return said;
            }
            last = said.line;
        }
    }

    /// Reads rounds until they have made this many changes.
    pub(crate) fn hear_changes(&self, count: f64) -> Rounds {
        let mut rounds = Rounds::from(&self.hear(&[" synced "]));
        while rounds.changed < count {
            let next = Rounds::from(&self.hear(&[" synced "]));
            rounds.at = next.at;
            rounds.changed += next.changed;
            rounds.kernel_ms += next.kernel_ms;
        }
        rounds
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let of =
            |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let stat = of("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        usage.children = Duration::from_millis((ticks(13) + ticks(14)) * 10);
        let calls = calls();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().flatten() {
            let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let run: u64 = number_at(&read("schedstat"), 0);
            usage.cpu += Duration::from_nanos(run);
            usage.wakes += field(&read("status"), "voluntary_ctxt_switches:");
            let id = task.file_name().into_string().unwrap();
            usage.calls +=
                calls.iter().find(|(task, _)| *task == id).map_or(0, |(_, count)| *count);
        }
        usage
    }

    /// Returns the present and the peak resident memory, in MiB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mib = |name| field(&status, name) as f64 / 1024.0;
        (mib("VmRSS:"), mib("VmHWM:"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts to count system calls, if this kernel can.
pub(crate) fn count_calls() {
    let _ =
        Command::new("mount").args(["-t", "tracefs", "tracefs", "/sys/kernel/tracing"]).status();
    if let Err(error) = fs::write(TRACING, "hist:keys=common_pid:size=8192") {
        eprintln!("system calls are not counted: {error}");
    }
}

/// Returns the number of system calls by thread.
fn calls() -> Vec<(String, u64)> {
    let text = fs::read_to_string(CALLS).unwrap_or_default();
    let line = |line: &str| {
        let (task, count) = line.strip_prefix("{ common_pid:")?.split_once("} hitcount:")?;
        Some((task.trim().to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    number_at(line.unwrap_or_default(), 0)
}

fn number_at(text: &str, at: usize) -> u64 {
    text.split_whitespace().nth(at).and_then(|word| word.parse().ok()).unwrap_or(0)
}
