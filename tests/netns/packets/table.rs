//! Runs the table of packet cases on a kernel of its own. A cluster of kind runs it too.
//!
//! Takes `tests/cases`. Fails with every case that does not hold. Uses the same Service manifests
//! as the other driver.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};

use super::check::{AT_ONCE, towards};
use super::world::{Settings, World};
use super::{Kind, kind};
use crate::cases::{self, Client, Cluster, Driver, Heard, Place, Run, holds, runs};
use crate::node::{Lab, Namespace, Pod};
use crate::traffic::{Server, ask_within};

#[test]
fn every_case_of_the_table_holds() {
    let world = World::new("table", Settings::ClusterCidr);
    let runs = runs(Driver::Vm);
    let _servers: Vec<_> = [Place::Here, Place::Elsewhere]
        .into_iter()
        .flat_map(|place| KINDS.map(|kind| serve(&world, place, kind)))
        .collect();
    let items: Vec<_> = runs.iter().flat_map(|run| objects(&world, run)).collect();
    world.proxy.apply("table", &json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let failed: Vec<_> = runs
        .iter()
        .filter_map(|run| holds(&world, run).err().map(|seen| format!("{run}: {seen}")))
        .collect();
    if !failed.is_empty() {
        world.lab.node1.leave_state();
        panic!("{}\nthe proxy said:\n{}", failed.join("\n"), world.proxy.output());
    }
}

const KINDS: [cases::Kind; 6] = [
    cases::Kind::Tcp4,
    cases::Kind::Tcp6,
    cases::Kind::Udp4,
    cases::Kind::Udp6,
    cases::Kind::Sctp4,
    cases::Kind::Sctp6,
];

fn of(kind: cases::Kind) -> Kind {
    match kind {
        cases::Kind::Tcp4 => kind::tcp_over_ipv4,
        cases::Kind::Tcp6 => kind::tcp_over_ipv6,
        cases::Kind::Udp4 => kind::udp_over_ipv4,
        cases::Kind::Udp6 => kind::udp_over_ipv6,
        cases::Kind::Sctp4 => kind::sctp_over_ipv4,
        cases::Kind::Sctp6 => kind::sctp_over_ipv6,
    }
}

fn endpoint(world: &World, place: Place) -> &Pod {
    match place {
        Place::Here => &world.local[0],
        Place::Elsewhere => &world.remote,
    }
}

fn serve(world: &World, place: Place, kind: cases::Kind) -> Server {
    let pod = endpoint(world, place);
    let address = SocketAddr::new(pod.address(of(kind).family), kind.target());
    Server::start(pod, of(kind).protocol, address, &format!("{}0", place.prefix()))
}

/// Returns a Service as an API server would hold it, and its EndpointSlice.
fn objects(world: &World, run: &Run) -> [Value; 2] {
    run.objects(|place| {
        let pod = endpoint(world, place);
        (pod.address(of(run.kind).family), pod.node_name())
    })
}

impl Cluster for World {
    fn ask(
        &self,
        from: Client,
        kind: cases::Kind,
        to: SocketAddr,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Heard>, String> {
        let inside: &Namespace = match from {
            Client::Pod => &self.caller,
            Client::Node => &self.lab.node1,
            Client::Outside => &self.lab.client,
        };
        let once = || match ask_within(patience, inside, of(kind).protocol, to) {
            Ok(answer) => Ok(Heard::Answer { name: answer.server, source: answer.source.ip() }),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Ok(Heard::Refused),
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Heard::Silence),
                _ => Err(error.to_string()),
            },
        };
        (0..count).map(|_| once()).collect()
    }

    fn address_of(&self, client: Client, kind: cases::Kind) -> IpAddr {
        let family = of(kind).family;
        match client {
            Client::Pod => self.caller.address(family),
            Client::Node => self.lab.node1.address(family),
            Client::Outside => Lab::client_address(family),
        }
    }

    fn sources_of_node(&self, place: Place, kind: cases::Kind) -> Vec<IpAddr> {
        vec![towards(self, of(kind), endpoint(self, place))]
    }

    fn drains(&self, _: &Run) -> Result<(), String> {
        Err("no pod ends here".to_owned())
    }

    fn patience(&self) -> Duration {
        AT_ONCE
    }
}
