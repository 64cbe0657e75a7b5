//! Checks cases of the table, in the same way for every driver.
//!
//! Takes a case, and a cluster that can send requests. Returns an error that says what was seen
//! instead. A case cannot pass because nothing was programmed: where no answer is expected, a pod
//! is first served at the cluster IP.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use super::{Answers, Client, Expect, Kind, Outcome, Place, Run, Seen, Way};

/// The number of requests after which a round robin has reached every endpoint.
const OFTEN: usize = 6;
/// The time to wait for an answer. It includes TCP's second attempt, as a refusal of the first may
/// be only a hint.
const LONG: Duration = Duration::from_secs(2);
/// The pause between two attempts, so that a busy client does not keep a proxy from its work.
const PAUSE: Duration = Duration::from_millis(100);
/// The time after which no answer is expected. It is many times the usual time of an answer.
const SHORT: Duration = Duration::from_millis(400);

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The name of the endpoint that answered, and the source that it saw.
    Answer {
        name: String,
        source: IpAddr,
    },
    Refused,
    Silence,
}

/// A cluster that has the Services of the table.
pub trait Cluster {
    /// Sends `count` requests, each over a new connection.
    fn ask(
        &self,
        from: Client,
        kind: Kind,
        to: SocketAddr,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Heard>, String>;

    /// Returns the client's own address.
    fn address_of(&self, client: Client, kind: Kind) -> IpAddr;

    /// Returns the source addresses that an endpoint may see for the node.
    fn sources_of_node(&self, towards: Place, kind: Kind) -> Vec<IpAddr>;

    /// Removes the endpoint of an open connection, and checks that it drains.
    fn drains(&self, run: &Run) -> Result<(), String>;

    /// Returns how long a case may take to become true.
    fn patience(&self) -> Duration;
}

/// Checks that the cluster does what the case expects.
pub fn holds(cluster: &dyn Cluster, run: &Run) -> Result<(), String> {
    if run.case.expect == Expect::Else(Outcome::Drains) {
        return cluster.drains(run);
    }
    let to = run.at(run.case.to, cluster.address_of(Client::Node, run.kind));
    if run.case.expect == Expect::Else(Outcome::Dropped) {
        let inside = run.at(Way::ClusterIp, to.ip());
        in_time(cluster, || answer(cluster, run, Client::Pod, inside, 1).map(drop))?;
    }
    for from in &run.case.from {
        in_time(cluster, || look(cluster, run, *from, to))
            .map_err(|seen| format!("{from:?} at {to}: {seen}"))?;
    }
    Ok(())
}

fn in_time(cluster: &dyn Cluster, so: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match so() {
            Err(_) if start.elapsed() < cluster.patience() => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn look(cluster: &dyn Cluster, run: &Run, from: Client, to: SocketAddr) -> Result<(), String> {
    match &run.case.expect {
        Expect::Answers(wanted) => all_answer(cluster, run, from, to, wanted),
        Expect::Else(Outcome::Stays) => {
            let heard = answer(cluster, run, from, to, OFTEN)?;
            let names: BTreeSet<_> = heard.iter().map(|(name, _)| name).collect();
            if names.len() == 1 { Ok(()) } else { Err(format!("answers of {names:?}")) }
        }
        Expect::Else(Outcome::Refused) => is(cluster, run, from, to, LONG, &Heard::Refused),
        Expect::Else(Outcome::Dropped) => is(cluster, run, from, to, SHORT, &Heard::Silence),
        Expect::Else(Outcome::Drains) => cluster.drains(run),
    }
}

fn is(
    cluster: &dyn Cluster,
    run: &Run,
    from: Client,
    to: SocketAddr,
    patience: Duration,
    wanted: &Heard,
) -> Result<(), String> {
    let heard = cluster.ask(from, run.kind, to, 1, patience)?;
    if heard == [wanted.clone()] { Ok(()) } else { Err(format!("{heard:?}")) }
}

/// Sends requests that must all be answered. Returns the names of the endpoints that answered, and
/// the sources that they saw.
fn answer(
    cluster: &dyn Cluster,
    run: &Run,
    from: Client,
    to: SocketAddr,
    count: usize,
) -> Result<Vec<(String, IpAddr)>, String> {
    let heard = cluster.ask(from, run.kind, to, count, LONG)?;
    if heard.len() != count {
        return Err(format!("{} of {count} times: {heard:?}", heard.len()));
    }
    let answers = heard.into_iter().map(|heard| match heard {
        Heard::Answer { name, source } => Ok((name, source)),
        Heard::Refused | Heard::Silence => Err(format!("{heard:?}")),
    });
    answers.collect()
}

fn all_answer(
    cluster: &dyn Cluster,
    run: &Run,
    from: Client,
    to: SocketAddr,
    wanted: &Answers,
) -> Result<(), String> {
    let heard = answer(cluster, run, from, to, OFTEN)?;
    let mut places = BTreeSet::new();
    for (name, source) in &heard {
        let place = place(name).ok_or_else(|| format!("answered by {name}"))?;
        places.insert(place);
        let may_be = match wanted.seen_as {
            Seen::Client => vec![cluster.address_of(from, run.kind)],
            Seen::Node => cluster.sources_of_node(place, run.kind),
        };
        if !may_be.contains(source) {
            return Err(format!("{name} saw {source}, none of {may_be:?}"));
        }
    }
    if places == wanted.answers.iter().copied().collect() {
        Ok(())
    } else {
        Err(format!("answers of {places:?}"))
    }
}

fn place(name: &str) -> Option<Place> {
    [Place::Here, Place::Elsewhere].into_iter().find(|place| name.starts_with(place.prefix()))
}
