//! Tests the image's entry: with which flavour of iptables the proxy is started.
//!
//! Takes `image/entry` and the links of `Containerfile`, in a folder of the test's own, and
//! programs that print what a node has. Returns the program that is run, its arguments, and the
//! `iptables` that it finds. Does not build an image.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const CANARY: &str = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
const HINT: &str = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";
const ONE_RULE: &str = "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -j DROP\nCOMMIT\n";
const TWO_RULES: &str = "*nat\n-A POSTROUTING -j MASQUERADE\n-A OUTPUT -j ACCEPT\nCOMMIT\n";

#[test]
fn the_flavour_is_the_kubelets_or_else_that_of_more_rules() {
    for (nft, legacy, chosen) in [
        ("", "", "nft"),
        (CANARY, TWO_RULES, "nft"),
        (HINT, CANARY, "nft"),
        (TWO_RULES, CANARY, "legacy"),
        (TWO_RULES, HINT, "legacy"),
        (ONE_RULE, TWO_RULES, "legacy"),
        (TWO_RULES, ONE_RULE, "nft"),
        (ONE_RULE, ONE_RULE, "nft"),
    ] {
        let image = Image::lay_out();
        image.node_has("iptables", nft, legacy);
        assert_eq!(image.chosen(), chosen, "nft: {nft:?}, legacy: {legacy:?}");
    }
}

#[test]
fn a_family_alone_says_it_too() {
    let image = Image::lay_out();
    image.node_has("ip6tables", "", CANARY);
    assert_eq!(image.chosen(), "legacy");
}

#[test]
fn a_flavour_that_does_not_work_has_no_rules() {
    let image = Image::lay_out();
    image.node_has("iptables", "", ONE_RULE);
    image.program("tools/iptables-nft-save", "exit 1");
    assert_eq!(image.chosen(), "legacy");
}

/// The probe is run every few seconds.
#[test]
fn a_probe_looks_at_no_rules() {
    let image = Image::lay_out();
    let looked = image.path().join("looked");
    image.program("libexec/ipvs-proxy", "printf '%s|' \"$0\" \"$@\"");
    for flavour in ["nft", "legacy"] {
        let script = format!(": >{}", looked.display());
        image.program(&format!("tools/iptables-{flavour}-save"), &script);
    }
    assert!(image.run("ipvs-proxy", &["ready"]).contains("libexec/ipvs-proxy|ready|"));
    assert!(!looked.exists());
    image.run("ipvs-proxy", &["dump"]);
    assert!(looked.exists());
}

#[test]
fn the_program_is_the_one_of_that_name_with_its_arguments() {
    let image = Image::lay_out();
    for name in ["ipvs-proxy", "kube-proxy"] {
        let ran = image.run(name, &["--config=a b", "-v", "2"]);
        let (program, arguments) = ran.split_once('|').unwrap();
        assert!(program.ends_with(&format!("libexec/{name}")), "{ran}");
        assert!(arguments.starts_with("--config=a b|-v|2|"), "{ran}");
    }
}

/// kops starts kube-proxy in this way.
#[test]
fn go_runner_writes_what_a_command_says_where_its_flags_say_and_hands_on_its_exit_code() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let log_flag = format!("--log-file={}", log.display());
    let one_hyphen = format!("-log-file={}", log.display());
    let says = "echo \"out $*\"; echo err >&2; exit 3";
    let command = ["sh", "-c", says, "sh", "a b", "--also-stdout"];
    let [out, err, both] = ["out a b --also-stdout\n", "err\n", "out a b --also-stdout\nerr\n"];
    // The flags, and the expected content of the file, standard output and standard error.
    for (flags, in_file, on_output, on_error) in [
        (&[&*log_flag, "--also-stdout=true", "--redirect-stderr=true", "--"][..], both, both, ""),
        (&[&*log_flag, "--also-stdout"], both, both, ""),
        (&[&*one_hyphen], both, "", ""),
        (&["-log-file", log.to_str().unwrap(), "--redirect-stderr=false"], out, "", err),
        (&[&*log_flag, "-also-stdout", "-redirect-stderr=F"], out, out, err),
        (&[], "", both, ""),
        (&["--redirect-stderr=0"], "", out, err),
    ] {
        // The output is appended to the file.
        fs::write(&log, "before\n").unwrap();
        let output = go_runner().args(flags).args(command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.code(), Some(3), "{flags:?}: {output:?}");
        assert_eq!(fs::read_to_string(&log).unwrap(), format!("before\n{in_file}"), "{flags:?}");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (on_output.into(), on_error.into()),
            "{flags:?}"
        );
    }
    for wrong in [
        &["--log-file=/nowhere/log", "true"][..],
        &["--no-such-flag", "true"],
        &["--also-stdout=x", "true"],
        &["--"],
        &["--log-file"],
    ] {
        let output = go_runner().args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("go-runner: "), "{output:?}");
    }
    let recipe = include_str!("../../Containerfile");
    assert!(recipe.contains("\nCOPY image/go-runner /go-runner\n"));
}

