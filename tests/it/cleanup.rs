//! Tests the output and the exit code of `cleanup --dry-run` with programs of the test's own.
//!
//! Takes a listing, as `iptables-save` prints it. Returns lines and the exit code. Does not change
//! a kernel: `tests/netns/cleanup.rs` does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const CLEAN: &str = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n";

/// A chain of this proxy to which a foreign chain jumps.
const USED: &str = "*nat\n:MINE - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A MINE -j KUBE-MARK-MASQ\n\
                    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\nCOMMIT\n";

fn program(folder: &Path, name: &str, prints: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\nprintf '%s' '{prints}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Returns the exit code, standard output and standard error. A machine that does not allow reading
/// its kernel is reported there too.
fn planned(programs: &[&str], listing: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in programs {
        program(folder.path(), name, "iptables v1.8.9 (nf_tables)");
        program(folder.path(), &format!("{name}-save"), listing);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipvs-proxy"));
    let command = command.args(["cleanup", "--dry-run"]).env("PATH", folder.path());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_family_without_programs_is_said_once_and_is_no_failure() {
    for (programs, absent) in [
        (&["iptables"][..], &["IPv6 rules are not looked at: there is no ip6tables"][..]),
        (&["ip6tables"], &["IPv4 rules are not looked at: there is no iptables"]),
        (&[], &["there is no iptables", "there is no ip6tables"]),
    ] {
        let (code, printed, said) = planned(programs, CLEAN);
        for absent in absent {
            assert_eq!(printed.matches(absent).count(), 1, "{printed}");
        }
        let found = printed.matches("nat rules: chain KUBE-SERVICES").count();
        assert_eq!(found, programs.len(), "{printed}");
        assert!(!said.contains("tables"), "{said}");
        if said.is_empty() {
            assert_eq!(code, Some(0));
        }
    }
}

#[test]
fn a_dry_run_tells_of_what_would_stay_and_fails_as_the_real_run() {
    let (code, printed, said) = planned(&["iptables", "ip6tables"], USED);
    assert_eq!(code, Some(1), "{said}");
    assert!(!printed.contains("would remove IPv4 nat rules"), "{printed}");
    let kept = "could not remove IPv4 nat rules: rules of chain KUBE-MARK-MASQ: emptied, but rules of \
                others lead to nat KUBE-MARK-MASQ";
    assert_eq!(said.matches(kept).count(), 1, "{said}");
    assert!(said.contains("steps would fail"), "{said}");
}
