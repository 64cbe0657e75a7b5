//! Gives the Services of the table to the cluster, and has clients in it ask.
//!
//! Runs `kubectl` and `docker` from the PATH. Returns what `judge.rs` needs. Judges nothing itself but draining, which no
//! other driver sees.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cases::{Client, Cluster, Driver, Heard, Kind, Place, Run, holds, runs};

/// Run where a client stands.
const ASK: &str = include_str!("ask");
const HOLD: &str = include_str!("hold");
/// The node that is asked, and the host beside the nodes.
const NODE: &str = "ipvs-proxy-worker";
const OUTSIDE: &str = "ipvs-proxy-outside";
/// Between the two requests of a connection whose endpoint is removed.
const HELD: Duration = Duration::from_secs(15);

/// Runs what the table has for a cluster of kind.
pub(crate) fn main() -> ExitCode {
    match run_all() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kind: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many cases do not hold.
fn run_all() -> Result<usize, String> {
    let runs = runs(Driver::Kind);
    give(&runs)?;
    let cluster = Kubernetes::look()?;
    let mut failed = 0;
    for run in &runs {
        match holds(&cluster, run) {
            Ok(()) => println!("{run} ... ok"),
            Err(seen) => {
                println!("{run} ... FAILED: {seen}");
                failed += 1;
            }
        }
    }
    println!("{} passed, {failed} failed", runs.len() - failed);
    Ok(failed)
}

/// Every Service, with the status that a load balancer's controller would write.
fn give(runs: &[Run]) -> Result<(), String> {
    let services: Vec<_> = runs.iter().map(Run::service).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": services}).to_string();
    kubectl(&["apply", "--filename", "-"], &list)?;
    for run in runs {
        if let Some(status) = run.status() {
            let patch = json!({"status": status}).to_string();
            let name = run.name();
            kubectl(
                &["patch", "service", &name, "--subresource", "status", "--patch", &patch],
                "",
            )?;
        }
    }
    Ok(())
}

/// The cluster, and the addresses that do not change.
struct Kubernetes {
    pod: Vec<IpAddr>,
    node: Vec<IpAddr>,
    outside: Vec<IpAddr>,
    /// All of the node's addresses but those of Services.
    of_node: Vec<IpAddr>,
}

impl Kubernetes {
    fn look() -> Result<Self, String> {
        let pod =
            kubectl(&["get", "pod", "client", "--output", "jsonpath={.status.podIPs[*].ip}"], "")?;
        let on_network =
            "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
        let inspect = |name| run("docker", &["inspect", "--format", on_network, name], "");
        let interfaces = run("docker", &["exec", NODE, "ip", "-o", "address", "show"], "")?;
        let own = interfaces.lines().filter(|line| !line.contains("kube-ipvs0"));
        let own = own.filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
        let of_node = own.collect::<Vec<_>>().join(" ");
        Ok(Self {
            pod: addresses(&pod)?,
            node: addresses(&inspect(NODE)?)?,
            outside: addresses(&inspect(OUTSIDE)?)?,
            of_node: addresses(&of_node)?,
        })
    }
}

/// At least one of each family.
fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let all: Result<Vec<IpAddr>, _> = text.split_whitespace().map(str::parse).collect();
    let all = all.map_err(|error| format!("{text:?}: {error}"))?;
    let both = [true, false].map(|is_ipv6| all.iter().any(|ip| ip.is_ipv6() == is_ipv6));
    if both == [true; 2] { Ok(all) } else { Err(format!("one family alone: {text:?}")) }
}

