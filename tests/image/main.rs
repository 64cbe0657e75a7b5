//! The image as it is built from the Containerfile, unpacked and tried: its packages, its two names, its entry.
//!
//! Takes the Containerfile, this build's binary and Debian's packages (`image/unpack`), and runs programs of the image
//! in namespaces of their own, with the image as a root folder that cannot be written. Needs root and Debian's package
//! servers, so `cargo test` leaves it out and `make image` runs it. Does not touch the host's network or files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What the image installs, and for each package a command line that its program carries out.
const PACKAGES: &[(&str, &[&str])] = &[
    ("ca-certificates", &["update-ca-certificates", "--help"]),
    ("conntrack", &["conntrack", "--version"]),
    ("ipset", &["ipset", "version"]),
    ("iptables", &["iptables-restore", "--version"]),
    ("ipvsadm", &["ipvsadm", "--help"]),
    ("kmod", &["modprobe", "--version"]),
    ("nftables", &["nft", "--version"]),
];

/// Runs the rest of its arguments in the root folder $1, after the commands $2, which see `$1` too.
const INSIDE: &str = r#"
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
eval "$2"
root=$1
shift 2
exec chroot "$root" "$@""#;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The image's root folder, built once for all tests.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        let built = Command::new(repository().join("image/unpack"))
            .arg(env!("CARGO_BIN_EXE_ipvs-proxy"))
            .arg(&root)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        root
    })
}

/// What a command of the image leaves, run after `setup`.
fn output_after(setup: &str, command: &[&str]) -> Output {
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
        .args(["sh", "-euc", INSIDE, "sh"])
        .arg(image())
        .arg(setup)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap()
}

/// What a command of the image prints, which has to succeed.
fn printed_after(setup: &str, command: &[&str]) -> String {
    let output = output_after(setup, command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn printed(command: &[&str]) -> String {
    printed_after("", command)
}

#[test]
fn every_package_is_there_for_a_program_that_runs() {
    let recipe = text("Containerfile");
    let (_, list) = recipe.split_once("--no-install-recommends ").unwrap();
    let installed: BTreeSet<_> = list.lines().next().unwrap().split_whitespace().collect();
    let installed: BTreeSet<_> = installed.into_iter().filter(|word| *word != "\\").collect();
    assert_eq!(installed, PACKAGES.iter().map(|(package, _)| *package).collect());

    for (package, command) in PACKAGES {
        let file = "basename \"$(realpath \"$(command -v \"$0\")\")\"";
        let owner = format!("dpkg --search \"*bin/$({file})\"");
        let owner = printed(&["sh", "-c", &owner, command[0]]);
        assert!(owner.starts_with(&format!("{package}: ")), "{owner}");
        // From 126 on the shell or the loader of libraries speaks. `ipvsadm` itself fails where the kernel has no IPVS.
        let output = output_after("", command);
        assert!(output.status.code().is_some_and(|code| code < 126), "{output:?}");
    }
}

#[test]
fn the_entry_and_both_names_run_the_proxy() {
    let entry = fs::read_to_string(image().with_extension("entrypoint")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for (command, begins) in [
        (entry.trim_end(), format!("ipvs-proxy v{version} ")),
        ("ipvs-proxy", format!("ipvs-proxy v{version} ")),
        ("kube-proxy", "Kubernetes v1.".to_owned()),
    ] {
        let said = printed(&[command, "--version"]);
        assert!(said.starts_with(&begins), "{command}: {said}");
    }
}

#[test]
fn the_runner_of_kubernetes_images_writes_the_log_into_a_file_and_shows_it() {
    let command =
        "/go-runner --log-file=/run/log --also-stdout -- kube-proxy --version && cat /run/log";
    let said = printed(&["sh", "-c", command]);
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines.len() == 2 && lines[0] == lines[1] && lines[0].starts_with("Kubernetes v1."),
        "{said}"
    );
}

#[test]
fn every_program_that_a_manifest_starts_is_in_the_image() {
    let mut started = BTreeSet::new();
    for manifest in
        ["manifests/daemonset/daemonset.yaml", "manifests/overlays/kubeadm/replace-kube-proxy.yaml"]
    {
        let words = text(manifest);
        started.extend(
            words
                .split_whitespace()
                .filter(|word| word.starts_with("/usr/local/bin/"))
                .map(str::to_owned),
        );
    }
    assert_eq!(started.len(), 2, "{started:?}");
    for program in started {
        printed(&[&program, "--version"]);
    }
}

/// Puts in the proxy's place a program that prints which `iptables` it would call.
const SHOW_FLAVOUR: &str = r#"
mount -t tmpfs tmpfs "$1/tmp"
printf '%s\n' '#!/bin/sh' 'for name in iptables ip6tables iptables-save ip6tables-restore; do $name --version; done' >"$1/tmp/show"
chmod 755 "$1/tmp/show"
mount --bind "$1/tmp/show" "$1/usr/local/libexec/ipvs-proxy"
"#;

#[test]
fn the_entry_chooses_the_flavour_in_which_the_kernel_has_the_kubelets_chain() {
    for (flavour, shown) in [("nft", "(nf_tables)"), ("legacy", "(legacy)")] {
        for family in ["iptables", "ip6tables"] {
            for chain in ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"] {
                let hint = format!(
                    "{SHOW_FLAVOUR}chroot \"$1\" {family}-{flavour} -t mangle -N {chain}\n"
                );
                let said = printed_after(&hint, &["ipvs-proxy"]);
                assert_eq!(said.lines().count(), 4, "{said}");
                assert!(
                    said.lines().all(|line| line.contains(shown)),
                    "{family}, {chain} of the flavour {flavour}: {said}"
                );
            }
        }
    }
}

#[test]
fn the_entry_chooses_the_flavour_with_more_rules_where_the_kubelet_left_none() {
    let rules = format!("{SHOW_FLAVOUR}chroot \"$1\" iptables-legacy -A INPUT -j ACCEPT\n");
    assert!(printed_after(&rules, &["kube-proxy"]).lines().all(|line| line.contains("(legacy)")));
    assert!(
        printed_after(SHOW_FLAVOUR, &["kube-proxy"])
            .lines()
            .all(|line| line.contains("(nf_tables)"))
    );
}

#[test]
fn the_proxy_plans_from_a_folder_in_a_root_that_cannot_be_written() {
    let manifests = repository().join("manifests/demo");
    let mounted = format!("mount --bind '{}' \"$1/mnt\"", manifests.display());
    let plan = printed_after(
        &mounted,
        &["ipvs-proxy", "plan", "--manifests=/mnt", "--hostname-override=node1"],
    );
    assert!(plan.contains("10.96.0.80:80"), "{plan}");
}

#[test]
fn the_proxy_finds_the_programs_by_which_it_looks_at_rules_and_tables() {
    let made = r#"
chroot "$1" iptables-legacy -t nat -N KUBE-SERVICES
chroot "$1" iptables-legacy -t mangle -N KUBE-IPTABLES-HINT
chroot "$1" iptables-legacy -t mangle -A KUBE-IPTABLES-HINT
chroot "$1" ipset create KUBE-CLUSTER-IP hash:ip,port
chroot "$1" nft add table ip kube-proxy
"#;
    let found = printed_after(made, &["ipvs-proxy", "cleanup", "--dry-run"]);
    for expected in ["chain KUBE-SERVICES", "set KUBE-CLUSTER-IP", "nftables table kube-proxy"] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}
