//! Replaces the programs of a cluster for `tests/kind/run`, and the servers in its pods.
//!
//! Takes the table. Returns a folder of programs for a PATH. They answer each client as the table
//! says and record their calls. Does not run the machine's own programs of these names.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, thread};

use tempfile::TempDir;

use super::root;
use crate::cases::{Answers, Client, Driver, Expect, Outcome, Place, Run, Seen, Way, runs};

/// Set in a process that is to be the driver.
pub(super) const IS_DRIVER: &str = "KIND_DRIVER";

/// The beginning of each program: it records the call, and fails if it should.
const BEGIN: &str = r#"#!/bin/bash
stage=${0%/*}/.. name=${0##*/} call="$*"
echo "$name ${call:0:200}" >>"$stage/calls"
while read -r program word; do
  [[ $program != "$name" || " $* " != *" $word "* ]] || exit 1
done <"$stage/failing"
# What a client that stands at $1 is told: the lines that its file has, in turn, or silence.
reply() {
  local file="$stage/said/$1,$2,$3,$4" lines=(silent) at
  [[ ! -e $file ]] || mapfile -t lines <"$file"
  for ((at = 0; at < $5; at++)); do echo "${lines[at % ${#lines[@]}]}"; done
}
"#;

const DOCKER: &str = r#"
case "$*" in
  *Config.Image*) echo kindest/node ;;
  inspect*worker) echo '172.18.0.3 fc00::3' ;;
  inspect*outside) echo '172.18.0.9 fc00::9' ;;
  exec*'address show')
    echo '2: eth0    inet 172.18.0.3/16 brd 172.18.255.255 scope global eth0'
    echo '2: eth0    inet6 fc00::3/64 scope global nodad'
    echo '3: veth0    inet 10.244.1.1/32 scope global veth0'
    echo '4: kube-ipvs0    inet 10.96.0.1/32 scope global kube-ipvs0' ;;
  'exec ipvs-proxy-worker bash'*) reply node "${@:7}" ;;
  'exec ipvs-proxy-outside bash'*) reply outside "${@:7}" ;;
esac
"#;

const KUBECTL: &str = r#"
case "$*" in
  *'get pod client'*) echo '10.244.1.9 fd00:10:244:1::9' ;;
  *'--filename -') cat >"$stage/services" ;;
  *' exec client -- bash -c '*' hold '*) echo echo-here-1; echo echo-here-1 ;;
  *' exec client -- bash -c '*) reply pod "${@:12}" ;;
esac
"#;

/// The driver is the running test, started again.
const CARGO: &str = r#"
[[ $* == 'test --quiet --workspace --test kind' ]] || exit 0
exec "$TEST" kind::the_script_passes_when_every_case_holds --exact --nocapture
"#;

/// The folder of programs.
pub(super) struct Stage(TempDir);