#[test]
fn go_runner_hands_on_signals_and_the_last_line_is_written() {
    for (signal, code) in [("TERM", 7), ("INT", 8), ("HUP", 9), ("QUIT", 10)] {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let says = "for s in TERM:7 INT:8 HUP:9 QUIT:10; do trap \"echo last ${s%:*}; exit ${s#*:}\" ${s%:*}; done; \
                    echo ready; while :; do sleep 0.02; done";
        let mut running = go_runner()
            .args([
                &format!("--log-file={}", log.display()),
                "--also-stdout",
                "--",
                "bash",
                "-c",
                says,
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(running.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let sent = Command::new("kill").args(["-s", signal, &running.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(running.wait().unwrap().code(), Some(code), "{signal}");
        let written = fs::read_to_string(&log).unwrap();
        assert_eq!(written, format!("ready\nlast {signal}\n"));
        assert_eq!(lines.next().unwrap().unwrap(), format!("last {signal}"));
    }
}

fn go_runner() -> Command {
    // A shell cannot trap signals that are ignored when it starts, as in a test that `nohup` started.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,HUP,TERM");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("image/go-runner"));
    command
}

#[test]
fn an_api_server_with_a_public_certificate_is_trusted() {
    let recipe = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Containerfile"));
    let recipe = recipe.unwrap();
    let (_, image) = recipe.rsplit_once("\nFROM ").unwrap();
    let (_, packages) = image.split_once("apt-get install --yes ").unwrap();
    let mut packages = packages.split('\n').next().unwrap().split(' ');
    assert!(packages.any(|package| package == "ca-certificates"), "{image}");
}

/// The files that the image has under `/usr/local`, and the tools of a node.
struct Image(TempDir);

impl Image {
    fn lay_out() -> Self {
        let image = Self(TempDir::new().unwrap());
        for folder in ["bin", "libexec", "tools"] {
            fs::create_dir(image.path().join(folder)).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        symlink(root.join("image/entry"), image.path().join("bin/ipvs-proxy")).unwrap();
        let says = "printf '%s|' \"$0\" \"$@\"; readlink \"$(command -v iptables)\"";
        image.program("libexec/ipvs-proxy", says);
        let recipe = fs::read_to_string(root.join("Containerfile")).unwrap();
        for place in [
            "release/ipvs-proxy /usr/local/libexec/ipvs-proxy\n",
            "COPY image/entry /usr/local/bin/ipvs-proxy\n",
        ] {
            assert!(recipe.contains(place), "{place}");
        }
        for flavour in ["nft", "legacy"] {
            image.program(&format!("tools/xtables-{flavour}-multi"), "");
        }
        image.link(&recipe);
        image.node_has("iptables", "", "");
        image.node_has("ip6tables", "", "");
        image
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes the links as the recipe does, to tools of the test's own, as the machine may not have
    /// any.
    fn link(&self, recipe: &str) {
        let (_, step) = recipe.split_once("\nRUN for ").unwrap();
        let step = step.split("\nENTRYPOINT").next().unwrap();
        let (own, tools) = (self.path().to_str().unwrap(), self.path().join("tools"));
        let step = step.replace("/usr/local", own);
        let step = step.replace("/usr/sbin", tools.to_str().unwrap());
        let done = Command::new("sh").args(["-ec", &format!("for {step}")]).status().unwrap();
        assert!(done.success());
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Sets the output of `NAME-nft-save` and `NAME-legacy-save`.
    fn node_has(&self, name: &str, nft: &str, legacy: &str) {
        for (flavour, rules) in [("nft", nft), ("legacy", legacy)] {
            let print = format!("printf %s '{rules}'");
            self.program(&format!("tools/{name}-{flavour}-save"), &print);
        }
    }

    fn run(&self, name: &str, arguments: &[&str]) -> String {
        let search = format!("{}:/usr/bin:/bin", self.path().join("tools").display());
        let program = self.path().join("bin").join(name);
        let output = Command::new(program).args(arguments).env("PATH", search).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn chosen(&self) -> String {
        let ran = self.run("ipvs-proxy", &[]);
        let program = ran.trim_end().rsplit('|').next().unwrap();
        let flavour = program.rsplit_once("/tools/xtables-").map(|(_, rest)| rest);
        flavour.and_then(|rest| rest.strip_suffix("-multi")).unwrap_or(&ran).to_owned()
    }
}
