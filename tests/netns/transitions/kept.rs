//! Checks that every client that is served before and after a change is served all the time.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::traffic::Callers;
use super::world::{Client, Pair, World, frontends};
use crate::proxy::{PATIENCE, Proxy, Source, until};

/// The number of connections that each pair makes before a change, and after it has settled.
const CONNECTIONS: usize = 3;
/// The time for which a settled state must stay without another round.
const QUIET: Duration = Duration::from_millis(500);

/// The objects of a state, and the recorded result, if there is one.
pub(super) struct State {
    pub(super) objects: String,
    /// The recorded `ipvs.txt`.
    pub(super) recorded: Option<String>,
}

impl State {
    pub(super) fn new(objects: String) -> Self {
        Self { objects, recorded: None }
    }
}

/// The way in which a state is reached from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The running proxy gets the new objects.
    Change,
    /// The proxy stops, and another one starts with the new objects.
    Restart,
}

/// Goes through the states. Returns how many pairs of a client and a frontend were kept, over all
/// changes.
pub(super) fn keeps_all(name: &str, config: &Value, by: By, states: &[State]) -> usize {
    let world = World::new(name, states.iter().map(|state| &*state.objects));
    // A periodic comparison would be mistaken for the round that is waited for.
    let mut config = config.clone();
    config["ipvs"]["syncPeriod"] = "1h".into();
    let source = Source::manifests();
    let (first, rest) = states.split_first().unwrap();
    source.replace_all(&first.objects);
    let mut proxy = Proxy::start(&world.lab.node1, &source, &config);
    settle(&world, &proxy, first, 0);
    let mut before = world.served();
    let mut kept = 0;
    for (number, state) in rest.iter().enumerate() {
        let callers = world.call(&before);
        go_on(&callers, &before);
        let change = Instant::now();
        let mut rounds = rounds(&proxy);
        source.replace_all(&state.objects);
        if by == By::Restart {
            drop(proxy);
            proxy = Proxy::start(&world.lab.node1, &source, &config);
            rounds = 0;
        }
        settle(&world, &proxy, state, rounds);
        let after = world.served();
        let both: BTreeSet<_> = before.intersection(&after).copied().collect();
        go_on(&callers, &both);
        no_failure(&callers, &both, change, &format!("{name}, change {}", number + 1));
        kept += both.len();
        before = after;
    }
    println!("{name}: {kept} pairs kept");
    kept
}

/// Waits until the proxy has programmed a state.
fn settle(world: &World, proxy: &Proxy, state: &State, rounds_before: usize) {
    let is_settled = || {
        rounds(proxy) > rounds_before
            && state.recorded.as_deref().is_none_or(|saved| frontends(saved) == world.frontends())
    };
    if until(PATIENCE, || is_settled().then_some(())).is_none() {
        let wanted = state.recorded.as_deref().map(frontends);
        panic!("wanted: {wanted:#?}\nfound: {:#?}", world.frontends());
    }
    thread::sleep(QUIET);
}

/// Returns how many rounds the proxy has logged.
fn rounds(proxy: &Proxy) -> usize {
    let is_round = |line: &&str| line.contains("synced") || line.contains("nothing to change");
    proxy.log().lines().filter(is_round).count()
}

/// Waits until each of these pairs has made some more connections.
fn go_on(callers: &[Callers; 2], pairs: &BTreeSet<Pair>) {
    let counts = || [0, 1].map(|client| callers[client].counts());
    let enough = counts().map(|counts| {
        counts.into_iter().map(|(place, count)| (place, count + CONNECTIONS)).collect()
    });
    let enough: [std::collections::BTreeMap<_, _>; 2] = enough;
    let is_enough = || {
        let counts = counts();
        pairs.iter().all(|(client, place)| {
            counts[*client as usize][place] >= enough[*client as usize][place]
        })
    };
    until(PATIENCE, || is_enough().then_some(())).expect("clients are served again and again");
}

fn no_failure(callers: &[Callers; 2], kept: &BTreeSet<Pair>, change: Instant, what: &str) {
    let mut told = String::new();
    for client in Client::ALL {
        let callers = &callers[client as usize];
        let connections: usize = callers.counts().values().sum();
        println!("{what}: {connections} connections from {client:?}");
        for failure in callers.failures() {
            if kept.contains(&(client, failure.to)) {
                let after = failure.began.checked_duration_since(change);
                told += &format!("{client:?} to {:?}, {after:?}: {}\n", failure.to, failure.told);
            }
        }
    }
    assert!(told.is_empty(), "{what}: served before and after, and failed meanwhile:\n{told}");
}