impl Stage {
    /// Makes a stage on which every case holds.
    pub(super) fn build() -> Self {
        let stage = Self(TempDir::new().unwrap());
        for folder in ["bin", "said"] {
            fs::create_dir(stage.path(folder)).unwrap();
        }
        fs::write(stage.path("failing"), "").unwrap();
        for (name, text) in
            [("docker", DOCKER), ("kind", ""), ("kubectl", KUBECTL), ("cargo", CARGO)]
        {
            let path = stage.path(&format!("bin/{name}"));
            fs::write(&path, format!("{BEGIN}{text}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for run in runs(Driver::Kind) {
            stage.say_what_is_wanted(&run);
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn say_what_is_wanted(&self, run: &Run) {
        for client in &run.case.from {
            let lines = match &run.case.expect {
                Expect::Answers(wanted) => answers(run, *client, wanted),
                Expect::Else(Outcome::Stays) => answer("echo-here-1", own(*client, run)),
                Expect::Else(Outcome::Drains) => answer("echo-elsewhere-1", own(*client, run)),
                Expect::Else(Outcome::Refused) => "refused".to_owned(),
                Expect::Else(Outcome::Dropped) => "silent".to_owned(),
            };
            fs::write(self.file(run, *client, run.case.to), lines).unwrap();
        }
        if run.case.expect == Expect::Else(Outcome::Dropped) {
            let lines = answer("echo-elsewhere-1", own(Client::Pod, run));
            fs::write(self.file(run, Client::Pod, Way::ClusterIp), lines).unwrap();
        }
    }

    /// Replaces the answers to the clients of a case.
    pub(super) fn say_instead(&self, name: &str, lines: &str) {
        let runs = runs(Driver::Kind);
        let run = runs.iter().find(|run| run.name() == name).unwrap();
        for client in &run.case.from {
            fs::write(self.file(run, *client, run.case.to), lines).unwrap();
        }
    }

    fn file(&self, run: &Run, client: Client, way: Way) -> PathBuf {
        let node = if run.kind.is_ipv6() { "fc00::3" } else { "172.18.0.3" };
        let to = run.at(way, node.parse().unwrap());
        let (client, protocol) = (format!("{client:?}"), run.kind.words().0);
        let key = format!("said/{client},{protocol},{},{}", to.ip(), to.port());
        self.path(&key.to_lowercase())
    }

    /// Makes a program fail that is called with this word: `PROGRAM WORD`.
    pub(super) fn fail(&self, call: &str) {
        let mut file = OpenOptions::new().append(true).open(self.path("failing")).unwrap();
        writeln!(file, "{call}").unwrap();
    }

    pub(super) fn run(&self) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new(root().join("tests/kind/run"))
            .env("PATH", path)
            .env("TEST", env::current_exe().unwrap())
            .env(IS_DRIVER, "yes")
            .env("PATIENCE", "0")
            .env_remove("KEEP")
            .env_remove("IMAGE")
            .output()
            .unwrap()
    }

    /// Returns how the programs were called, one call a line.
    pub(super) fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap()
    }
}

fn answers(run: &Run, client: Client, wanted: &Answers) -> String {
    let node = if run.kind.is_ipv6() { "fc00::3" } else { "172.18.0.3" };
    let lines = wanted.answers.iter().map(|place: &Place| {
        let source = match wanted.seen_as {
            Seen::Client => own(client, run),
            Seen::Node => node,
        };
        answer(&format!("{}1", place.prefix()), source)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn own(client: Client, run: &Run) -> &'static str {
    match (client, run.kind.is_ipv6()) {
        (Client::Pod, false) => "10.244.1.9",
        (Client::Pod, true) => "fd00:10:244:1::9",
        (Client::Node, false) => "172.18.0.3",
        (Client::Node, true) => "fc00::3",
        (Client::Outside, false) => "172.18.0.9",
        (Client::Outside, true) => "fc00::9",
    }
}

fn answer(name: &str, source: &str) -> String {
    format!("{name} {}", SocketAddr::new(source.parse().unwrap(), 40_000))
}

/// Starts a web server of both families that knows `/hostname` and `/clientip` and keeps
/// connections open. Returns its port.
pub(super) fn serve_tcp(name: &'static str) -> u16 {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_requests(&stream, name));
        }
    });
    port
}

fn answer_requests(mut stream: &TcpStream, name: &str) {
    let peer = canonical(stream.peer_addr().unwrap());
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    for line in lines.filter(|line| line.starts_with("GET ")) {
        let body = if line.contains("/hostname") { name.to_owned() } else { peer.to_string() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }
}

/// Starts a server of datagrams. Returns its port.
pub(super) fn serve_udp(name: &'static str) -> u16 {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut word = [0; 64];
        while let Ok((length, peer)) = socket.recv_from(&mut word) {
            let peer_text = canonical(peer).to_string();
            let said = if &word[..length] == b"hostname" { name } else { &peer_text };
            let _ = socket.send_to(said.as_bytes(), peer);
        }
    });
    port
}

fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