impl Cluster for Kubernetes {
    fn ask(
        &self,
        from: Client,
        kind: Kind,
        to: SocketAddr,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Heard>, String> {
        let protocol = kind.words().0.to_lowercase();
        let (ip, port, count) = (to.ip().to_string(), to.port().to_string(), count.to_string());
        // A round trip through kubectl is no matter of milliseconds, nor is `timeout` everywhere.
        let seconds = (patience.as_secs() + 1).to_string();
        let said =
            inside(from, &["bash", "-c", ASK, "ask", &protocol, &ip, &port, &count, &seconds])?;
        said.lines().map(heard).collect()
    }

    fn address_of(&self, client: Client, kind: Kind) -> IpAddr {
        let all = match client {
            Client::Pod => &self.pod,
            Client::Node => &self.node,
            Client::Outside => &self.outside,
        };
        let found = all.iter().find(|ip| ip.is_ipv6() == kind.is_ipv6());
        *found.expect("one of each family")
    }

    fn sources_of_node(&self, _: Place, _: Kind) -> Vec<IpAddr> {
        self.of_node.clone()
    }

    /// One connection asks twice; in between its endpoint is told to end, and new connections go elsewhere.
    fn drains(&self, run: &Run) -> Result<(), String> {
        for place in ["echo-here", "echo-elsewhere"] {
            let deployment = format!("deployment/{place}");
            kubectl(&["rollout", "status", &deployment, "--timeout", "180s"], "")?;
        }
        let to = SocketAddr::new(run.cluster_ip(), 80);
        let (ip, port, held) =
            (to.ip().to_string(), to.port().to_string(), HELD.as_secs().to_string());
        let command = inside_command(Client::Pod, &["bash", "-c", HOLD, "hold", &ip, &port, &held]);
        let mut child = start(command)?;
        let output = child.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let first = lines.next().ok_or("nobody answered")?;
        kubectl(&["delete", "pod", &first, "--wait=false"], "")?;
        let left = self.is_left(run.kind, to, &first);
        let second = lines.next();
        child.wait().map_err(|error| error.to_string())?;
        left?;
        if second.as_ref() == Some(&first) {
            return Ok(());
        }
        Err(format!("{first} answered first, then {second:?}"))
    }

    fn patience(&self) -> Duration {
        let seconds = env::var("PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs(seconds.unwrap_or(20))
    }
}

impl Kubernetes {
    /// Waits until new connections go to others.
    fn is_left(&self, kind: Kind, to: SocketAddr, endpoint: &str) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let heard = self.ask(Client::Pod, kind, to, 6, Duration::from_secs(2))?;
            let others = heard
                .iter()
                .filter(|heard| matches!(heard, Heard::Answer { name, .. } if name != endpoint));
            if others.count() == 6 {
                return Ok(());
            }
            if start.elapsed() > HELD / 2 {
                return Err(format!("new connections still go to {endpoint}: {heard:?}"));
            }
        }
    }
}

fn heard(line: &str) -> Result<Heard, String> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["refused"] => Ok(Heard::Refused),
        ["silent"] => Ok(Heard::Silence),
        [name, source] => {
            let source: SocketAddr = source.parse().map_err(|_| format!("{line:?}"))?;
            Ok(Heard::Answer { name: name.to_owned(), source: source.ip().to_canonical() })
        }
        _ => Err(format!("{line:?}")),
    }
}

fn inside(client: Client, words: &[&str]) -> Result<String, String> {
    finish(inside_command(client, words), "")
}

fn inside_command(client: Client, words: &[&str]) -> Command {
    let mut command = match client {
        Client::Pod => kubectl_command(&["exec", "client", "--"]),
        Client::Node => docker_exec(NODE),
        Client::Outside => docker_exec(OUTSIDE),
    };
    command.args(words);
    command
}

fn docker_exec(container: &str) -> Command {
    let mut command = Command::new("docker");
    command.args(["exec", container]);
    command
}

fn kubectl_command(words: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["--context", "kind-ipvs-proxy", "--namespace", "cases"]).args(words);
    command
}

fn kubectl(words: &[&str], input: &str) -> Result<String, String> {
    finish(kubectl_command(words), input)
}

fn run(program: &str, words: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(words);
    finish(command, input)
}

fn start(mut command: Command) -> Result<std::process::Child, String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.map_err(|error| format!("{:?}: {error}", command.get_program()))
}

fn finish(command: Command, input: &str) -> Result<String, String> {
    let program = command.get_program().to_owned();
    let mut child = start(command)?;
    let mut stdin = child.stdin.take().ok_or("no input")?;
    // A program that needs none of it says so by its status.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{program:?}: {}: {said}", output.status))
}
