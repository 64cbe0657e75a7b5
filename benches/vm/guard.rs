//! Checks that nothing has become more expensive, by counting instructions.
//!
//! Takes a file of expected millions of instructions by name. Needs a machine whose clock counts
//! instructions: there a nanosecond is an instruction, however busy the host is. Prints a line for
//! each, as Rust's tests do, and returns whether all are within the limit. Does not measure real
//! time.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use ipvs_netlink::{Command, Destination, Protocol, Service, ServiceKey, proc};
use ipvs_proxy::objects::{self, convert};
use proxier::Proxier;
use proxier::apply::fake::FakeKernel;
use proxier::model::{self, Event, Update};
use proxier::plan::Settings;

use super::scenario;
use super::world::{self, NODE, Shape, cluster_ip, pod_ip};

/// The largest allowed ratio of the found number to the expected one.
const TOLERANCE: f64 = 1.15;
/// The number of repetitions; the smallest result counts.
const TIMES: usize = 3;
const SHAPE: Shape = Shape { services: 500, endpoints: 10 };

/// Compares. True if nothing exceeds its limit.
pub(crate) fn run(written: &Path) -> bool {
    let text = std::fs::read_to_string(written).unwrap();
    let written: BTreeMap<String, f64> = serde_json::from_str(&text).unwrap();
    let found = count();
    println!("\nrunning {} tests", found.len());
    let mut failed = Vec::new();
    for (name, millions) in &found {
        let limit = written.get(*name).map_or(0.0, |millions| millions * TOLERANCE);
        let verdict = if *millions <= limit { "ok" } else { "FAILED" };
        println!("test cost::{} ... {verdict}", name.replace(' ', "_"));
        if *millions > limit {
            failed.push(name);
        }
    }
    println!("\nmillions of instructions, now and as written:");
    for (name, millions) in &found {
        println!("  {name}: {millions:.3} {:?}", written.get(*name));
    }
    let (verdict, good) =
        (if failed.is_empty() { "ok" } else { "FAILED" }, found.len() - failed.len());
    println!(
        "\ntest result: {verdict}. {good} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        failed.len()
    );
    failed.is_empty()
}

/// Millions of instructions by name.
type Found = BTreeMap<&'static str, f64>;

fn count() -> Found {
    let mut found = Found::new();
    count_core(&mut found);
    count_wire(&mut found);
    let change = scenario::one_change(SHAPE);
    found.insert("one endpoint from the event to the kernel", millions(change));
    found
}

fn millions(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Returns the smallest result of a few repetitions. Each repetition works on a new value.
fn least<T>(mut make: impl FnMut() -> T, mut work: impl FnMut(T)) -> f64 {
    let mut turn = || {
        let made = make();
        let start = Instant::now();
        work(made);
        start.elapsed()
    };
    millions((0..TIMES).map(|_| turn()).min().unwrap())
}

fn count_core(found: &mut Found) {
    let services: Vec<String> = (0..SHAPE.services).map(world::service).collect();
    let slices: Vec<String> =
        (0..SHAPE.services).map(|service| world::slice(SHAPE, service, 0, |_| 0)).collect();
    let reading = least(|| (), |()| drop(black_box(facts(&services, &slices))));
    found.insert("read 500 Services and EndpointSlices", reading);
    let facts = facts(&services, &slices);
    let new = || (informed(&facts), FakeKernel::default());
    let planning = least(new, |(mut proxier, _)| proxier.plan());
    found.insert("plan 500 Services", planning);
    let now = Instant::now();
    let first = least(new, |(mut proxier, mut kernel)| drop(proxier.round(&mut kernel, now)));
    found.insert("first round of 500 Services without a kernel", first);

    let (mut proxier, mut kernel) = new();
    proxier.round(&mut kernel, now);
    let mut generation = 0;
    let slice = || {
        generation += 1;
        let slice = world::slice(SHAPE, 7, 0, |pod| if pod == 70 { generation } else { 0 });
        Event::Slice(Update::Put(self::facts(&[], &[slice]).1.remove(0)))
    };
    let one = least(slice, |event| {
        proxier.fold(event);
        proxier.round(&mut kernel, now);
    });
    found.insert("round for one endpoint without a kernel", one);
    let state = kernel.state.clone();
    let comparing = least(
        || state.clone(),
        |state| {
            assert!(proxier.begin_audit());
            proxier.end_audit(state.into(), Instant::now());
            proxier.round(&mut kernel, now);
        },
    );
    found.insert("compare 500 Services with a reading", comparing);
}

fn count_wire(found: &mut Found) {
    let commands = commands();
    let write = |command: &Command| drop(black_box(command.encode().unwrap()));
    let writing = least(|| (), |()| commands.iter().for_each(write));
    found.insert("write 5500 commands", writing);
    let table = table();
    let reading = least(|| (), |()| drop(black_box(proc::parse(&table).unwrap())));
    found.insert("read a table of 5000 destinations", reading);
}

type Facts = (Vec<model::Service>, Vec<model::Slice>);

fn facts(services: &[String], slices: &[String]) -> Facts {
    let service = |text: &String| {
        let object: objects::Service = serde_json::from_str(text).unwrap();
        convert::service(&object, &mut Vec::new()).unwrap()
    };
    let slice = |text: &String| {
        let object: objects::EndpointSlice = serde_json::from_str(text).unwrap();
        convert::slice(&object, &mut Vec::new()).unwrap()
    };
    (services.iter().map(service).collect(), slices.iter().map(slice).collect())
}

fn informed((services, slices): &Facts) -> Proxier {
    let mut proxier = Proxier::new(Settings { node_name: NODE.into(), ..Settings::default() });
    proxier.fold(Event::Service(Update::Listed(services.clone())));
    proxier.fold(Event::Slice(Update::Listed(slices.clone())));
    proxier.fold(Event::Node(None));
    proxier.fold(Event::Addresses(vec![]));
    proxier
}

fn commands() -> Vec<Command> {
    let of = |service| {
        let key = ServiceKey::address(Protocol::TCP, cluster_ip(service).into(), 80);
        let destinations = SHAPE.pods(service).map(move |pod| {
            Command::NewDestination(key, Destination::new(pod_ip(pod).into(), 8080))
        });
        std::iter::once(Command::NewService(Service::new(key, "rr"))).chain(destinations)
    };
    (0..SHAPE.services).flat_map(of).collect()
}

fn table() -> String {
    let mut text = "IP Virtual Server version 1.2.1 (size=4096)\nProt\n  -> Remote\n".to_owned();
    for service in 0..SHAPE.services {
        text += &format!("TCP  {:08X}:0050 rr  \n", u32::from(cluster_ip(service)));
        for pod in SHAPE.pods(service) {
            let pod = u32::from(pod_ip(pod));
            text += &format!("  -> {pod:08X}:1F90      Masq    1      0          0         \n");
        }
    }
    text
}
