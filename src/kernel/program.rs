//! Runs programs for tasks that have no kernel interface of their own.
//!
//! Takes a program's name, arguments, input and time limit. Returns its output and exit status. Does not wait
//! for ever for a program that hangs, because the caller cannot serve changes meanwhile. Loads kernel modules that are
//! not loaded automatically.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// The time limit of a program. It suffices for the largest tables. It is no longer than the health check
/// tolerates waiting changes (two sync periods by default).
pub(super) const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The program could not be started, or its output could not be read.
    #[error(transparent)]
    Start(#[from] io::Error),
    /// The program had to be killed.
    #[error("did not end within {} s and was killed", .0.as_secs_f64())]
    Hung(Duration),
}

/// Runs a program to its end, and kills it when its time is over.
pub(super) fn run(
    program: &str,
    arguments: &[&str],
    input: Option<&str>,
    limit: Duration,
) -> Result<Output, Error> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Programs that it starts in turn are killed with it.
        .process_group(0)
        .spawn()?;
    let group = Pid::from_child(&child);
    let (ended, end) = channel::<()>();
    let watch = move || {
        let is_over = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        is_over && kill_process_group(group, Signal::KILL).is_ok()
    };
    thread::scope(|scope| {
        let watchdog = thread::Builder::new().name("watchdog".into()).spawn_scoped(scope, watch);
        let output = feed(child, input);
        drop(ended);
        let was_killed = watchdog.is_ok_and(|watchdog| watchdog.join().unwrap_or(false));
        match output? {
            output if was_killed && !output.status.success() => Err(Error::Hung(limit)),
            output => Ok(output),
        }
    })
}

fn feed(mut child: Child, input: Option<&str>) -> io::Result<Output> {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that stops reading gives the reason on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

/// True if the kernel module is loaded. A built-in module may not be visible.
pub(super) fn is_loaded(module: &str) -> bool {
    std::fs::exists(format!("/sys/module/{module}")).unwrap_or(false)
}

/// Asks `modprobe` to load a module. The next operation shows whether it works, since the module may be built in.
pub(super) fn load_module(module: &str) {
    let tried = run("modprobe", &[module], None, PROGRAM_TIMEOUT).map(|output| output.status);
    tracing::debug!(module, ?tried, "modprobe");
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_program_is_fed_and_heard() {
        let output = run("cat", &[], Some("words\n"), PROGRAM_TIMEOUT).unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.success()), (&b"words\n"[..], true));
        let output = run("sh", &["-c", "echo no >&2; exit 3"], None, PROGRAM_TIMEOUT).unwrap();
        assert_eq!((output.stderr.as_slice(), output.status.code()), (&b"no\n"[..], Some(3)));
        let error = run("ipvs-proxy-no-such-program", &[], None, PROGRAM_TIMEOUT).unwrap_err();
        assert!(matches!(error, Error::Start(_)));
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_it_has_started() {
        let begin = Instant::now();
        let limit = Duration::from_millis(50);
        // The inner program holds the pipes open.
        let error = run("sh", &["-c", "sleep 600; true"], Some("words"), limit).unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(300));
        assert_eq!(error.to_string(), "did not end within 0.05 s and was killed");
    }
}
